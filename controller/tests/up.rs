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

#[path = "docker/harness.rs"]
mod harness;

use std::process::{Command, Stdio};

use harness::{Edge, IMAGE, Load, Said, eventually, host, not_tested};

#[test]
fn up_with_an_unchanged_file_does_not_undo_a_deploy() {
    each_compose(|edge, flavor| {
        let stack = Stack::pair(edge, flavor, &image("1"));
        let load = Load::start(edge.address());
        stack.deploy(&["--tag", "2"]);
        let serving = stack.container("web-green");
        stack.up(&[]);
        assert_eq!(stack.container("web-green"), serving, "{flavor:?}");
        assert_eq!(edge.active(), "green");
        edge.until_served("2");
        stack.lost_nothing(load);
    });
}

#[test]
fn up_with_the_deployed_tag_in_the_file_recreates_both_colors_and_loses_nothing() {
    each_compose(|edge, flavor| {
        let mut stack = Stack::pair(edge, flavor, &image("1"));
        let load = Load::start(edge.address());
        stack.deploy(&["--tag", "2"]);
        let serving = stack.container("web-green");
        stack.image = image("2");
        stack.write();
        stack.up(&[]);
        assert_ne!(stack.container("web-green"), serving, "{flavor:?}");
        assert_eq!(edge.active(), "green");
        eventually("both colors are up", || {
            edge.releases("blue") == ["2"] && edge.releases("green") == ["2"]
        });
        // The next rollout finds its way, and the next `up` has nothing to do.
        stack.deploy(&["--tag", "3"]);
        edge.until_served("3");
        stack.lost_nothing(load);
    });
}

#[test]
fn up_of_one_color_after_the_other_keeps_nobody_waiting() {
    each_compose(|edge, flavor| {
        let mut stack = Stack::pair(edge, flavor, &image("1"));
        let load = Load::start(edge.address());
        stack.deploy(&["--tag", "2"]);
        stack.image = image("2");
        stack.write();
        for (idle, service) in [("blue", "web-blue"), ("green", "web-green")] {
            stack.up(&["--no-deps", service]);
            eventually("the idle color has the release", || edge.releases(idle) == ["2"]);
            assert_eq!(edge.cutover(&["flip", &edge.service(), idle]).code, 0);
        }
        assert_eq!(held(edge), 0, "{flavor:?}");
        stack.lost_nothing(load);
    });
}

#[test]
fn up_with_a_moving_tag_leaves_what_was_deployed_under_it() {
    each_compose(|edge, flavor| {
        let stable = format!("{}:stable", edge.service());
        edge.docker(&["tag", &image("1"), &stable]);
        let stack = Stack::pair(edge, flavor, &stable);
        let load = Load::start(edge.address());
        edge.docker(&["tag", &image("2"), &stable]);
        stack.deploy(&["--tag", "stable", "--pull", "never"]);
        let serving = stack.container("web-green");
        stack.up(&[]);
        // The old Compose hashes the image itself into its label: it does not know what it sees.
        let left = stack.container("web-green") == serving;
        assert_eq!(left, flavor == ["docker", "compose"], "{flavor:?}");
        eventually("green serves", || edge.releases("green") == ["stable"]);
        assert_eq!(edge.active(), "green");
        stack.lost_nothing(load);
        drop(stack);
        edge.docker(&["rmi", &stable]);
    });
}

#[test]
fn up_while_the_old_release_is_warm_leaves_the_one_that_serves() {
    each_compose(|edge, flavor| {
        let stack = Stack::lone(edge, flavor, &image("1"), &[]);
        let load = Load::start(edge.address());
        for (release, active) in [("2", "green"), ("3", "blue")] {
            stack.deploy(&["--tag", release, "--keep-warm", "60s"]);
            let new = format!("-r{release}");
            let serving = edge.containers().into_iter().find(|name| name.ends_with(&new)).unwrap();
            stack.up(&["--scale", "web=2", "--no-recreate"]);
            assert_eq!(edge.containers().len(), 2, "{flavor:?}");
            // One is what the file says: that is the one that serves, and the warm one goes.
            stack.up(&[]);
            assert_eq!(edge.containers(), [serving], "{flavor:?}");
            assert_eq!(edge.active(), active);
            assert_eq!(edge.releases(active), [release]);
        }
        stack.lost_nothing(load);
        let history = edge.cutover(&["history", &edge.service(), "--json"]).report();
        let revisions = history["revisions"].as_array().unwrap();
        assert!(revisions.iter().all(|revision| revision["result"] == "done"), "{history}");
    });
}

