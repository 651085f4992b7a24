//! A drain stands in nobody's way: while a former release finishes its streams, deploys, aborts,
//! rollbacks and flips go on as if it were not there, on a real engine.
//!
//! Where none answers every test says so loudly; `CUTOVER_REQUIRE_DOCKER=1` makes that a failure.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

use std::io::Read as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use cutover_harness::{ComposeProject, Edge, Load, Outcome, Running, each_compose, eventually};

/// Much less than any of the deadlines in these tests, on a machine that does a hundred other things.
const AT_ONCE: Duration = Duration::from_secs(8);

/// A deploy whose drain lasts as long as the stream that it left behind.
fn deploy_until(edge: &Edge, tag: &str, phase: &str) -> Running {
    let watch = edge.watch();
    let service = edge.service();
    let monitor = if phase == "monitor" { "60s" } else { "0s" };
    let deploy = ["deploy", &service, "--tag", tag, "--monitor", monitor, "--json"];
    let limits = ["--keep-warm", "60s", "--stream-drain", "120s", "--drain-timeout", "60s"];
    let client = edge.spawn(&[&deploy[..], &limits].concat());
    watch.until(phase);
    client
}

/// A pair under load that serves release 2, whose deploy waits for a stream of release 1 to end.
fn draining() -> Option<(Edge, TcpStream, Load, Running)> {
    let edge = Edge::start()?;
    edge.pair("1");
    let stream = edge.begin("/sse");
    let load = edge.load();
    let first = deploy_until(&edge, "2", "drain");
    Some((edge, stream, load, first))
}

/// Gives one of the ways back; the first release serves by the time of its answer.
fn take(edge: &Edge, way: &str, color: &str) -> Outcome {
    let service = edge.service();
    let since = Instant::now();
    let said = match way {
        "flip" => edge.cutover(&["flip", &service, color]),
        "forced flip" => edge.cutover(&["flip", &service, color, "--force"]),
        way => edge.cutover(&[way, &service]),
    };
    assert_eq!(said.code, 0, "{way}: {said:?}");
    assert_eq!(edge.answering().as_deref(), Some("1"), "{way}");
    assert!(since.elapsed() < AT_ONCE, "{way}: {:?}", since.elapsed());
    said
}

/// More of a stream comes.
fn goes_on(mut stream: &TcpStream) {
    for _ in 0..3 {
        assert_ne!(stream.read(&mut [0; 256]).unwrap(), 0, "the stream was cut");
    }
}

