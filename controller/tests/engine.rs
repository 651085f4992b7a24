//! Faults of the engine itself, on one of our own: it is stopped and killed in every step of a deploy.
//!
//! Needs root, to start an engine; where there is none, every test says so loudly and does nothing.
//! `CUTOVER_EVERY=1` plays every combination of step and fault; without it each step has one.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

use std::time::{Duration, Instant};

use cutover_harness::{Edge, Engine, eventually};

/// The steps of a deploy, and the signal that ends the engine in each.
fn faults() -> Vec<(&'static str, &'static str)> {
    let steps = ["pull", "create", "start", "ready", "flip", "monitor", "drain", "keep_warm"];
    let steps = steps.into_iter().chain(["stop", "clean"]).enumerate();
    let every = std::env::var_os("CUTOVER_EVERY").is_some();
    let signals = |n: usize| if every { vec!["-KILL", "-TERM"] } else { vec![SIGNALS[n % 2]] };
    steps.flat_map(|(n, step)| signals(n).into_iter().map(move |signal| (step, signal))).collect()
}

fn start(live_restore: bool) -> Option<Edge> {
    let edge = Edge::builder().start_on(|| Engine::own(live_restore))?;
    // A container that comes back by itself, and a client that waits for it.
    let more = ["--restart", "always", "-l", "cutover.timeouts.hold=50s"];
    edge.app_with("blue", "1", "blue", &more);
    edge.app_with("green", "1", "green", &more);
    edge.until_served("1");
    Some(edge)
}

fn play(live_restore: bool) {
    let Some(edge) = start(live_restore) else { return };
    let service = edge.service();
    let load = edge.load();
    let mut slowest = Duration::ZERO;
    for (step, signal) in faults() {
        println!("{signal} in {step}");
        let watch = edge.watch();
        // Nobody drains for long unless there is somebody who takes his time.
        let _stream = (step == "drain").then(|| edge.begin("/sse"));
        let deploy = ["deploy", &service, "--tag", "2", "--json", "--monitor", "1s"];
        let limits = ["--keep-warm", "1s", "--drain-timeout", "3s", "--stream-drain", "3s"];
        let client = edge.spawn(&[&deploy[..], &limits].concat());
        watch.until(step);
        edge.engine.end(signal);
        // What is there stays there; what cannot be done is refused, with the reason.
        eventually("status says so", || edge.docker_error().is_some());
        if edge.engine.live_restore() {
            load.passes(50);
            assert_eq!(edge.active_endpoints_up(), 1, "{signal} in {step}");
        }
        edge.engine.begin();
        let back = Instant::now();
        eventually("status says that it is back", || edge.docker_error().is_none());
        eventually("the rollout is over", || edge.try_rollout().is_some_and(|r| r.is_null()));
        let took = back.elapsed();
        slowest = slowest.max(took);
        let said = client.wait();
        println!("  over {took:?} after its return, exit code {}", said.code);
        assert!([0, 3, 4, 6].contains(&said.code), "{signal} in {step}: {said:?}");
        eventually("it is served", || edge.active_endpoints_up() == 1);
        eventually("nothing runs that is nobody's", || edge.orphans().is_empty());
        load.passes(20);
        let names = edge.containers();
        assert!(names.len() <= 3, "{signal} in {step}: {names:?}");
    }
    let served = load.stop();
    println!("{} requests, slowest {slowest:?}", served.requests);
    assert_eq!(served.failures, Vec::<String>::new());
    let last =
        edge.cutover(&["deploy", &service, "--tag", "3", "--monitor", "0s", "--keep-warm", "0s"]);
    assert_eq!(last.code, 0, "{last:?}");
    edge.until_served("3");
    assert_eq!(edge.containers().len(), 2, "{:?}", edge.containers());
}

#[test]
fn an_engine_that_restarts_in_any_step_under_its_containers_costs_no_request() {
    play(true);
}

#[test]
fn an_engine_that_takes_its_containers_with_it_finishes_or_undoes_the_rollout() {
    play(false);
}

#[test]
fn without_the_engine_a_deploy_is_refused_at_once_and_the_table_stays() {
    let Some(edge) = start(true) else { return };
    let service = edge.service();
    let deploy = ["deploy", &service, "--tag", "2", "--monitor", "0s", "--keep-warm", "10m"];
    assert_eq!(edge.cutover(&deploy).code, 0);
    let load = edge.load();
    edge.engine.end("-TERM");
    eventually("status says so", || edge.docker_error().is_some());
    let text = edge.cutover(&["status"]).stdout;
    assert!(text.contains("Docker does not answer"), "{text}");
    let refused = edge.cutover(&deploy);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("Docker does not answer"), "{refused:?}");
    assert!(edge.rollout()["phase"] == "keep_warm", "the warm color was given up for nothing");
    load.passes(100);
    // What needs no engine is there: back to the warm color, and no request fails.
    let back = edge.cutover(&["flip", &service, "blue"]);
    assert_eq!(back.code, 0, "{back:?}");
    load.passes(100);
    edge.engine.begin();
    eventually("it is back", || edge.docker_error().is_none());
    assert_eq!(edge.active(), "blue");
    assert_eq!(load.stop().failures, Vec::<String>::new());
}

#[test]
fn an_engine_that_hangs_costs_no_request_and_a_deploy_is_refused_in_time() {
    let Some(edge) = start(true) else { return };
    let service = edge.service();
    let deploy = ["deploy", &service, "--tag", "2", "--monitor", "0s", "--keep-warm", "0s"];
    let load = edge.load();
    edge.engine.signal("-STOP");
    let refused = edge.cutover(&deploy);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("Docker does not answer"), "{refused:?}");
    load.passes(100);
    assert_eq!(edge.active_endpoints_up(), 1);
    edge.engine.signal("-CONT");
    eventually("it answers again", || edge.docker_error().is_none());
    assert_eq!(edge.cutover(&deploy).code, 0);
    edge.until_served("2");
    assert_eq!(load.stop().failures, Vec::<String>::new());
}

#[test]
fn what_was_stopped_and_comes_up_with_the_engine_is_stopped_again() {
    let Some(edge) = start(false) else { return };
    let service = edge.service();
    let deploy = ["deploy", &service, "--tag", "2", "--monitor", "0s", "--keep-warm", "0s"];
    assert_eq!(edge.cutover(&deploy).code, 0);
    let running = || edge.containers().into_iter().filter(|name| !edge.is_stopped(name)).count();
    eventually("the old one is stopped", || running() == 1);
    edge.engine.end("-TERM");
    edge.engine.begin();
    eventually("release 2 serves", || edge.active_endpoints_up() == 1);
    // Its restart policy is `always`: Docker starts what had been told to stop.
    let running = || edge.containers().into_iter().filter(|name| !edge.is_stopped(name)).count();
    eventually("only what serves runs", || running() == 1);
    edge.until_served("2");
}

const SIGNALS: [&str; 2] = ["-KILL", "-TERM"];
