//! The fake is what tests believe, so it is tested itself.

use cutover_rollout::StopReason;

use std::time::Duration;

use super::*;
use crate::engine::drained::Drained;
use crate::engine::{Change, Changes, Signal, State, Transition, WorkloadId};

fn run(name: &str) -> Run {
    Run {
        name: name.into(),
        image: "app:1".into(),
        labels: vec![("cutover.service".into(), "web".into())],
        ..Run::default()
    }
}

fn engine() -> FakeEngine {
    let engine = FakeEngine::new(CrashPoints::default());
    engine.add_image("app:1", FakeImage::default());
    engine
}

async fn transitions(changes: &mut Changes, count: usize) -> Vec<Transition> {
    let mut all = Vec::new();
    for _ in 0..count {
        let next = tokio::time::timeout(Duration::from_secs(60), changes.transitions.recv());
        all.push(next.await.expect("no such event").unwrap().1);
    }
    all
}

#[tokio::test(start_paused = true)]
async fn a_container_answers_once_it_is_ready_and_its_address_is_the_next_ones() {
    let engine = engine();
    let id = engine.run_by_hand(&run("one"));
    let address = engine.snapshot()[0].networks["bridge"];
    assert_eq!(engine.answer(address), Answer::Refused);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(engine.answer(address), Answer::Status { container: id.clone(), status: 200 });
    engine.pause(&id, true);
    assert_eq!(engine.answer(address), Answer::Silent);
    engine.remove_by_hand(&id);
    let next = engine.run_by_hand(&run("two"));
    assert_eq!(engine.snapshot()[0].networks["bridge"], address);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(engine.answer(address), Answer::Status { container: next, status: 200 });
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_a_signal_before_it_is_an_end_and_one_that_ignores_it_is_killed() {
    let engine = engine();
    let behaviour = Behaviour { stops_after: None, ..Behaviour::default() };
    engine.add_image("app:1", FakeImage { behaviour, ..FakeImage::default() });
    let id = engine.run_by_hand(&Run { grace: Some(Duration::from_secs(2)), ..run("one") });
    let containers = engine.containers();
    let mut changes = containers.changes();
    let begun = tokio::time::Instant::now();
    containers.stop(&id, &Drained::new(StopReason::Idle)).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
    assert_eq!(
        transitions(&mut changes, 3).await,
        [Transition::Signalled(Signal::TERM), Transition::Ended, Transition::Left("bridge".into())]
    );
    let container = containers.inspect(&id).await.unwrap().unwrap();
    assert_eq!((container.state, container.exit_code), (State::Stopped, 137));
    containers.remove(&id).await.unwrap();
    assert_eq!(containers.inspect("one").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn one_that_crashes_is_started_again_by_its_policy_and_not_after_a_stop() {
    let engine = engine();
    let id = engine.run_by_hand(&Run { restart: true, ..run("one") });
    let mut changes = engine.containers().changes();
    engine.crash(&id, 1);
    assert_eq!(engine.snapshot()[0].state, State::Restarting);
    let last = transitions(&mut changes, 3).await.pop();
    assert_eq!(last, Some(Transition::Started));
    assert_eq!((engine.snapshot()[0].state, engine.snapshot()[0].restarts), (State::Running, 1));
    engine.stop_by_hand(&id);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(engine.snapshot()[0].state, State::Stopped);
}

#[tokio::test(start_paused = true)]
async fn health_comes_as_an_event() {
    let engine = engine();
    let mut image = FakeImage::default();
    let test = Some(vec!["CMD".to_owned(), "check".to_owned()]);
    image.config.healthcheck =
        Some(bollard::models::HealthConfig { test, ..bollard::models::HealthConfig::default() });
    engine.add_image("app:1", image);
    let mut changes = engine.containers().changes();
    assert_eq!(changes.looks.recv().await, Some(Change::Everything));
    let id = engine.run_by_hand(&run("one"));
    assert_eq!(engine.snapshot()[0].unwell().as_deref(), Some("docker health: starting"));
    for _ in 0..3 {
        let change = changes.looks.recv().await;
        assert_eq!(change, Some(Change::Container(WorkloadId::local(id.clone()))));
    }
    assert_eq!(engine.snapshot()[0].unwell(), None);
}

#[tokio::test(start_paused = true)]
async fn a_script_makes_calls_fail_before_or_after_they_are_done() {
    let engine = engine();
    let id = engine.create_by_hand(&run("one"));
    let containers = engine.containers();
    engine.on_nth(Call::Start, 2, Fault::FailAfter);
    engine.on_nth(Call::Start, 1, Fault::Hang);
    assert!(containers.start(&id).await.unwrap_err().is_transient());
    assert_eq!(engine.snapshot()[0].state, State::Created);
    assert!(containers.start(&id).await.unwrap_err().is_transient());
    assert_eq!(engine.snapshot()[0].state, State::Running);
    engine.on_call(|call, _| (call == Call::Inspect).then_some(Fault::Refuse(500, "no")));
    assert!(containers.inspect(&id).await.is_err());
    assert!(containers.list().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_was_away_asks_for_a_look_at_everything() {
    let engine = engine();
    let containers = engine.containers();
    let mut changes = containers.changes();
    assert_eq!(changes.looks.recv().await, Some(Change::Everything));
    engine.go_away();
    assert!(matches!(changes.looks.recv().await, Some(Change::Gone(_))));
    assert!(containers.list().await.unwrap_err().is_transient());
    engine.run_by_hand(&run("one"));
    engine.come_back();
    assert_eq!(changes.looks.recv().await, Some(Change::Everything));
    assert_eq!(containers.list().await.unwrap().containers.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn changes_that_nobody_looks_at_become_one_look_at_everything() {
    let engine = engine();
    let mut changes = engine.containers().changes();
    let id = engine.run_by_hand(&run("one"));
    for _ in 0..1000 {
        engine.rename_by_hand(&id, "one");
    }
    engine.kill(&id, "HUP");
    let mut last = None;
    assert_eq!(transitions(&mut changes, 2).await[1], Transition::Signalled(Signal(1)));
    while let Ok(change) = tokio::time::timeout(Duration::from_secs(5), changes.looks.recv()).await
    {
        last = change;
    }
    assert_eq!(last, Some(Change::Everything));
}

#[test]
fn it_outlives_the_runtime_of_a_controller_that_was_killed() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let points = CrashPoints::default();
    let first = runtime().unwrap();
    let (engine, id) = first.block_on(async {
        let engine = FakeEngine::new(points.clone());
        engine.add_image("app:1", FakeImage::default());
        let id = engine.run_by_hand(&run("one"));
        points.stop_at(2);
        let containers = engine.containers();
        let stopping = {
            let id = id.clone();
            tokio::spawn(async move { containers.stop(&id, &Drained::new(StopReason::Idle)).await })
        };
        points.stopped().await;
        assert!(!stopping.is_finished());
        (engine, id)
    });
    drop(first);
    assert_eq!(points.places(), [format!("Stop {id}"), format!("Stop {id}: done")]);
    points.reset();
    runtime().unwrap().block_on(async {
        engine.attach();
        assert_eq!(engine.snapshot()[0].state, State::Running);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(engine.snapshot()[0].state, State::Stopped);
        assert_eq!(points.places(), Vec::<String>::new());
    });
}

#[tokio::test(start_paused = true)]
async fn a_name_is_adopted_only_from_the_same_rollout() {
    let engine = engine();
    let template = engine.run_by_hand(&run("one"));
    let containers = engine.containers();
    let blueprint = containers.blueprint(&template).await.unwrap();
    let spec = |rollout: &str| {
        let label = ("cutover.internal.rollout".to_owned(), rollout.to_owned());
        blueprint.copy("app:1", &[label].into())
    };
    let first = containers.create("two", spec("web-r2")).await.unwrap();
    assert_eq!(containers.create("two", spec("web-r2")).await.unwrap(), first);
    for error in [
        containers.create("two", spec("web-r3")).await.unwrap_err(),
        containers.create("one", spec("web-r2")).await.unwrap_err(),
    ] {
        assert!(matches!(error, EngineError::NameTaken { .. }), "{error}");
        assert!(!error.is_transient());
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_gone_makes_no_copy_of_its_containers() {
    let engine = engine();
    let id = engine.run_by_hand(&run("one"));
    engine.remove_image("app:1");
    let error = engine.containers().blueprint(&id).await.unwrap_err();
    assert!(matches!(error, EngineError::ImageUnknown { gone: true, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_the_registry_has_can_be_pulled() {
    let engine = engine();
    let containers = engine.containers();
    assert!(containers.registry_has("app:2", None).await.unwrap_err().is_not_found());
    let id = engine.publish("app:2", FakeImage::default());
    containers.registry_has("app:2", None).await.unwrap();
    assert_eq!(containers.image("app:2").await.unwrap(), None);
    let mut seen = 0;
    let image = containers.pull("app:2", None, &mut |progress| seen = progress.bytes).await;
    assert_eq!(image.unwrap().id, id);
    assert!(seen > 0 && containers.image("app:2").await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_network_that_is_left_takes_the_address_with_it() {
    let engine = engine();
    let networks = vec!["front".to_owned(), "back".to_owned()];
    let id = engine.run_by_hand(&Run { networks, ..run("one") });
    let mut changes = engine.containers().changes();
    engine.disconnect(&id, "back");
    assert_eq!(transitions(&mut changes, 1).await, [Transition::Left("back".into())]);
    assert_eq!(engine.snapshot()[0].networks.keys().collect::<Vec<_>>(), ["front"]);
    engine.connect(&id, "back");
    assert_eq!(engine.snapshot()[0].networks.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_fault_comes_before_or_after_the_deed() {
    let engine = engine();
    let containers = engine.containers();
    for (fault, begun, took) in [
        (Fault::Delay(Duration::from_secs(3)), true, 3),
        (Fault::Fail, false, 0),
        (Fault::HangAfter, true, 10),
        (Fault::Kill("other".into()), true, 0),
    ] {
        let other = engine.run_by_hand(&run("other"));
        let id = engine.create_by_hand(&run("one"));
        engine.on_nth(Call::Start, 1, fault.clone());
        let begin = tokio::time::Instant::now();
        containers.start(&id).await.ok();
        assert_eq!(begin.elapsed().as_secs(), took, "{fault:?}");
        let state =
            |id: &str| engine.snapshot().into_iter().find(|c| c.id.as_str() == id).map(|c| c.state);
        assert_eq!(state(&id) == Some(State::Running), begun, "{fault:?}");
        let killed = matches!(fault, Fault::Kill(_));
        assert_eq!(state(&other) == Some(State::Stopped), killed, "{fault:?}");
        engine.remove_by_hand(&id);
        engine.remove_by_hand(&other);
    }
}
