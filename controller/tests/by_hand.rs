//! The deployments that people do by hand, with real containers behind the edge and under load: what
//! Cutover replaces must be safe behind it too. No request fails.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

use std::collections::BTreeMap;

use cutover_harness::{Edge, Load, eventually, on_an_engine};

#[test]
fn an_app_that_comes_up_on_another_port_is_switched_to() {
    let edge = on_an_engine!();
    let old = edge.app_with("blue", "1", "old", &SAYS_OLD);
    edge.until_served("1");
    let load = edge.load();
    let other_port = ["-e", "DEMO_COLOR=green", "-e", "DEMO_LISTEN=0.0.0.0:9000"];
    edge.app_with("green", "2", "new", &[&other_port[..], &["-l", "cutover.port=9000"]].concat());
    eventually("it is up on its port", || edge.endpoints_up("green") == 1);
    assert_eq!(edge.cutover(&["flip", &edge.service(), "green"]).code, 0);
    assert_eq!(edge.fetch().unwrap(), "green");
    edge.docker(&["stop", &old]);
    load.passes(100);
    none_failed(load);
}

#[test]
fn instances_come_and_go_as_it_is_scaled_up_and_down() {
    let edge = on_an_engine!();
    edge.app("blue", "1");
    edge.until_served("1");
    let load = edge.load();
    let more = ["second", "third", "fourth"].map(|name| edge.app_named("blue", "1", name));
    eventually("all four are up", || edge.endpoints_up("blue") == 4);
    load.passes(100);
    for (n, name) in more.iter().enumerate() {
        edge.docker(&["stop", name]);
        eventually("it has left", || edge.endpoints_up("blue") == 3 - n);
        load.passes(20);
    }
    none_failed(load);
}

#[test]
fn both_colors_serve_side_by_side_until_one_is_told_to_stop() {
    let edge = on_an_engine!();
    let old = edge.app_with("blue", "1", "old", &SAYS_OLD);
    edge.app_with("green", "2", "new", &SAYS_NEW);
    edge.until_served("1");
    eventually("both are up", || edge.endpoints_up("blue") + edge.endpoints_up("green") == 2);
    let load = edge.load();
    assert_eq!(edge.cutover(&["flip", &edge.service(), "both"]).code, 0);
    load.passes(200);
    // Whoever stops one without a word to us takes nothing along.
    edge.docker(&["stop", &old]);
    load.passes(200);
    let words = none_failed(load);
    assert!(words["blue"] > 50 && words["green"] > 150, "{words:?}");
}

#[test]
fn the_old_color_is_stopped_by_hand_while_it_still_has_work() {
    let edge = on_an_engine!();
    let old = edge.app_with("blue", "1", "old", &SAYS_OLD);
    edge.app_with("green", "2", "new", &SAYS_NEW);
    edge.until_served("1");
    eventually("the new one is up", || edge.endpoints_up("green") == 1);
    let load = edge.load();
    let mut download = edge.begin("/download?bytes=50000000");
    assert_eq!(edge.cutover(&["flip", &edge.service(), "green"]).code, 0);
    // The app finishes what it has when it is told to end, as apps should.
    let reader = std::thread::spawn(move || std::io::copy(&mut download, &mut std::io::sink()));
    edge.docker(&["stop", &old]);
    load.passes(100);
    none_failed(load);
    drop(edge);
    assert!(reader.join().unwrap().unwrap() > 50_000_000, "the whole of it and a head");
}

#[test]
fn a_lone_instance_is_restarted_while_its_requests_wait() {
    let edge = on_an_engine!();
    let lone = edge.app("blue", "1");
    edge.until_served("1");
    let load = edge.load();
    for verb in ["restart", "kill", "restart"] {
        edge.docker(&[verb, &lone]);
        edge.docker(&["start", &lone]);
        load.passes(50);
    }
    none_failed(load);
}

#[test]
fn three_instances_are_replaced_one_by_one() {
    let edge = on_an_engine!();
    let old = ["one", "two", "three"].map(|name| edge.app_with("blue", "1", name, &SAYS_OLD));
    edge.until_served("1");
    eventually("all three are up", || edge.endpoints_up("blue") == 3);
    let load = edge.load();
    // A color serves one release: the new ones wait for the last of the old ones to go.
    for (n, former) in old.iter().enumerate() {
        let new = edge.app_with("blue", "2", &format!("new-{n}"), &SAYS_NEW);
        eventually("the new one waits", || left_out(&edge).contains(&new));
        edge.docker(&["stop", former]);
        edge.docker(&["rm", former]);
        load.passes(30);
    }
    eventually("the new ones serve", || edge.endpoints_up("blue") == 3);
    load.passes(30);
    let words = none_failed(load);
    assert!(words["blue"] > 0 && words["green"] > 0, "{words:?}");
    assert_eq!(edge.fetch().unwrap(), "green");
}

/// The names of the containers that serve nothing.
fn left_out(edge: &Edge) -> Vec<String> {
    let status = edge.status().unwrap_or_default();
    let left = status["left_out"].as_array().cloned().unwrap_or_default();
    left.iter().filter_map(|one| Some(one["container"].as_str()?.to_owned())).collect()
}

/// Ends the load: what was answered, by whom.
fn none_failed(load: Load) -> BTreeMap<String, u64> {
    let served = load.stop();
    assert_eq!(served.failures, Vec::<String>::new());
    assert!(served.requests > 100, "{served:?}");
    println!("{} requests: {:?}", served.requests, served.words);
    served.words
}

/// What an app calls itself in its answers.
const SAYS_OLD: [&str; 2] = ["-e", "DEMO_COLOR=blue"];
const SAYS_NEW: [&str; 2] = ["-e", "DEMO_COLOR=green"];
