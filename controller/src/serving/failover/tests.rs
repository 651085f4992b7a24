//! Containers that come and go, on a whole controller with endpoints that answer on real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use cutover_api::{Kind, Target, Weights};
use cutover_proxy::table::Color;
use cutover_rollout::Limits;

use super::*;
use crate::engine::{Container, Signal, Transition};
use crate::error::Error;
use crate::serving::controller::tests::{Fixture, app};
use crate::state::State;
use crate::state::classify::rollout_label;
use crate::state::classify::tests::container;
use crate::state::failover::FRESH;
use crate::state::lock_owner::LockOwner;
use crate::state::rollout::Replica;
use crate::state::rollout::tests::record;

fn name() -> ServiceName {
    "shop".parse().unwrap()
}

/// A container of the service `shop` in the host's network, whose app answers there.
fn contained(name: &str, age: u64, color: &str, address: SocketAddr) -> Container {
    let port = address.port().to_string();
    let labels = [
        ("cutover.service", "shop"),
        ("cutover.hosts", "shop.example"),
        ("cutover.color", color),
        ("cutover.port", &port),
        ("cutover.probe.path", "/"),
        ("cutover.probe.interval", "20ms"),
        ("cutover.rollout.failover", "300ms"),
    ];
    let mut contained = container(name, age, &labels);
    contained.foreign_network = Some("host".into());
    contained
}

/// A pair of containers behind a controller, blue serving.
struct Shop {
    fixture: Fixture,
    blue: Container,
    green: Container,
    blue_is_well: Arc<AtomicBool>,
    green_is_well: Arc<AtomicBool>,
}

impl Shop {
    async fn open() -> Self {
        let fixture = Fixture::new().await;
        let (blue, blue_is_well) = app().await;
        let (green, green_is_well) = app().await;
        let blue = contained("b", 9, "blue", blue);
        let green = contained("g", 1, "green", green);
        let shop = Self { fixture, blue, green, blue_is_well, green_is_well };
        shop.see(&[&shop.blue, &shop.green]).await;
        shop.fixture.until(|fixture| fixture.endpoints("shop").iter().any(|(_, up)| *up)).await;
        shop.until_both_are_ready().await;
        assert_eq!(shop.fixture.colors("shop"), [Color::Blue]);
        shop
    }

    /// What Docker shows from now on.
    async fn see(&self, containers: &[&Container]) {
        let containers = containers.iter().map(|found| (*found).clone()).collect();
        let seen = self.fixture.controller.observe(move |state| {
            state.listed(containers, &[], None, u64::MAX);
        });
        seen.await.unwrap();
    }

    async fn until_both_are_ready(&self) {
        let ready = |state: &State| state.passing().filter(|key| key.0 == name()).count() == 2;
        self.fixture.until(|fixture| fixture.controller.state(ready)).await;
    }

    async fn until_serving(&self, color: Color) {
        self.fixture.until(|fixture| fixture.colors("shop") == [color]).await;
    }

    fn failovers(&self, reason: Reason) -> u64 {
        let key = (name(), reason.as_str());
        self.fixture
            .controller
            .counters(|counters| counters.failovers.get(&key).copied().unwrap_or(0))
    }
}

#[tokio::test]
async fn where_no_container_is_left_the_other_color_serves_at_once_and_it_is_told() {
    let shop = Shop::open().await;
    shop.see(&[&shop.green]).await;
    shop.until_serving(Color::Green).await;
    shop.fixture.until(|_| shop.failovers(Reason::NoContainer) == 1).await;
    let state = shop.fixture.controller.service_state(&name());
    assert_eq!(state.weights, Some(Weights::of(Target::Green)));
    let last = state.history().last().unwrap().report().clone();
    assert_eq!((last.kind, last.to), (Kind::Failover, Color::Green));
    let note = shop.fixture.controller.state(|state| state.note(&name()));
    assert!(note.unwrap().contains("failed over to green"));
    // What it failed over from is back: it does not flap.
    shop.see(&[&shop.blue, &shop.green]).await;
    shop.until_both_are_ready().await;
    assert_eq!(shop.fixture.colors("shop"), [Color::Green]);
}

