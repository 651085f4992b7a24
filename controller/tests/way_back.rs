//! There is always a way back, and what is refused has changed nothing, on a real engine.
//!
//! Where none answers every test says so loudly; `CUTOVER_REQUIRE_DOCKER=1` makes that a failure.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

use std::time::{Duration, Instant};

use cutover_harness::{App, ComposeProject, Edge, Running, each_compose, eventually};

macro_rules! on_an_engine {
    () => {
        match Edge::start() {
            Some(edge) => edge,
            None => return,
        }
    };
}

/// An answer within a second, on a machine that does a hundred other things.
const AT_ONCE: Duration = Duration::from_secs(8);

fn release(edge: &Edge) -> Option<String> {
    let mut stream = cutover_harness::connect(edge.address()).ok()?;
    let answer = cutover_harness::ask(&mut stream, &edge.host(), "/").ok()?;
    Some(answer.field("x-demo-release")?.to_owned())
}

fn deploy(edge: &Edge, release: &str, keep_warm: &str) {
    let service = edge.service();
    let deploy = ["deploy", &service, "--tag", release, "--monitor", "0s"];
    let _done = edge.cutover(&[&deploy[..], &["--keep-warm", keep_warm]].concat()).success();
}

/// A deploy of release 2 that has come to this phase.
fn deploy_until(edge: &Edge, phase: &str) -> Running {
    let watch = edge.watch();
    let service = edge.service();
    let tag = if phase == "ready" { "slow-start" } else { "2" };
    let deploy = ["deploy", &service, "--tag", tag, "--monitor", "60s", "--json"];
    let client = edge.spawn(&[&deploy[..], &["--keep-warm", "60s"]].concat());
    watch.until(phase);
    client
}

#[test]
fn a_rollback_in_the_drain_serves_the_old_release_at_once() {
    let edge = on_an_engine!();
    edge.pair("1");
    let service = edge.service();
    let stream = edge.begin("/sse");
    let watch = edge.watch();
    let deploy = ["deploy", &service, "--tag", "2", "--monitor", "0s", "--keep-warm", "60s"];
    let client = edge.spawn(&[&deploy[..], &["--stream-drain", "60s"]].concat());
    watch.until("drain");
    let since = Instant::now();
    let back = edge.cutover(&["rollback", &service]);
    assert_eq!(back.code, 0, "{back:?}");
    assert_eq!(release(&edge).as_deref(), Some("1"));
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    drop(stream);
    let said = client.wait();
    assert!([0, 4, 6].contains(&said.code), "{said:?}");
    assert_eq!(release(&edge).as_deref(), Some("1"));
}

#[test]
fn whatever_fails_the_last_release_that_was_done_stays_the_way_back() {
    let edge = on_an_engine!();
    edge.replica("1", 1, false);
    edge.until_served("1");
    deploy(&edge, "2", "0s");
    let service = edge.service();
    for _ in 0..22 {
        let limits = ["--deploy-timeout", "3s", "--tag", "exit"];
        let said = edge.cutover(&[&["deploy", &service][..], &limits].concat());
        assert_eq!(said.code, 3, "{said:?}");
    }
    let names = edge.containers();
    assert!(names.len() <= 4, "what failed is bounded: {names:?}");
    let _back = edge.cutover(&["rollback", &service]).success();
    assert_eq!(release(&edge).as_deref(), Some("1"));
    let history = edge.cutover(&["history", &service, "--json"]).report();
    assert!(history["revisions"].as_array().unwrap().len() <= 41, "{history}");
}

#[test]
fn what_is_kept_of_former_releases_is_bounded() {
    let edge = on_an_engine!();
    edge.replica("1", 1, false);
    edge.until_served("1");
    for tag in ["2", "3", "1", "2", "3"] {
        deploy(&edge, tag, "0s");
    }
    eventually("the old ones are removed", || edge.containers().len() <= 2);
    let _back = edge.cutover(&["rollback", &edge.service()]).success();
    assert_eq!(release(&edge).as_deref(), Some("2"));
}

#[test]
fn after_a_flip_back_by_hand_and_another_deploy_one_release_serves() {
    let edge = on_an_engine!();
    edge.pair("1");
    let (first, service) = (edge.active(), edge.service());
    deploy(&edge, "2", "60s");
    let _back = edge.cutover(&["flip", &service, &first]).success();
    deploy(&edge, "3", "60s");
    assert_only(&edge, "3");
    // Nor does the old color's end keep the next one waiting.
    deploy(&edge, "2", "0s");
    assert_only(&edge, "2");
}

fn assert_only(edge: &Edge, expected: &str) {
    for _ in 0..40 {
        assert_eq!(release(edge).as_deref(), Some(expected));
    }
}
