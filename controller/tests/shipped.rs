//! `compose.yaml` as a user brings it up, with each Compose that is installed: the image is built
//! from this workspace without pulling anything; flips, deploys and stops under load lose nothing.
//!
//! What is shipped is tested late: `.ci/run` compiles the release beside the tests before it.
//!
//! Runs wherever a Docker engine answers. Where none does, or a Compose is missing, it says so
//! loudly; `CUTOVER_REQUIRE_DOCKER=1` makes that a failure.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "blocking test code; a panic is how a test fails"
)]

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use cutover_harness::{Load, PATIENCE, Port, ask, eventually, fetch, not_tested};
use serde_json::Value;

#[test]
fn compose_yaml_comes_up_and_loses_nothing() {
    if !succeeds(Command::new("docker").arg("info")) {
        return not_tested("no Docker engine answers here");
    }
    let image = Image::build();
    for flavor in [&["docker-compose"][..], &["docker", "compose"]] {
        if succeeds(Command::new(flavor[0]).args(&flavor[1..]).arg("version")) {
            Project::up(flavor, &image).play();
        } else {
            not_tested(&format!("`{}` is not installed", flavor.join(" ")));
        }
    }
}

/// Past the harness, which shows nothing of a test that passes.
fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

const CLIENTS: usize = 8;
const FLIPS: usize = 6;
/// How long a request waits for an endpoint here.
const HOLD: Duration = Duration::from_secs(6);

/// The image under test, and a second release of it, under a name of its own.
struct Image {
    name: String,
}

impl Image {
    fn build() -> Self {
        let image = Self { name: format!("cutover-test-compose-{}", std::process::id()) };
        say("Compose: compiling a static release; the first time takes minutes");
        let script = workspace().join(".ci/image");
        let mut build = bounded(Duration::from_secs(25 * 60));
        run(build.arg(script).arg(image.tag("1")));
        let dir = tempfile::tempdir().unwrap();
        let second = format!("FROM {}\nLABEL release=2\n", image.tag("1"));
        std::fs::write(dir.path().join("Dockerfile"), second).unwrap();
        run(docker(&["build", "--tag", &image.tag("2")]).arg(dir.path()));
        image
    }

    fn tag(&self, tag: &str) -> String {
        format!("{}:{tag}", self.name)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let tags = [self.tag("1"), self.tag("2")];
        bounded(PATIENCE).args(["docker", "rmi", "--force"]).args(tags).output().ok();
    }
}

/// A project that is up; it is taken down, with its volume, when dropped.
struct Project<'i> {
    flavor: &'static [&'static str],
    name: String,
    image: &'i Image,
    port: Port,
    /// Where the file lies that sets this project apart from others on the engine.
    dir: tempfile::TempDir,
}

