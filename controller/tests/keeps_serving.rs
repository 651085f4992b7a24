//! What serves keeps serving, whatever Docker, Compose, tools and people do to containers: the first
//! two rules of SECURITY.md's table and the fifth, on a real engine.
//!
//! Where none answers every test says so loudly; `CUTOVER_REQUIRE_DOCKER=1` makes that a failure.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

use std::fs;

use cutover_harness::{
    App, ComposeProject, Edge, Load, each_compose, eventually, image, on_an_engine,
};

/// Until the service is answered again, and by this release.
fn until_answered_by(edge: &Edge, release: &str) {
    eventually(&format!("release {release} answers"), || {
        edge.answering().as_deref() == Some(release)
    });
}

/// What the last entry of the history says that it was.
fn last_kind(edge: &Edge) -> String {
    let history = edge.cutover(&["history", &edge.service(), "--json"]).report();
    history["revisions"][0]["kind"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn what_rollouts_have_made_serves_on_when_the_journal_is_lost() {
    for torn in [false, true] {
        let edge = on_an_engine!();
        edge.replica("1", 1, false);
        edge.until_served("1");
        edge.deploy("2", "0s");
        until_answered_by(&edge, "2");
        edge.crash(|edge| {
            let files =
                fs::read_dir(edge.dir().join("state")).unwrap().map(|file| file.unwrap().path());
            for file in files.filter(|file| file.is_file()) {
                if torn {
                    fs::write(file, "torn").unwrap();
                } else {
                    fs::remove_file(file).unwrap();
                }
            }
        });
        until_answered_by(&edge, "2");
        // Nor is it stopped when the controller looks again.
        edge.kill_controller();
        eventually("the controller is back", || edge.status().is_some());
        let load = edge.load();
        load.passes(200);
        load.stop_without_failure();
        assert_eq!(edge.orphans(), Vec::<String>::new(), "torn: {torn}");
    }
}

#[test]
fn a_container_that_a_tool_recreates_with_its_labels_serves_on() {
    let edge = on_an_engine!();
    edge.replica("1", 1, false);
    edge.until_served("1");
    edge.deploy("2", "0s");
    until_answered_by(&edge, "2");
    // As Watchtower and Portainer do it: the same name, the same labels, another ID.
    let name = edge.containers().into_iter().find(|name| !edge.is_stopped(name)).unwrap();
    let labels = edge.docker(&["inspect", "-f", "{{json .Config.Labels}}", &name]);
    let labels: std::collections::BTreeMap<String, String> = serde_json::from_str(&labels).unwrap();
    edge.docker(&["rm", "-f", &name]);
    let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let image = image("2");
    let mut run = vec!["run", "-d", "--name", &name, "--network"];
    let network = edge.service();
    run.push(&network);
    for label in &labels {
        run.extend(["-l", label]);
    }
    run.push(&image);
    edge.docker(&run);
    until_answered_by(&edge, "2");
    edge.kill_controller();
    eventually("the controller is back", || edge.status().is_some());
    let load = edge.load();
    load.passes(200);
    load.stop_without_failure();
}

#[test]
fn one_compose_service_that_is_edited_and_brought_up_serves_on() {
    each_compose(|edge, compose| {
        let mut project = ComposeProject::lone(edge, compose, "1", &[]);
        for release in ["2", "3"] {
            project.release(release);
            project.up(&[]);
            until_answered_by(edge, release);
        }
        edge.deploy("1", "0s");
        until_answered_by(edge, "1");
    });
}

#[test]
fn a_stack_that_is_taken_down_and_up_after_a_deploy_serves_again() {
    each_compose(|edge, compose| {
        let project = ComposeProject::lone(edge, compose, "1", &[]);
        edge.deploy("2", "0s");
        let _down = project.run(&["down", "--timeout", "3"]).success();
        project.up(&[]);
        until_answered_by(edge, "1");
        edge.deploy("3", "0s");
        until_answered_by(edge, "3");
    });
}

#[test]
fn the_warm_color_serves_when_the_last_container_of_the_one_that_serves_has_gone() {
    let edge = on_an_engine!();
    edge.pair("1");
    edge.deploy("2", "60s");
    until_answered_by(&edge, "2");
    let active = edge.active();
    let serving =
        edge.service_status().unwrap()["colors"][&active]["endpoints"][0]["container"].clone();
    let load = edge.load();
    load.passes(100);
    edge.docker(&["rm", "-f", serving.as_str().unwrap()]);
    until_answered_by(&edge, "1");
    load.passes(100);
    let served = load.stop();
    // Each of the four clients may have had one request on it when it was killed.
    assert!(served.failures.len() <= 4, "{:?}", served.failures);
    let status = edge.service_status().unwrap();
    assert_ne!(status["active"].as_str().unwrap(), active);
    assert!(status["note"].as_str().is_some_and(|note| !note.is_empty()), "{status}");
    assert_eq!(last_kind(&edge), "failover");
}

#[test]
fn the_other_color_serves_when_the_one_that_serves_stays_down() {
    let edge = on_an_engine!();
    edge.pair("1");
    eventually("both are up", || edge.endpoints_up("blue") + edge.endpoints_up("green") == 2);
    let active = edge.active();
    let load = edge.load();
    edge.docker(&["stop", &format!("{}-{active}", edge.service())]);
    eventually("the other color serves", || edge.active() != active && edge.fetch().is_ok());
    load.passes(100);
    assert!(load.stop().failures.len() <= 4);
    let other = edge.active();
    // It never goes back by itself.
    edge.docker(&["start", &format!("{}-{active}", edge.service())]);
    eventually("both are up again", || edge.endpoints_up(&active) == 1);
    let load = edge.load();
    load.passes(400);
    load.stop_without_failure();
    assert_eq!(edge.active(), other);
}

#[test]
fn a_forced_flip_to_an_empty_color_is_no_lasting_outage() {
    let edge = on_an_engine!();
    edge.app("blue", "1");
    edge.app_named("blue", "1", "second");
    edge.until_served("1");
    eventually("both are up", || edge.endpoints_up("blue") == 2);
    let _forced = edge.cutover(&["flip", &edge.service(), "green", "--force"]);
    eventually("blue serves again", || edge.active() == "blue" && edge.fetch().is_ok());
}

#[test]
fn a_share_for_a_color_without_endpoints_is_refused() {
    let edge = on_an_engine!();
    edge.app("blue", "1");
    edge.until_served("1");
    let service = edge.service();
    let said = edge.cutover(&["weight", &service, "blue=50", "green=50"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert_eq!(edge.weights()["green"], 0, "{}", edge.weights());
    edge.deploy("2", "0s");
}

#[test]
fn a_signal_that_does_not_stop_a_container_takes_no_endpoint_out() {
    let edge = on_an_engine!();
    let name = edge.app("blue", "1");
    edge.until_served("1");
    let load = edge.load();
    for signal in ["QUIT", "HUP", "USR1", "USR2", "TTIN", "TTOU", "WINCH"] {
        edge.docker(&["kill", "-s", signal, &name]);
        load.passes(100);
        assert_eq!(edge.endpoints_up("blue"), 1, "{signal}");
    }
    lost_nothing(load);
}

#[test]
fn a_container_that_lives_on_after_its_stop_signal_comes_back() {
    let edge = on_an_engine!();
    let name = edge.app_with("blue", "never-ends", "blue", &["--stop-timeout", "1"]);
    eventually("it serves", || edge.fetch().is_ok());
    edge.docker(&["kill", "-s", "TERM", &name]);
    eventually("it serves again", || {
        // As a health check does: its events keep the stream busy.
        edge.docker(&["exec", &name, "/cutover", "--version"]);
        edge.endpoints_up("blue") == 1 && edge.fetch().is_ok()
    });
    assert!(!edge.is_stopped(&name));
    edge.deploy("2", "0s");
}

#[test]
fn a_flip_by_hand_while_a_deploy_begins_never_lands_on_its_candidate() {
    let edge = on_an_engine!();
    edge.pair("1");
    let service = edge.service();
    let load = edge.load();
    let idle = if edge.active() == "blue" { "green" } else { "blue" };
    let deploy = ["deploy", &service, "--tag", "slow-start", "--monitor", "0s"];
    let mut client = edge.spawn(&[&deploy[..], &["--keep-warm", "0s"]].concat());
    while !client.has_ended() {
        let flip = edge.cutover(&["flip", &service, idle]);
        assert!([0, 3, 5].contains(&flip.code), "{flip:?}");
    }
    load.passes(50);
    lost_nothing(load);
}

#[test]
fn a_pair_that_deploys_by_itself_leaves_the_lock_to_others() {
    let edge = on_an_engine!();
    for color in ["blue", "green"] {
        let _name =
            App::new(&edge, color, "1").color(color).label("cutover.rollout.auto", "true").run();
    }
    edge.until_served("1");
    eventually("green is up, too", || edge.endpoints_up("green") == 1);
    for to in ["blue", "green"].into_iter().cycle().take(20) {
        let flip = edge.cutover(&["flip", &edge.service(), to]);
        assert_eq!(flip.code, 0, "{flip:?}");
    }
    edge.deploy("2", "0s");
}

fn lost_nothing(load: Load) {
    load.stop_without_failure();
}