#[tokio::test]
async fn where_nothing_is_up_for_long_enough_the_other_color_serves() {
    let shop = Shop::open().await;
    shop.blue_is_well.store(false, Ordering::Relaxed);
    shop.until_serving(Color::Green).await;
    shop.fixture.until(|_| shop.failovers(Reason::NotUp) == 1).await;
    shop.blue_is_well.store(true, Ordering::Relaxed);
    shop.green_is_well.store(false, Ordering::Relaxed);
    shop.until_serving(Color::Blue).await;
    shop.fixture.until(|_| shop.failovers(Reason::NotUp) == 2).await;
}

#[tokio::test]
async fn a_spare_serves_where_nothing_else_is_left() {
    let shop = Shop::open().await;
    let (address, _) = app().await;
    let mut old = contained("old", 50, "blue", address);
    old.image_id = "sha256:2222".into();
    shop.see(&[&shop.blue, &old]).await;
    assert_eq!(shop.fixture.endpoints("shop").len(), 1, "one release in a color");
    shop.blue_is_well.store(false, Ordering::Relaxed);
    let old_serves = |fixture: &Fixture| {
        fixture.endpoints("shop").iter().any(|(id, up)| id.starts_with("old:") && *up)
    };
    shop.fixture.until(old_serves).await;
}

#[tokio::test]
async fn a_forced_flip_to_an_empty_color_lasts_no_longer_than_the_failover_lets_it() {
    let shop = Shop::open().await;
    shop.see(&[&shop.blue]).await;
    let controller = &shop.fixture.controller;
    controller.flip(&name(), Target::Green, true).await.unwrap();
    shop.until_serving(Color::Blue).await;
}

#[tokio::test]
async fn a_color_without_an_endpoint_takes_no_share() {
    let shop = Shop::open().await;
    shop.see(&[&shop.blue]).await;
    let both = Weights { blue: 50, green: 50 };
    let refused = shop.fixture.controller.weight(&name(), both).await.unwrap_err();
    assert!(matches!(refused, Error::BadRequest(_)), "{refused}");
    assert_eq!(shop.fixture.colors("shop"), [Color::Blue]);
}

#[tokio::test]
async fn a_flip_that_probes_while_a_rollout_begins_does_not_come_between_its_steps() {
    let shop = Shop::open().await;
    let controller = shop.fixture.controller.clone();
    // Probed, and then its turn comes only after the rollout has begun.
    let turn = controller.0.turn.lock().await;
    let flips = controller.clone();
    let flip = tokio::spawn(async move { flips.flip(&name(), Target::Green, false).await });
    shop.fixture
        .until(|fixture| fixture.controller.state(|state| state.journal().intent.is_some()))
        .await;
    let lock = controller.locks().take(&[name()], &LockOwner::new("deploy", None)).unwrap();
    drop(turn);
    let refused = flip.await.unwrap().unwrap_err();
    assert!(matches!(refused, Error::RolloutInProgress { .. }), "{refused}");
    assert_eq!(shop.fixture.colors("shop"), [Color::Blue]);
    // A flip to what serves is done before it begins, whoever has the lock.
    controller.flip(&name(), Target::Blue, false).await.unwrap();
    drop(lock);
}