impl<'i> Project<'i> {
    fn up(flavor: &'static [&'static str], image: &'i Image) -> Self {
        let port = Port::claim();
        let name = format!("cutover-test-{}-{}", std::process::id(), port.number());
        let project = Self { flavor, name, image, port, dir: tempfile::tempdir().unwrap() };
        let labels = format!(
            "{{cutover.hosts: {}, cutover.timeouts.hold: {}s}}",
            project.host(),
            HOLD.as_secs()
        );
        let apart = format!(
            "services:\n  web-blue:\n    labels: {labels}\n  web-green:\n    labels: {labels}\n"
        );
        std::fs::write(project.dir.path().join("apart.yaml"), apart).unwrap();
        run(project.compose().args(["up", "--detach", "--no-build"]));
        eventually("the first answer", || project.ask().is_ok());
        project
    }

    fn play(&self) {
        self.flip_under_load();
        self.stop_containers_under_load();
        self.deploy_under_load();
        eventually("the image's own health check passes", || {
            self.inspect("edge", "{{.State.Health.Status}}") == "healthy"
        });
        self.proxy_is_nobody();
        self.prometheus_finds_the_metrics();
        self.stop_the_edge();
    }

    fn flip_under_load(&self) {
        let load = self.load();
        for flip in 0..FLIPS {
            let to = if flip % 2 == 0 { "green" } else { "blue" };
            self.cutover(&["flip", "web", to]);
            let served = self.ask().unwrap();
            assert!(served.starts_with(to), "after the flip to {to}: {served}");
        }
        lost_nothing(load);
        assert_eq!(self.active(), "blue");
    }

    /// Blue serves and green idles; each has one container.
    fn stop_containers_under_load(&self) {
        let (blue, green) = (self.container("web-blue"), self.container("web-green"));
        let load = self.load();
        run(&mut docker(&["stop", &green]));
        run(&mut docker(&["start", &green]));
        run(&mut docker(&["restart", &blue]));
        let longest = lost_nothing(load);
        assert!(longest < HOLD, "a restart took {longest:?}");

        // Where nothing else is ready requests are held, and then refused.
        run(&mut docker(&["stop", &green, &blue]));
        let since = Instant::now();
        let mut stream = TcpStream::connect(self.edge()).unwrap();
        let refused = ask(&mut stream, &self.host(), "/").unwrap();
        let waited = since.elapsed();
        assert_eq!(refused.status, 503);
        assert_eq!(refused.field("x-cutover-reason"), Some("no_endpoint"));
        assert!(refused.field("retry-after").is_some(), "{refused:?}");
        assert!(waited >= HOLD - Duration::from_millis(500), "it was held for {waited:?}");
        // What is ready serves, whichever color it is.
        run(&mut docker(&["start", &green]));
        eventually("green serves", || self.ask().is_ok_and(|served| served.starts_with("green")));
        run(&mut docker(&["start", &blue]));
        let flip = ["exec", "-T", "edge", "cutover", "flip", "web", "blue"];
        eventually("blue can serve", || succeeds(self.compose().args(flip)));
        assert_eq!(self.active(), "blue");
    }

    fn deploy_under_load(&self) {
        let load = self.load();
        let deploy = ["deploy", "web", "--tag", "2", "--pull", "never", "--monitor", "1s"];
        let said = self.cutover(&[&deploy[..], &["--keep-warm", "0s", "--json"]].concat());
        let report: Value = serde_json::from_slice(&said.stdout).expect("a report");
        assert_eq!(report["result"], "done", "{report}");
        assert_eq!(report["failed"], 0, "{report}");
        // Compose still believes in the first release, and leaves the second alone.
        run(self.compose().args(["up", "--detach", "--no-build"]));
        lost_nothing(load);
        assert_eq!(self.active(), "green");
        assert_eq!(self.inspect("web-green", "{{.Config.Image}}"), self.image.tag("2"));
    }

    /// The process that parses the internet has no user, no capability and no way to Docker.
    fn proxy_is_nobody(&self) {
        let supervisor = self.inspect("edge", "{{.State.Pid}}");
        let children = format!("/proc/{supervisor}/task/{supervisor}/children");
        let Ok(children) = std::fs::read_to_string(children) else {
            return not_tested("the engine's processes are not ours to see");
        };
        let proxy = children
            .split_whitespace()
            .map(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap())
            .find(|status| status.contains("Uid:\t65534\t65534\t65534\t65534"))
            .expect("a child with the user of the proxy");
        for line in ["CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
            assert!(proxy.contains(line), "{line} in {proxy}");
        }
        assert!(proxy.contains("Groups:\t\n") || proxy.contains("Groups:\t \n"), "{proxy}");
    }

    /// Where the Prometheus of the profile `monitoring` looks: on the network of the project.
    fn prometheus_finds_the_metrics(&self) {
        let config = include_str!("../monitoring/prometheus.yml");
        assert!(config.contains(r#"targets: ["edge:1936"]"#), "{config}");
        let profile = ["--profile", "monitoring", "config", "--services"];
        let services = succeeded(self.compose().args(profile));
        assert!(services.lines().any(|service| service == "prometheus"), "{services}");
        let address =
            self.inspect("edge", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
        let mut stream = TcpStream::connect((address.as_str(), 1936)).unwrap();
        let metrics = ask(&mut stream, "edge", "/metrics").unwrap();
        assert_eq!(metrics.status, 200);
        let served = "cutover_active{service=\"web\",color=\"green\"} 1\n";
        assert!(metrics.body.contains(served), "{}", metrics.body);
    }

    /// As `docker stop` does it: in time, and with success.
    fn stop_the_edge(&self) {
        let edge = self.container("edge");
        run(&mut docker(&["stop", &edge]));
        assert_eq!(
            succeeded(&mut docker(&["inspect", "--format", "{{.State.ExitCode}}", &edge])),
            "0"
        );
    }

    fn host(&self) -> String {
        format!("{}.test", self.name)
    }

    fn edge(&self) -> SocketAddr {
        self.port.address()
    }

    /// One request on a connection of its own: what serves it.
    fn ask(&self) -> std::io::Result<String> {
        fetch(self.edge(), &self.host())
    }

    fn load(&self) -> Load {
        Load::on(self.edge(), &self.host()).count(CLIENTS).per_connection(16).start()
    }

    fn active(&self) -> String {
        let said = self.cutover(&["status", "web", "--json"]);
        let status: Value = serde_json::from_slice(&said.stdout).unwrap();
        status["services"][0]["active"].as_str().unwrap().to_owned()
    }

    fn cutover(&self, arguments: &[&str]) -> Output {
        run(self.compose().args(["exec", "-T", "edge", "cutover"]).args(arguments))
    }

    fn compose(&self) -> Command {
        let mut command = bounded(2 * PATIENCE);
        command
            .args(self.flavor)
            .args(["--project-name", &self.name, "--file", "compose.yaml", "--file"])
            .arg(self.dir.path().join("apart.yaml"))
            .env("CUTOVER_IMAGE", self.image.tag("1"))
            .env("APP_IMAGE", self.image.tag("1"))
            .env("CUTOVER_PORT", self.port.address().to_string());
        command
    }

    fn container(&self, service: &str) -> String {
        let ids = succeeded(self.compose().args(["ps", "--quiet", service]));
        assert_eq!(ids.lines().count(), 1, "{service}: {ids}");
        ids
    }

    fn inspect(&self, service: &str, what: &str) -> String {
        succeeded(&mut docker(&["inspect", "--format", what, &self.container(service)]))
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.compose().args(["logs", "--tail", "40"]).output();
            let said = said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
            eprintln!("{}", said.unwrap_or_default());
        }
        let down = ["down", "--volumes", "--remove-orphans", "--timeout", "3"];
        self.compose().args(down).output().ok();
    }
}

/// Ends a load of which no request may have failed; the longest answer.
fn lost_nothing(load: Load) -> Duration {
    let served = load.stop();
    assert_eq!(served.failures, Vec::<String>::new());
    assert!(served.requests > CLIENTS * FLIPS, "hardly anything was asked");
    served.longest
}

fn docker(arguments: &[&str]) -> Command {
    let mut command = bounded(PATIENCE);
    command.arg("docker").args(arguments);
    command
}

/// A command that is ended after a while; what it is to run are its arguments.
fn bounded(limit: Duration) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=10", &limit.as_secs().to_string()])
        .current_dir(workspace())
        .stdin(Stdio::null());
    command
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}

fn succeeded(command: &mut Command) -> String {
    String::from_utf8(run(command).stdout).unwrap().trim().to_owned()
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    output
}
