//! `docker compose up` after a deploy, with each Compose that is installed, under load: what it
//! leaves alone, what it recreates, and that no request fails either way.
//!
//! Needs a Docker engine; where that or a Compose is missing it says so loudly, and
//! `CUTOVER_REQUIRE_DOCKER=1` makes that a failure.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "blocking test code; a panic is how a test fails"
)]

use std::process::Command;

use cutover_harness::{ComposeProject, Edge, Load, each_compose, eventually, image};

#[test]
fn up_with_an_unchanged_file_does_not_undo_a_deploy() {
    each_compose(|edge, compose| {
        let stack = ComposeProject::pair(edge, compose, "1");
        let load = edge.load();
        stack.deploy(&["--tag", "2"]);
        let serving = stack.container("web-green");
        stack.up(&[]);
        assert_eq!(stack.container("web-green"), serving, "{compose:?}");
        assert_eq!(edge.active(), "green");
        edge.until_served("2");
        lost_nothing(load);
    });
}

#[test]
fn up_with_the_deployed_tag_in_the_file_recreates_both_colors_and_loses_nothing() {
    each_compose(|edge, compose| {
        let mut stack = ComposeProject::pair(edge, compose, "1");
        let load = edge.load();
        stack.deploy(&["--tag", "2"]);
        let serving = stack.container("web-green");
        stack.release("2");
        stack.up(&[]);
        assert_ne!(stack.container("web-green"), serving, "{compose:?}");
        assert_eq!(edge.active(), "green");
        eventually("both colors are up", || {
            edge.releases("blue") == ["2"] && edge.releases("green") == ["2"]
        });
        // The next rollout finds its way, and the next `up` has nothing to do.
        stack.deploy(&["--tag", "3"]);
        edge.until_served("3");
        lost_nothing(load);
    });
}

#[test]
fn up_of_one_color_after_the_other_keeps_nobody_waiting() {
    each_compose(|edge, compose| {
        let mut stack = ComposeProject::pair(edge, compose, "1");
        let load = edge.load();
        stack.deploy(&["--tag", "2"]);
        stack.release("2");
        for (idle, service) in [("blue", "web-blue"), ("green", "web-green")] {
            stack.up(&["--no-deps", service]);
            eventually("the idle color has the release", || edge.releases(idle) == ["2"]);
            assert_eq!(edge.cutover(&["flip", &edge.service(), idle]).code, 0);
        }
        assert_eq!(held(edge), 0, "{compose:?}");
        lost_nothing(load);
    });
}

#[test]
fn up_with_a_moving_tag_leaves_what_was_deployed_under_it() {
    each_compose(|edge, compose| {
        let stable = format!("{}:stable", edge.service());
        edge.docker(&["tag", &image("1"), &stable]);
        let mut stack = ComposeProject::of(edge, compose, &["web-blue", "web-green"], "1");
        stack.image.clone_from(&stable);
        stack.bring_pair();
        let load = edge.load();
        edge.docker(&["tag", &image("2"), &stable]);
        stack.deploy(&["--tag", "stable", "--pull", "never"]);
        let serving = stack.container("web-green");
        stack.up(&[]);
        // The old Compose hashes the image itself into its label: it does not know what it sees.
        let left = stack.container("web-green") == serving;
        assert_eq!(left, compose == ["docker", "compose"], "{compose:?}");
        eventually("green serves", || edge.releases("green") == ["stable"]);
        assert_eq!(edge.active(), "green");
        lost_nothing(load);
        drop(stack);
        edge.docker(&["rmi", &stable]);
    });
}

#[test]
fn up_while_the_old_release_is_warm_leaves_the_one_that_serves() {
    each_compose(|edge, compose| {
        let stack = ComposeProject::lone(edge, compose, "1", &[]);
        let load = edge.load();
        for (release, active) in [("2", "green"), ("3", "blue")] {
            stack.deploy(&["--tag", release, "--keep-warm", "60s"]);
            let new = format!("-r{release}");
            let serving = edge.containers().into_iter().find(|name| name.ends_with(&new)).unwrap();
            stack.up(&["--scale", "web=2", "--no-recreate"]);
            assert_eq!(edge.containers().len(), 2, "{compose:?}");
            // One is what the file says: that is the one that serves, and the warm one goes.
            stack.up(&[]);
            assert_eq!(edge.containers(), [serving], "{compose:?}");
            assert_eq!(edge.active(), active);
            assert_eq!(edge.releases(active), [release]);
        }
        lost_nothing(load);
        let history = edge.cutover(&["history", &edge.service(), "--json"]).report();
        let revisions = history["revisions"].as_array().unwrap();
        assert!(revisions.iter().all(|revision| revision["result"] == "done"), "{history}");
    });
}