#[tokio::test]
async fn beside_a_rollout_what_it_is_not_to_flip_to_serves_where_nothing_else_is_left() {
    for candidate in [false, true] {
        let shop = Shop::open().await;
        let controller = &shop.fixture.controller;
        let _lock = controller.locks().take(&[name()], &LockOwner::new("deploy", None)).unwrap();
        let mut under_way = record("r", &[&name()], Limits::default());
        let id = candidate.then(|| shop.green.id.as_str().to_owned());
        under_way.parts[0].replicas.push(Replica {
            template: "b".into(),
            name: "g".into(),
            number: None,
            candidate: "g-r1".into(),
            id,
            spec: None,
        });
        controller.change_quietly(|state| state.journal_mut().put_rollout(under_way));
        shop.see(&[&shop.green]).await;
        if candidate {
            let known = || controller.state(|state| state.note(&name()));
            shop.fixture.until(|_| known().is_some_and(|n| n.contains("nothing else"))).await;
            assert_eq!(
                shop.fixture.colors("shop"),
                [Color::Blue],
                "it is the rollout's to bring in"
            );
        } else {
            // It may have served before the controller was started again.
            shop.until_serving(Color::Green).await;
        }
    }
}

#[tokio::test]
async fn a_container_that_is_told_to_stop_leaves_the_table_while_a_flip_waits_for_a_probe() {
    let shop = Shop::open().await;
    // Nobody answers there: the flip's probe waits for its timeout.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hung = contained("h", 0, "green", silent.local_addr().unwrap());
    shop.see(&[&shop.blue, &hung]).await;
    let flips = shop.fixture.controller.clone();
    let flip = tokio::spawn(async move { flips.flip(&name(), Target::Green, false).await });
    let id = shop.blue.id.clone();
    let told = shop.fixture.controller.observe(move |state| {
        let term = Transition::Signalled(Signal(15));
        state.happened(&id, &term, Instant::now());
    });
    told.await.unwrap();
    assert_eq!(shop.fixture.endpoints("shop"), [], "out, and nobody waited for the probe");
    assert!(!flip.is_finished());
    flip.abort();
}

#[tokio::test]
async fn the_labels_of_an_idle_container_change_nothing_that_is_live() {
    let shop = Shop::open().await;
    let mut other = shop.green.clone();
    other.labels.insert("cutover.hosts".into(), "other.example".into());
    other.labels.insert("cutover.probe.path".into(), "/nowhere".into());
    shop.see(&[&shop.blue, &other]).await;
    let hosts = || {
        let service = name();
        shop.fixture.controller.state(|state| state.service(&service).unwrap().hosts[0].to_string())
    };
    assert_eq!(hosts(), "shop.example");
    shop.fixture.controller.flip(&name(), Target::Green, false).await.unwrap();
    assert_eq!(hosts(), "other.example", "with the flip, in the same table");
}

#[tokio::test]
async fn a_fresh_pair_starts_with_blue_however_its_containers_come() {
    let fixture = Fixture::new().await;
    let (blue, _) = app().await;
    let (green, _) = app().await;
    let now = SystemTime::now();
    let blue = Container { created: now, ..contained("b", 1, "blue", blue) };
    let green = Container { created: now, ..contained("g", 9, "green", green) };
    let well = Arc::new(AtomicBool::new(true));
    let shop = Shop { fixture, blue, green, blue_is_well: Arc::clone(&well), green_is_well: well };
    shop.see(&[&shop.green]).await;
    shop.see(&[&shop.blue, &shop.green]).await;
    shop.fixture.until(|fixture| fixture.endpoints("shop").iter().any(|(_, up)| *up)).await;
    assert_eq!(shop.fixture.colors("shop"), [Color::Blue]);
}

#[tokio::test]
async fn with_a_lost_journal_what_is_there_serves_at_once() {
    let fixture = Fixture::new().await;
    let (green, _) = app().await;
    let mut copy = contained("g", 9, "green", green);
    copy.created = SystemTime::now();
    copy.labels.insert(rollout_label(), "shop-r2".into());
    let well = Arc::new(AtomicBool::new(true));
    let (blue_is_well, green_is_well) = (Arc::clone(&well), well);
    let shop = Shop { fixture, blue: copy.clone(), green: copy, blue_is_well, green_is_well };
    let slow = Instant::now();
    shop.see(&[&shop.green]).await;
    shop.until_serving(Color::Green).await;
    assert!(slow.elapsed() < FRESH, "it waits for nobody");
}
