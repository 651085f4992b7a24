//! What a release is judged by after its flip, on a real engine.
//!
//! Where none answers every test says so loudly; `CUTOVER_REQUIRE_DOCKER=1` makes that a failure.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

use cutover_harness::{Edge, Running, eventually, on_an_engine};

fn deploy(edge: &Edge, tag: &str, monitor: &str) -> Running {
    let watch = edge.watch();
    let service = edge.service();
    let deploy = ["deploy", &service, "--tag", tag, "--monitor", monitor, "--keep-warm", "0s"];
    let client = edge.spawn(&[&deploy[..], &["--json"]].concat());
    watch.until("monitor");
    client
}

#[test]
fn a_release_of_which_each_of_its_few_answers_is_an_error_is_rolled_back() {
    let edge = on_an_engine!();
    edge.pair("1");
    let active = edge.active();
    let client = deploy(&edge, "errors", "15s");
    for _ in 0..12 {
        let _error = edge.fetch();
    }
    let said = client.wait();
    assert_eq!(said.code, 4, "{said:?}");
    assert_eq!(edge.active(), active);
}

#[test]
fn errors_of_the_old_release_excuse_none_of_a_worse_one() {
    let edge = on_an_engine!();
    edge.app("blue", "half-errors");
    edge.app("green", "half-errors");
    eventually("it serves", || edge.fetch().is_ok());
    let load = edge.load();
    load.passes(100);
    let active = edge.active();
    let client = deploy(&edge, "errors", "30s");
    let said = client.wait();
    assert_eq!(said.code, 4, "{said:?}");
    assert_eq!(edge.active(), active);
    drop(load);
}

#[test]
fn a_controller_that_dies_while_it_judges_goes_on_judging() {
    let edge = on_an_engine!();
    edge.pair("1");
    let active = edge.active();
    let client = deploy(&edge, "errors", "30s");
    edge.kill_controller();
    drop(client.wait());
    eventually("the controller is back", || edge.status().is_some());
    let load = edge.load();
    eventually("the old release serves again", || {
        edge.service_status().is_some_and(|service| service["active"] == active.as_str())
            && edge.fetch().is_ok()
    });
    drop(load);
    eventually("the history says so", || {
        let history = edge.cutover(&["history", &edge.service(), "--json"]).report();
        history["revisions"][0]["result"] == "rolled_back"
    });
}