#[test]
fn every_way_back_is_taken_in_the_drain_and_the_client_is_told_who_took_it() {
    for (way, word) in [
        ("abort", "aborted by"),
        ("rollback", "rolled back by"),
        ("flip", "flipped back by"),
        ("forced flip", "flipped back by"),
    ] {
        let Some(edge) = Edge::start() else { return };
        edge.pair("1");
        let active = edge.active();
        let stream = edge.begin("/sse");
        let load = edge.load();
        let client = deploy_until(&edge, "2", "drain");
        assert_eq!(edge.answering().as_deref(), Some("2"));
        let _back = take(&edge, way, &active);
        let said = client.wait();
        assert_eq!(said.code, 4, "{way}: {said:?}");
        let report = said.report();
        assert_eq!(report["result"], "rolled_back", "{report}");
        let reason = report["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(word) && !reason.ends_with("by "), "{way}: {reason}");
        assert_eq!(edge.active(), active, "{way}");
        // What had been left behind was never touched.
        goes_on(&stream);
        load.stop_without_failure();
    }
}

#[test]
fn a_deploy_begins_and_ends_while_the_former_one_drains() {
    let Some((edge, stream, load, mut first)) = draining() else { return };
    let service = edge.service();
    let since = Instant::now();
    let deploy = ["deploy", &service, "--tag", "3", "--monitor", "0s", "--keep-warm", "0s"];
    let second = edge.cutover(&[&deploy[..], &["--json"]].concat());
    assert_eq!(second.code, 0, "{second:?}");
    assert!(since.elapsed() < Duration::from_secs(50), "{:?}", since.elapsed());
    assert_eq!(edge.answering().as_deref(), Some("3"));
    assert!(!first.has_ended(), "its stream is open");
    goes_on(&stream);
    drop(stream);
    let first = first.wait();
    assert_eq!(first.code, 0, "{first:?}");
    assert_eq!(edge.answering().as_deref(), Some("3"));
    load.stop_without_failure();
    eventually("nothing runs that is nobody's", || edge.orphans().is_empty());
}

#[test]
fn the_way_back_from_a_deploy_beside_a_drain_is_the_release_before_it() {
    let Some((edge, stream, load, mut first)) = draining() else { return };
    let service = edge.service();
    edge.deploy("3", "0s");
    // The first is nobody's to undo: what it brought does not serve any more.
    let abort = edge.cutover(&["abort", &service]);
    assert_ne!(abort.code, 0, "{abort:?}");
    assert_eq!(edge.answering().as_deref(), Some("3"));
    let _back = edge.cutover(&["rollback", &service]).success();
    assert_eq!(edge.answering().as_deref(), Some("2"));
    assert!(!first.has_ended(), "its stream is open");
    goes_on(&stream);
    drop(stream);
    let first = first.wait();
    assert_eq!(first.code, 0, "{first:?}");
    assert_eq!(edge.answering().as_deref(), Some("2"));
    load.stop_without_failure();
    let history = edge.cutover(&["history", &service, "--json"]).report();
    let all = history["revisions"].as_array().unwrap();
    let revisions: Vec<_> = all.iter().filter_map(|one| one["revision"].as_u64()).collect();
    assert_eq!(revisions, [4, 3, 2, 1], "{history}");
}

#[test]
fn a_refused_deploy_beside_a_drain_leaves_the_way_back() {
    let Some((edge, stream, load, first)) = draining() else { return };
    let service = edge.service();
    let bad = ["deploy", &service, "--tag", "exit", "--deploy-timeout", "10s"];
    assert_eq!(edge.cutover(&bad).code, 3);
    let _back = take(&edge, "rollback", "");
    goes_on(&stream);
    drop(stream);
    let said = first.wait();
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(edge.answering().as_deref(), Some("1"));
    load.stop_without_failure();
    edge.deploy("3", "0s");
    assert_eq!(edge.answering().as_deref(), Some("3"));
}

#[test]
fn a_deploy_that_fails_while_the_former_one_drains_changes_nothing() {
    let Some((edge, stream, load, first)) = draining() else { return };
    let service = edge.service();
    let bad = ["deploy", &service, "--tag", "exit", "--deploy-timeout", "10s", "--json"];
    let bad = edge.cutover(&bad);
    assert_eq!(bad.code, 3, "{bad:?}");
    assert_eq!(edge.answering().as_deref(), Some("2"));
    goes_on(&stream);
    drop(stream);
    let first = first.wait();
    assert_eq!(first.code, 0, "{first:?}");
    load.stop_without_failure();
    // The way back is still the first release.
    let _back = edge.cutover(&["rollback", &service]).success();
    assert_eq!(edge.answering().as_deref(), Some("1"));
}

#[test]
fn of_a_lone_service_too_the_way_back_and_the_next_deploy_wait_for_no_drain() {
    each_compose(|edge, compose| {
        let _project = ComposeProject::lone(edge, compose, "1", &[]);
        let stream = edge.begin("/sse");
        let first = deploy_until(edge, "2", "drain");
        let _back = take(edge, "rollback", "");
        let said = first.wait();
        assert_eq!(said.code, 4, "{said:?}");
        let second = deploy_until(edge, "2", "drain");
        edge.deploy("3", "0s");
        assert_eq!(edge.answering().as_deref(), Some("3"));
        goes_on(&stream);
        drop(stream);
        let said = second.wait();
        assert_eq!(said.code, 0, "{said:?}");
    });
}

#[test]
fn a_way_back_that_is_taken_while_a_release_is_judged_says_who_took_it() {
    for (way, word) in [("abort", "aborted by"), ("forced flip", "flipped back by")] {
        let Some(edge) = Edge::start() else { return };
        edge.pair("1");
        let active = edge.active();
        let load = edge.load();
        let client = deploy_until(&edge, "2", "monitor");
        let _back = take(&edge, way, &active);
        let said = client.wait();
        assert_eq!(said.code, 4, "{way}: {said:?}");
        let reason = said.report()["reason"].as_str().unwrap_or_default().to_owned();
        assert!(reason.contains(word), "{way}: {reason}");
        load.stop_without_failure();
    }
}