#[test]
fn a_release_that_compose_scales_in_is_flipped_to_by_itself() {
    each_compose(|edge, compose| {
        let labels = [
            "cutover.rollout.auto=true",
            "cutover.rollout.monitor=1s",
            "cutover.rollout.keep_warm=0s",
        ];
        let mut stack = ComposeProject::lone(edge, compose, "1", &labels);
        let load = edge.load();
        let old = edge.containers();
        stack.release("2");
        stack.up(&["--scale", "web=2", "--no-recreate"]);
        edge.until_served("2");
        eventually("the old one has gone", || !edge.containers().contains(&old[0]));
        // From here on the file says what there is.
        let serving = edge.containers();
        stack.up(&[]);
        assert_eq!(edge.containers(), serving, "{compose:?}");
        edge.until_served("2");
        lost_nothing(load);
    });
}

#[test]
fn a_bad_release_that_compose_scales_in_serves_nobody_and_status_says_why() {
    each_compose(|edge, compose| {
        let labels = [
            "cutover.rollout.auto=true",
            "cutover.rollout.monitor=20s",
            "cutover.rollout.keep_warm=0s",
        ];
        let mut stack = ComposeProject::lone(edge, compose, "1", &labels);
        let load = edge.load();
        let active = edge.active();
        stack.release("never-ready");
        stack.up(&["--scale", "web=2", "--no-recreate"]);
        eventually("the bad one is known", || edge.containers().len() == 2);
        eventually("status says why it is not up", || {
            let status = edge.cutover(&["status", "--json"]).stdout;
            status.contains("503")
        });
        assert_eq!(edge.active(), active);
        assert_eq!(edge.releases(&active), ["1"]);
        lost_nothing(load);
    });
}

#[test]
fn a_release_that_compose_scales_in_and_that_fails_is_left_or_removed_as_configured() {
    each_compose(|edge, compose| {
        let labels = [
            "cutover.rollout.auto=true",
            "cutover.rollout.monitor=20s",
            "cutover.rollout.keep_warm=0s",
        ];
        let mut stack = ComposeProject::lone(edge, compose, "1", &labels);
        let good = edge.containers();
        let load = edge.load();
        for (tries, on_failure, left) in [(1, None, 2), (2, Some("remove"), 1)] {
            let label = on_failure.map(|what| format!("cutover.rollout.on_failure={what}"));
            stack.labels.extend(label);
            stack.release("errors");
            stack.up(&["--scale", "web=2", "--no-recreate"]);
            eventually("it was tried and given up", || {
                let history = edge.cutover(&["history", &edge.service(), "--json"]).report();
                let revisions = history["revisions"].as_array().unwrap();
                let given_up = revisions.iter().filter(|r| r["result"] == "rolled_back").count();
                given_up == tries && edge.rollout().is_null()
            });
            let status = edge.cutover(&["status", &edge.service()]).stdout;
            assert!(status.contains("was rolled back: answers of 500"), "{status}");
            let names = edge.containers();
            assert_eq!(names.len(), left, "{compose:?}: {names:?}");
            assert!(names.iter().all(|name| !edge.is_stopped(name)), "{names:?}");
            assert_eq!(edge.releases(&edge.active()), ["1"]);
            for name in names.iter().filter(|name| !good.contains(name)) {
                edge.docker(&["rm", "-f", name]);
            }
            eventually("it is forgotten", || {
                edge.endpoints_up("blue") + edge.endpoints_up("green") == 1
            });
        }
        drop(load);
    });
}

#[test]
fn two_projects_with_one_service_do_not_share_it() {
    each_compose(|edge, compose| {
        let stack = ComposeProject::pair(edge, compose, "1");
        let mut other = ComposeProject::of(edge, compose, &["web-blue", "web-green"], "3");
        other.project.push_str("-copy");
        other.up(&[]);
        let copies: Vec<_> = ["web-blue", "web-green"].map(|s| other.container(s)).into();
        eventually("status names them", || {
            let status = edge.cutover(&["status", "--json"]).report();
            let left = status["left_out"].as_array().unwrap().clone();
            let reason = format!("belongs to the compose project {}", stack.project);
            left.iter().filter(|l| l["reason"].as_str().unwrap().contains(&reason)).count() == 2
        });
        let load = edge.load();
        stack.deploy(&["--tag", "2"]);
        edge.until_served("2");
        assert_eq!(copies, ["web-blue", "web-green"].map(|s| other.container(s)));
        // The owner may be recreated, and is then the younger one.
        stack.up(&["--force-recreate"]);
        eventually("both colors are up again", || {
            edge.releases("blue").len() + edge.releases("green").len() == 2
        });
        assert!(!edge.releases("blue").contains(&"3".to_owned()));
        lost_nothing(load);
        drop(stack);
        edge.until_served("3");
    });
}

/// Requests that had to wait so far.
fn held(edge: &Edge) -> u64 {
    let output = Command::new("curl")
        .args(["--silent", "--max-time", "10", "--unix-socket"])
        .arg(edge.dir().join("c.sock"))
        .arg("http://cutover/metrics")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let name = format!("cutover_held_requests_total{{service=\"{}\"}} ", edge.service());
    text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

fn lost_nothing(load: Load) {
    let served = load.stop();
    println!("{} requests, the longest {:?}", served.requests, served.longest);
    assert_eq!(served.failures, Vec::<String>::new());
}
