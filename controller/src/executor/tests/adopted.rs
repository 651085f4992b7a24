//! What a failover has brought in stays, whatever an older rollout still has to put away.

use std::sync::atomic::{AtomicBool, Ordering};

use cutover_rollout::StopReason;

use super::*;
use crate::engine::State;
use crate::engine::fake::{FakeEngine, FakeImage, Run};
use crate::serving::controller::tests::app;
use crate::state::rollout::tests::part;
use crate::state::rollout::{Found, Part, Replica};
use crate::testing::crash_points::CrashPoints;

fn shop() -> ServiceName {
    "shop".parse().unwrap()
}

/// A lone service whose second release was flipped to, and died: the failover has brought the first
/// one back.
struct Adopted {
    fixture: Fixture,
    tools: Tools,
    first: String,
    second: String,
    second_is_well: Arc<AtomicBool>,
}

impl Adopted {
    async fn new() -> Self {
        let fixture = Fixture::new().await;
        let engine = FakeEngine::new(CrashPoints::default());
        let containers = engine.containers();
        let controller = fixture.controller.clone();
        let discovery = Discovery::start(controller.clone(), containers.clone(), Vec::new());
        let tools = Tools { controller, containers, discovery };
        let (first, _) = run(&engine, "first", "app:1").await;
        tools.discovery.look().await.unwrap();
        fixture.until(|fixture| up(fixture, &first)).await;
        let (second, second_is_well) = run(&engine, "second", "app:2").await;
        tools.discovery.look().await.unwrap();
        let ready = |fixture: &Fixture| {
            fixture.controller.state(|state| {
                let ours = state.passing().filter(|key| key.0 == shop());
                ours.count() == 2
            })
        };
        fixture.until(ready).await;
        let from = fixture.controller.state(|state| state.weights(&shop())).active();
        let to = from.colors()[0].other();
        fixture.controller.flip(&shop(), to.into(), false).await.unwrap();
        fixture.until(|fixture| up(fixture, &second)).await;
        second_is_well.store(false, Ordering::Relaxed);
        fixture.until(|fixture| up(fixture, &first)).await;
        Self { fixture, tools, first, second, second_is_well }
    }

    /// The rollout's part: it replaced the first release with the second one.
    fn part(&self) -> Part {
        let serves = self.fixture.controller.state(|state| state.weights(&shop()));
        let from = serves.active().colors()[0];
        Part { from, to: from.other(), old: vec![self.first.clone()], retain: 1, ..part(&shop()) }
    }

    async fn serves_as_before(&self) {
        self.tools.discovery.look().await.unwrap();
        assert!(up(&self.fixture, &self.first), "{:?}", self.fixture.endpoints("shop"));
        let first = self.tools.containers.inspect(&self.first).await.unwrap().unwrap();
        assert_eq!((first.state, first.name.as_str()), (State::Running, "first"));
    }
}

/// A container in the host's network, whose app answers there; and whether it is well.
async fn run(engine: &FakeEngine, name: &str, image: &str) -> (String, Arc<AtomicBool>) {
    engine.add_image(image, FakeImage::default());
    let (address, well) = app().await;
    let labels = [
        ("cutover.service", "shop"),
        ("cutover.hosts", "shop.example"),
        ("cutover.port", &address.port().to_string()),
        ("cutover.probe.path", "/"),
        ("cutover.probe.interval", "20ms"),
        ("cutover.rollout.failover", "300ms"),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let networks = vec!["host".to_owned()];
    let (name, image) = (name.to_owned(), image.to_owned());
    (engine.run_by_hand(&Run { name, image, labels, networks, ..Run::default() }), well)
}

/// Whether a container is up in the table that is live.
fn up(fixture: &Fixture, id: &str) -> bool {
    fixture.endpoints("shop").iter().any(|(endpoint, up)| *up && endpoint.starts_with(id))
}

#[tokio::test]
async fn an_older_rollout_does_not_stop_what_a_failover_has_brought_back() {
    let shop = Adopted::new().await;
    let part = shop.part();
    shop.tools.stop(&part.service, part.replaced(), StopReason::Idle).await.unwrap();
    shop.serves_as_before().await;
}

#[tokio::test]
async fn an_older_rollout_does_not_put_away_what_a_failover_has_brought_back() {
    let shop = Adopted::new().await;
    shop.tools.clean(&shop.part()).await.unwrap();
    shop.serves_as_before().await;
}

#[tokio::test]
async fn a_rollout_that_is_undone_leaves_its_new_containers_where_a_failover_has_brought_them_back()
{
    let shop = Adopted::new().await;
    let made = Replica {
        template: shop.second.clone(),
        name: "first".into(),
        number: None,
        candidate: "first".into(),
        id: Some(shop.first.clone()),
        spec: None,
    };
    let part = shop.part();
    let undone = Part {
        from: part.to,
        to: part.from,
        old: vec![shop.second.clone()],
        replicas: vec![made],
        found: Some(Found::Stopped),
        ..part
    };
    // The step is tried again while the failover is not live everywhere.
    let abandoned = async {
        while shop.tools.abandon(&undone, StopReason::Idle).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), abandoned).await.unwrap();
    shop.serves_as_before().await;
}

#[tokio::test]
async fn what_a_rollout_had_stopped_and_has_served_since_is_not_stopped_when_it_is_idle() {
    let shop = Adopted::new().await;
    let (controller, service) = (&shop.fixture.controller, &self::shop());
    let stopped = [shop.second.clone()];
    controller.remember(service, |state| state.members.park(&stopped)).await.unwrap();
    shop.second_is_well.store(true, Ordering::Relaxed);
    let first = controller.state(|state| state.weights(service)).active();
    let second = first.colors()[0].other();
    controller.flip(service, second.into(), false).await.unwrap();
    controller.flip(service, first, false).await.unwrap();
    shop.fixture.until(|fixture| fixture.controller.state(|state| state.drains().is_idle())).await;
    assert_eq!(shop.tools.tidy().await, []);
    let idle = shop.tools.containers.inspect(&shop.second).await.unwrap().unwrap();
    assert_eq!(idle.state, State::Running);
}