#[test]
fn a_release_that_compose_scales_in_is_flipped_to_by_itself() {
    each_compose(|edge, flavor| {
        let labels = [
            "cutover.rollout.auto=true",
            "cutover.rollout.monitor=1s",
            "cutover.rollout.keep_warm=0s",
        ];
        let mut stack = Stack::lone(edge, flavor, &image("1"), &labels);
        let load = Load::start(edge.address());
        let old = edge.containers();
        stack.image = image("2");
        stack.write();
        stack.up(&["--scale", "web=2", "--no-recreate"]);
        edge.until_served("2");
        eventually("the old one has gone", || !edge.containers().contains(&old[0]));
        // From here on the file says what there is.
        let serving = edge.containers();
        stack.up(&[]);
        assert_eq!(edge.containers(), serving, "{flavor:?}");
        edge.until_served("2");
        stack.lost_nothing(load);
    });
}

#[test]
fn a_bad_release_that_compose_scales_in_serves_nobody_and_status_says_why() {
    each_compose(|edge, flavor| {
        let labels = [
            "cutover.rollout.auto=true",
            "cutover.rollout.monitor=20s",
            "cutover.rollout.keep_warm=0s",
        ];
        let mut stack = Stack::lone(edge, flavor, &image("1"), &labels);
        let load = Load::start(edge.address());
        let active = edge.active();
        stack.image = image("never-ready");
        stack.write();
        stack.up(&["--scale", "web=2", "--no-recreate"]);
        eventually("the bad one is known", || edge.containers().len() == 2);
        eventually("status says why it is not up", || {
            let status = edge.cutover(&["status", "--json"]).stdout;
            status.contains("503")
        });
        assert_eq!(edge.active(), active);
        assert_eq!(edge.releases(&active), ["1"]);
        stack.lost_nothing(load);
    });
}

