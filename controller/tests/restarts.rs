//! A restart of what serves, by hand, while another release is warm: it is waited for, and where
//! that takes too long the change is never a silent one. On a real engine.
//!
//! Where none answers every test says so loudly; `CUTOVER_REQUIRE_DOCKER=1` makes that a failure.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

use cutover_harness::{Edge, eventually};

/// A pair of release 1, with its time until a failover: what a restart takes is the engine's affair.
fn pair(failover: &str) -> Option<Edge> {
    let edge = Edge::start()?;
    let label = format!("cutover.rollout.failover={failover}");
    for color in ["blue", "green"] {
        let hold = "cutover.timeouts.hold=30s";
        edge.app_with(color, "1", color, &["-l", &label, "-l", hold]);
    }
    edge.until_served("1");
    Some(edge)
}

/// A pair of which release `tag` serves, and 1 is warm.
fn with_a_warm_color(tag: &str, failover: &str) -> Option<Edge> {
    let edge = pair(failover)?;
    edge.deploy(tag, "120s");
    Some(edge)
}

#[test]
fn a_container_that_is_restarted_serves_again_and_not_the_warm_one() {
    let Some(edge) = with_a_warm_color("2", "30s") else { return };
    let (active, name) = (edge.active(), edge.serving());
    let load = edge.load();
    for arguments in [&["restart"][..], &["restart", "-t", "0"], &["restart", "-t", "1"]] {
        edge.docker(&[arguments, &[&name]].concat());
        eventually("it is up again", || edge.endpoints_up(&active) == 1);
        load.passes(50);
        assert_eq!((edge.active(), edge.answering().as_deref()), (active.clone(), Some("2")));
    }
    let history = edge.cutover(&["history", &edge.service(), "--json"]).report();
    assert_eq!(history["revisions"][0]["kind"], "deploy", "{history}");
    let served = load.stop();
    // Killed with `-t 0`, it may have had one request of each of the four clients.
    assert!(served.failures.len() <= 8, "{:?}", served.failures);
}

#[test]
fn a_restart_that_takes_longer_than_a_failover_is_told_when_the_warm_release_serves() {
    let Some(edge) = with_a_warm_color("slow-start", "3s") else { return };
    let (active, name, service) = (edge.active(), edge.serving(), edge.service());
    let load = edge.load();
    edge.docker(&["restart", "-t", "1", &name]);
    eventually("the warm release serves", || edge.active() != active);
    assert_eq!(edge.answering().as_deref(), Some("1"));
    let status = edge.service_status().unwrap();
    assert!(status["note"].as_str().is_some_and(|note| note.contains("failed over")), "{status}");
    let history = edge.cutover(&["history", &service, "--json"]).report();
    assert_eq!(history["revisions"][0]["kind"], "failover", "{history}");
    // Nor is it stopped with the time that it was to be kept warm, and the way back is a flip.
    eventually("the newer release is up again", || edge.endpoints_up(&active) == 1);
    let _back = edge.cutover(&["flip", &service, &active]).success();
    load.passes(50);
    let served = load.stop();
    assert!(served.failures.len() <= 4, "{:?}", served.failures);
}

#[test]
fn a_container_that_is_restarted_while_it_is_judged_or_while_the_old_one_drains_serves_again() {
    for phase in ["monitor", "drain"] {
        let Some(edge) = pair("30s") else { return };
        let service = edge.service();
        let stream = edge.begin("/sse");
        let watch = edge.watch();
        let monitor = if phase == "monitor" { "8s" } else { "0s" };
        let deploy = ["deploy", &service, "--tag", "2", "--monitor", monitor, "--json"];
        let limits = ["--keep-warm", "60s", "--stream-drain", "60s"];
        let client = edge.spawn(&[&deploy[..], &limits].concat());
        watch.until(phase);
        let name = edge.serving();
        edge.docker(&["restart", "-t", "2", &name]);
        if phase == "drain" {
            eventually("it is up again", || edge.active_endpoints_up() == 1);
            assert_eq!(edge.answering().as_deref(), Some("2"));
        }
        drop(stream);
        let said = client.wait();
        let serves = edge.answering();
        // One that is judged may be found wanting, but then its client is told.
        match said.code {
            0 => assert_eq!(serves.as_deref(), Some("2"), "{phase}: {said:?}"),
            4 if phase == "monitor" => assert_eq!(serves.as_deref(), Some("1"), "{said:?}"),
            _ => panic!("{phase}: {said:?}"),
        }
    }
}
