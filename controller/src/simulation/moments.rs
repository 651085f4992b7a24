//! Single moments, looked at closely: what the controller does in each of them.

use std::time::Duration;

use cutover_api::{Code, Ending, Line, Report, Target, Weights};
use cutover_proxy::table::{Color, ServiceName};
use cutover_rollout::Phase;

use super::client::{Command, name};
use super::host::Layout;
use super::life::Alive;
use super::stories::stage;
use super::world::World;
use crate::config::{Config, ServiceConfig};
use crate::engine::State;
use crate::engine::fake::{Call, Fault};
use crate::executor::request::Deploy;
use crate::registry::Logins;
use crate::serving::edge::Link;

fn web() -> ServiceName {
    name("web")
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl World {
    /// The color that serves, and a container of it.
    fn who_serves(&self) -> (Color, String) {
        self.proxy.serving(&web()).into_iter().next().expect("nobody serves")
    }

    /// Ends the controller as soon as a color serves alone, before it has heard that it does.
    fn kill_once_serving(&self, color: Color) {
        let done = format!("web={color}: done");
        self.points.stop_where(move |place| place.starts_with("Apply") && place.ends_with(&done));
    }

    fn runs(&self, id: &str) -> bool {
        self.engine.truths().iter().any(|truth| truth.id == id && truth.state == State::Running)
    }
}

impl Alive {
    fn is_in(&self, phase: Phase) -> bool {
        self.controller.state(|state| {
            state.journal().rollouts().any(|rollout| rollout.machine.phase() == phase)
        })
    }

    fn is_locked(&self) -> bool {
        self.controller.state(|state| state.locks().is_taken(&web()))
    }

    fn is_linked(&self) -> bool {
        *self.controller.link().borrow() != Link::Down
    }

    /// The last that a client is told who deploys this.
    async fn deployed(&self, image: &str) -> Line {
        let deploy = Deploy { image: Some(image.into()), ..Deploy::default() };
        let mut lines = self.rollouts.deploy(&web(), deploy, Logins::default()).await.unwrap();
        let mut last = None;
        while let Some(line) = lines.recv().await {
            last = Some(line);
        }
        last.expect("told nothing")
    }
}

#[test]
fn a_way_back_with_nothing_left_at_either_end_is_over_at_once_and_gives_the_lock_back() {
    let world = stage(Layout::Lone(1));
    world.live(Duration::ZERO, async |alive| {
        alive.until_all_serve().await;
        alive.ask(Command::Deploy(vec!["web"], "app:2"));
        assert!(alive.within(seconds(30), |alive| alive.is_in(Phase::Monitor)).await);
        assert!(alive.is_locked());
        for container in world.engine.truths() {
            world.engine.remove_by_hand(&container.id);
        }
        let over = |alive: &Alive| !alive.is_locked() && alive.world.waiting().is_empty();
        assert!(alive.within(seconds(10), over).await, "{}", world.story().join("\n"));
    });
    let results: Vec<_> = world.reports().iter().map(|report| report.result).collect();
    assert_eq!(results, [Ending::RolledBack]);
    assert_eq!(world.violations(), [""; 0]);
}

#[test]
fn a_drain_that_the_journal_has_not_heard_of_ends_by_its_deadline_after_a_crash() {
    let world = stage(Layout::Pair);
    let mut old = String::new();
    let killed = world.live(Duration::ZERO, async |alive| {
        alive.until_all_serve().await;
        let (color, id) = world.who_serves();
        world.proxy.hold_stream(&id);
        world.kill_once_serving(color.other());
        old = id;
        alive.carry_out(Command::Flip("web", color.other().into(), false)).await;
    });
    assert!(killed.is_none() && world.store.journal().drains().is_empty());
    world.live(Duration::ZERO, async |alive| {
        tokio::time::sleep(seconds(4)).await;
        assert_ne!(world.proxy.in_flight(&old), 0, "its streams have six seconds");
        let drained = |alive: &Alive| alive.world.proxy.in_flight(&old) == 0;
        assert!(alive.within(seconds(16), drained).await, "its stream has no end");
        alive.rest().await;
        assert!(alive.controller.state(|state| state.journal().drains().is_empty()));
    });
    assert_eq!(world.violations(), [""; 0]);
}

/// A rollout is killed with a stream on the old container that nobody ends; the next controller
/// gives it its time, and then stops the container.
fn the_old_container_drains_after(kill: impl AsyncFn(&Alive, Color)) {
    let world = stage(Layout::Lone(1));
    let mut old = String::new();
    world.live(Duration::ZERO, async |alive| {
        alive.until_all_serve().await;
        let (color, id) = world.who_serves();
        world.proxy.hold_stream(&id);
        old = id;
        alive.ask(Command::Deploy(vec!["web"], "app:2"));
        kill(&alive, color.other()).await;
    });
    assert_ne!(world.who_serves().1, old);
    world.live(Duration::ZERO, async |alive| {
        tokio::time::sleep(seconds(2)).await;
        assert!(world.runs(&old) && world.proxy.in_flight(&old) > 0, "it may still be busy");
        // That it has nothing in flight then is watched by the world.
        let stopped = |alive: &Alive| !alive.world.runs(&old);
        assert!(alive.within(seconds(40), stopped).await, "{}", world.story().join("\n"));
        alive.rest().await;
    });
    assert_eq!(world.violations(), [""; 0]);
}

#[test]
fn what_is_busy_when_the_controller_dies_with_its_flip_is_not_stopped_before_its_drain_has_ended() {
    the_old_container_drains_after(async |alive, new| {
        alive.world.kill_once_serving(new);
        std::future::pending().await
    });
}

#[test]
fn what_is_busy_when_the_controller_dies_in_its_drain_is_not_stopped_before_that_has_ended() {
    the_old_container_drains_after(async |alive, _| {
        assert!(alive.within(seconds(30), |alive| alive.is_in(Phase::Drain)).await);
    });
}

#[test]
fn an_engine_that_does_not_say_whether_an_image_is_there_is_one_that_does_not_answer() {
    for fault in [Fault::Fail, Fault::Hang, Fault::Refuse(500, "it is busy")] {
        let world = stage(Layout::Lone(1));
        world.live(Duration::ZERO, async |alive| {
            alive.until_all_serve().await;
            let of_image = fault.clone();
            let asked = move |call, image: &str| call == Call::Image && image == "app:2";
            world.engine.on_call(move |call, image| asked(call, image).then(|| of_image.clone()));
            match alive.deployed("app:2").await {
                Line::Error(body) => assert_eq!(body.error.code, Code::DockerUnavailable),
                other => panic!("{fault:?}: {other:?}"),
            }
            assert!(!alive.is_locked());
        });
    }
}

#[test]
fn an_image_that_the_engine_has_no_name_for_is_refused_with_the_reason() {
    let world = stage(Layout::Lone(1));
    world.live(Duration::ZERO, async |alive| {
        alive.until_all_serve().await;
        let said = "invalid reference format";
        let asked = |call, image: &str| call == Call::Image && image == "nowhere:9";
        world
            .engine
            .on_call(move |call, image| asked(call, image).then_some(Fault::Refuse(400, said)));
        let Line::Report(Report { result, reason, .. }) = alive.deployed("nowhere:9").await else {
            panic!("no report");
        };
        assert_eq!(result, Ending::Refused);
        let reason = reason.unwrap();
        assert!(reason.contains("nowhere:9 cannot be pulled"), "{reason}");
    });
}

#[test]
fn a_flip_before_the_very_first_look_at_the_containers_waits_for_it() {
    let world = stage(Layout::Pair);
    world.live(seconds(1), async |alive| {
        let flipped = alive.rollouts.flip(&web(), Target::Green, false, None).await.unwrap();
        assert_eq!((flipped.from, flipped.to), (Target::Blue, Target::Green));
        assert_eq!(world.proxy.colors(&web()), [Color::Green]);
    });
}

#[test]
fn a_flip_or_a_weight_after_a_restart_waits_for_the_first_look_at_the_containers() {
    let world = stage(Layout::Pair);
    let (before, other) = world
        .live(Duration::ZERO, async |alive| {
            alive.until_all_serve().await;
            alive.rest().await;
            let (color, _) = world.who_serves();
            (color, color.other())
        })
        .unwrap();
    world.live(Duration::ZERO, async |alive| {
        let flipped = alive.rollouts.flip(&web(), other.into(), false, None).await.unwrap();
        assert_eq!((flipped.from, flipped.to), (Target::from(before), other.into()));
        assert_eq!(world.proxy.colors(&web()), [other]);
    });
    world.live(Duration::ZERO, async |alive| {
        alive.controller.weight(&web(), Weights::of(before.into())).await.unwrap();
        assert_eq!(world.proxy.colors(&web()), [before]);
    });
}

#[test]
fn the_lock_of_a_pair_is_not_taken_for_releases_by_themselves() {
    let world = stage(Layout::AutoPair);
    world.live(Duration::ZERO, async |alive| {
        let releases = alive.controller.locks().releases();
        alive.until_all_serve().await;
        tokio::time::sleep(seconds(60)).await;
        assert!(!releases.has_changed().unwrap());
        assert!(world.engine.truths().iter().all(|container| container.ready));
    });
}

#[test]
fn a_config_that_is_read_again_is_what_the_labels_of_the_containers_are_laid_over() {
    let world = stage(Layout::Pair);
    world.live(Duration::ZERO, async |alive| {
        alive.until_all_serve().await;
        let mut service = ServiceConfig::default();
        service.probe.interval = seconds(7);
        service.drain.timeout = seconds(77);
        let services = [(web(), service)].into();
        alive.controller.reload(Config { services, ..Config::default() }).await.unwrap();
        let live = alive.controller.state(|state| state.service(&web()).cloned().unwrap());
        assert_eq!(live.probe.interval, seconds(7));
        assert_eq!(live.drain.timeout, seconds(3), "a label says so");
    });
}

#[test]
fn a_flip_to_what_was_live_waits_for_a_proxy_that_has_it() {
    for force in [false, true] {
        let world = stage(Layout::Pair);
        world.live(Duration::ZERO, async |alive| {
            alive.until_all_serve().await;
            alive.rest().await;
            let (color, _) = world.who_serves();
            world.proxy.crash();
            assert!(alive.within(seconds(1), |alive| !alive.is_linked()).await);
            let back = async {
                tokio::time::sleep(seconds(1)).await;
                world.proxy.come_back();
            };
            let web = web();
            let flip = alive.rollouts.flip(&web, color.into(), force, None);
            let (flipped, ()) = tokio::join!(flip, back);
            flipped.unwrap();
            assert_eq!(world.proxy.colors(&web), [color]);
        });
    }
}

#[test]
fn an_engine_that_does_not_say_which_one_it_is_keeps_nobody_from_serving() {
    let world = stage(Layout::Lone(1));
    world.engine.on_call(|call, _| (call == Call::Version).then_some(Fault::Hang));
    world.live(Duration::ZERO, async |alive| {
        let serves = |alive: &Alive| !alive.world.proxy.serving(&web()).is_empty();
        assert!(alive.within(seconds(3), serves).await, "{}", world.story().join("\n"));
    });
}

#[test]
fn a_release_that_is_found_running_is_known_by_its_image_or_nothing_begins() {
    let world = stage(Layout::Lone(1));
    world.live(Duration::ZERO, async |alive| {
        alive.until_all_serve().await;
        alive.rest().await;
        // Each question of the plan in turn, and those before its first act.
        for nth in 1..10 {
            world.engine.on_nth(Call::Inspect, nth, Fault::Fail);
            let last = alive.deployed("app:2").await;
            let history = alive.controller.service_state(&web());
            let found = history.history().iter().next().map(|entry| entry.report().image.clone());
            assert_ne!(found.as_deref(), Some(""), "{nth}: {last:?}");
            if found.is_some() {
                return;
            }
        }
        panic!("no deploy began");
    });
}