#[test]
fn a_release_that_compose_scales_in_and_that_fails_is_left_or_removed_as_configured() {
    each_compose(|edge, flavor| {
        let labels = [
            "cutover.rollout.auto=true",
            "cutover.rollout.monitor=20s",
            "cutover.rollout.keep_warm=0s",
        ];
        let mut stack = Stack::lone(edge, flavor, &image("1"), &labels);
        let good = edge.containers();
        let load = Load::start(edge.address());
        for (tries, on_failure, left) in [(1, None, 2), (2, Some("remove"), 1)] {
            let label = on_failure.map(|what| format!("cutover.rollout.on_failure={what}"));
            stack.labels.extend(label);
            stack.image = image("errors");
            stack.write();
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
            assert_eq!(names.len(), left, "{flavor:?}: {names:?}");
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
    each_compose(|edge, flavor| {
        let stack = Stack::pair(edge, flavor, &image("1"));
        let mut other = Stack::of(edge, flavor, &["web-blue", "web-green"], &image("3"), &[]);
        other.project.push_str("-copy");
        other.write();
        other.up(&[]);
        let copies: Vec<_> = ["web-blue", "web-green"].map(|s| other.container(s)).into();
        eventually("status names them", || {
            let status = edge.cutover(&["status", "--json"]).report();
            let left = status["left_out"].as_array().unwrap().clone();
            let reason = format!("belongs to the compose project {}", stack.project);
            left.iter().filter(|l| l["reason"].as_str().unwrap().contains(&reason)).count() == 2
        });
        let load = Load::start(edge.address());
        stack.deploy(&["--tag", "2"]);
        edge.until_served("2");
        assert_eq!(copies, ["web-blue", "web-green"].map(|s| other.container(s)));
        // The owner may be recreated, and is then the younger one.
        stack.up(&["--force-recreate"]);
        eventually("both colors are up again", || {
            edge.releases("blue").len() + edge.releases("green").len() == 2
        });
        assert!(!edge.releases("blue").contains(&"3".to_owned()));
        stack.lost_nothing(load);
        drop(stack);
        edge.until_served("3");
    });
}

/// Plays with every Compose there is, each with an edge of its own.
fn each_compose(play: impl Fn(&Edge, &'static [&'static str])) {
    for flavor in [&["docker-compose"][..], &["docker", "compose"]] {
        let mut version = Command::new(flavor[0]);
        let version = version.args(&flavor[1..]).arg("version").stdin(Stdio::null()).output();
        if !version.is_ok_and(|output| output.status.success()) {
            not_tested(&format!("`{}` is not installed", flavor.join(" ")));
            continue;
        }
        let Some(edge) = Edge::start() else { return };
        play(&edge, flavor);
    }
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

fn image(release: &str) -> String {
    format!("{IMAGE}:{release}")
}

/// A project of Compose that is one service of ours.
struct Stack<'e> {
    edge: &'e Edge,
    flavor: &'static [&'static str],
    project: String,
    /// Of Compose; what is behind a dash is a color.
    services: Vec<&'static str>,
    image: String,
    labels: Vec<String>,
    dir: tempfile::TempDir,
}

impl<'e> Stack<'e> {
    fn of(
        edge: &'e Edge,
        flavor: &'static [&'static str],
        services: &[&'static str],
        image: &str,
        labels: &[&str],
    ) -> Self {
        Self {
            edge,
            flavor,
            project: edge.service(),
            services: services.to_vec(),
            image: image.to_owned(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// Two services with a color each, up; blue serves.
    fn pair(edge: &'e Edge, flavor: &'static [&'static str], image: &str) -> Self {
        let stack = Self::of(edge, flavor, &["web-blue", "web-green"], image, &[]);
        stack.write();
        stack.up(&[]);
        eventually("both colors are up", || {
            edge.endpoints_up("blue") + edge.endpoints_up("green") == 2
        });
        // Whichever Compose has started first serves first.
        assert_eq!(edge.cutover(&["flip", &edge.service(), "blue"]).code, 0);
        stack
    }

    /// One service, up, whose containers are sorted by release.
    fn lone(edge: &'e Edge, flavor: &'static [&'static str], image: &str, labels: &[&str]) -> Self {
        let stack = Self::of(edge, flavor, &["web"], image, labels);
        stack.write();
        stack.up(&[]);
        edge.until_served(image.rsplit(':').next().unwrap());
        stack
    }

    /// Writes the file as it is now.
    fn write(&self) {
        let mut file = "services:\n".to_owned();
        for service in &self.services {
            let labels = [
                format!("cutover.service={}", self.edge.service()),
                format!("cutover.hosts={}", host()),
                "cutover.port=8000".to_owned(),
                "cutover.probe.path=/health".to_owned(),
                "cutover.probe.interval=200ms".to_owned(),
            ];
            file += &format!("  {service}:\n    image: {}\n    labels:\n", self.image);
            let color = service.split_once('-').map(|(_, color)| format!("cutover.color={color}"));
            for label in labels.iter().chain(&self.labels).chain(&color) {
                file += &format!("      - {label}\n");
            }
        }
        std::fs::write(self.dir.path().join("compose.yaml"), file).unwrap();
    }

    fn up(&self, more: &[&str]) {
        let said = self.compose(&[&["up", "--detach"], more].concat());
        assert_eq!(said.code, 0, "{said:?}");
    }

    fn compose(&self, arguments: &[&str]) -> Said {
        let output = Command::new(self.flavor[0])
            .args(&self.flavor[1..])
            .args(["--project-name", &self.project, "--file"])
            .arg(self.dir.path().join("compose.yaml"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Said::of(&output)
    }

    fn deploy(&self, more: &[&str]) {
        let service = self.edge.service();
        let mut arguments = vec!["deploy", &service, "--monitor", "0s", "--json"];
        if !more.contains(&"--keep-warm") {
            arguments.extend(["--keep-warm", "0s"]);
        }
        arguments.extend(more);
        let said = self.edge.cutover(&arguments);
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(said.report()["failed"], 0, "{said:?}");
    }

    /// The ID of the one container of a compose service, running or not.
    fn container(&self, service: &str) -> String {
        let of = format!("label=com.docker.compose.project={}", self.project);
        let service = format!("label=com.docker.compose.service={service}");
        let ids = self.edge.docker(&["ps", "-aq", "--filter", &of, "--filter", &service]);
        assert_eq!(ids.lines().count(), 1, "{ids}");
        ids
    }

    fn lost_nothing(&self, load: Load) {
        let served = load.stop();
        println!(
            "{:?}: {} requests, the longest {:?}",
            self.flavor, served.requests, served.longest
        );
        assert_eq!(served.failures, Vec::<String>::new(), "{:?}", self.flavor);
    }
}

impl Drop for Stack<'_> {
    fn drop(&mut self) {
        self.compose(&["down", "--volumes", "--timeout", "3"]);
    }
}
