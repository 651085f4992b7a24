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

use cutover_harness::{ComposeProject, Edge, Running, each_compose, eventually, on_an_engine};

/// An answer within a second, on a machine that does a hundred other things.
const AT_ONCE: Duration = Duration::from_secs(8);

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
fn an_abort_before_the_flip_leaves_everything_and_ends_the_client_with_3() {
    let edge = on_an_engine!();
    edge.pair("1");
    let (active, names) = (edge.active(), edge.containers());
    let load = edge.load();
    let client = deploy_until(&edge, "ready");
    let since = Instant::now();
    let _aborted = edge.cutover(&["abort", &edge.service()]).success();
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    let said = client.wait();
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.stdout.contains("abort"), "{said:?}");
    assert_eq!((edge.active(), edge.answering().as_deref()), (active, Some("1")));
    eventually("the candidate has gone or is stopped", || {
        edge.containers().iter().all(|name| names.contains(name) || edge.is_stopped(name))
    });
    load.stop_without_failure();
    edge.deploy("3", "0s");
}

#[test]
fn after_the_flip_every_way_back_is_taken_at_once_and_ends_the_client_with_4() {
    for way in ["abort", "rollback", "flip"] {
        let edge = on_an_engine!();
        edge.pair("1");
        let (active, service) = (edge.active(), edge.service());
        let load = edge.load();
        let client = deploy_until(&edge, "monitor");
        assert_eq!(edge.answering().as_deref(), Some("2"));
        let since = Instant::now();
        let arguments = match way {
            "flip" => vec!["flip", &service, &active],
            way => vec![way, &service],
        };
        let back = edge.cutover(&arguments);
        assert_eq!(back.code, 0, "{way}: {back:?}");
        // The old release serves by the time of the answer.
        assert_eq!(edge.answering().as_deref(), Some("1"), "{way}");
        assert!(since.elapsed() < AT_ONCE, "{way}: {:?}", since.elapsed());
        let said = client.wait();
        assert_eq!(said.code, 4, "{way}: {said:?}");
        assert_eq!(edge.active(), active, "{way}");
        load.stop_without_failure();
    }
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
    assert_eq!(edge.answering().as_deref(), Some("1"));
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    drop(stream);
    let said = client.wait();
    assert!([0, 4, 6].contains(&said.code), "{said:?}");
    assert_eq!(edge.answering().as_deref(), Some("1"));
}

#[test]
fn a_refused_deploy_leaves_the_warm_color_as_it_is() {
    let edge = on_an_engine!();
    edge.pair("1");
    edge.deploy("2", "60s");
    let before: Vec<_> = edge.containers().iter().map(|name| edge.identity(name)).collect();
    let service = edge.service();
    for tag in ["nowhere", "no:tag:at:all"] {
        let said = edge.cutover(&["deploy", &service, "--tag", tag, "--pull", "never"]);
        assert!([2, 3].contains(&said.code), "{said:?}");
        let now: Vec<_> = edge.containers().iter().map(|name| edge.identity(name)).collect();
        assert_eq!(now, before, "{tag}");
        assert!(edge.containers().iter().all(|name| !edge.is_stopped(name)), "{tag}");
    }
    // It is warm: the way back is a flip.
    let _back = edge.cutover(&["rollback", &service]).success();
    assert_eq!(edge.answering().as_deref(), Some("1"));
}

#[test]
fn whatever_fails_the_last_release_that_was_done_stays_the_way_back() {
    let edge = on_an_engine!();
    edge.replica("1", 1, false);
    edge.until_served("1");
    edge.deploy("2", "0s");
    let service = edge.service();
    for _ in 0..22 {
        let limits = ["--deploy-timeout", "3s", "--tag", "exit"];
        let said = edge.cutover(&[&["deploy", &service][..], &limits].concat());
        assert_eq!(said.code, 3, "{said:?}");
    }
    let names = edge.containers();
    assert!(names.len() <= 4, "what failed is bounded: {names:?}");
    let _back = edge.cutover(&["rollback", &service]).success();
    assert_eq!(edge.answering().as_deref(), Some("1"));
    let history = edge.cutover(&["history", &service, "--json"]).report();
    assert!(history["revisions"].as_array().unwrap().len() <= 41, "{history}");
}

#[test]
fn what_is_kept_of_former_releases_is_bounded() {
    let edge = on_an_engine!();
    edge.replica("1", 1, false);
    edge.until_served("1");
    for tag in ["2", "3", "1", "2", "3"] {
        edge.deploy(tag, "0s");
    }
    eventually("the old ones are removed", || edge.containers().len() <= 2);
    let _back = edge.cutover(&["rollback", &edge.service()]).success();
    assert_eq!(edge.answering().as_deref(), Some("2"));
}

#[test]
fn a_service_whose_containers_were_all_removed_is_deployed_from_its_history() {
    let edge = on_an_engine!();
    edge.replica("1", 1, false);
    edge.until_served("1");
    edge.deploy("2", "0s");
    for name in edge.containers() {
        edge.docker(&["rm", "-f", &name]);
    }
    eventually("none is left", || edge.active_endpoints_up() == 0);
    edge.deploy("3", "0s");
    assert_eq!(edge.answering().as_deref(), Some("3"));
}

#[test]
fn a_copy_takes_the_labels_of_its_own_slot() {
    each_compose(|edge, compose| {
        let pair = ComposeProject::pair(edge, compose, "1");
        edge.docker(&["rm", "-f", &pair.container("web-green")]);
        eventually("green has gone", || edge.endpoints_up("green") == 0);
        pair.deploy(&["--tag", "2"]);
        assert_eq!(edge.answering().as_deref(), Some("2"));
        // Unchanged, it makes the missing one from the old image.
        pair.up(&[]);
        let load = edge.load();
        load.passes(200);
        assert_only(edge, "2");
        pair.deploy(&["--tag", "3"]);
        assert_only(edge, "3");
        load.stop_without_failure();
    });
}

#[test]
fn after_a_flip_back_by_hand_and_another_deploy_one_release_serves() {
    let edge = on_an_engine!();
    edge.pair("1");
    let (first, service) = (edge.active(), edge.service());
    edge.deploy("2", "60s");
    let _back = edge.cutover(&["flip", &service, &first]).success();
    edge.deploy("3", "60s");
    assert_only(&edge, "3");
    // Nor does the old color's end keep the next one waiting.
    edge.deploy("2", "0s");
    assert_only(&edge, "2");
}

fn assert_only(edge: &Edge, expected: &str) {
    for _ in 0..40 {
        assert_eq!(edge.answering().as_deref(), Some(expected));
    }
}
