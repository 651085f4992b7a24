//! `compose.yaml` as a user brings it up, with each Compose that is installed: the image is built
//! from this workspace without pulling anything; flips, deploys and stops under load lose nothing.
//!
//! Runs wherever a Docker engine answers. Where none does, or a Compose is missing, it says so
//! loudly; `CUTOVER_REQUIRE_DOCKER=1` makes that a failure.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "blocking test code; a panic is how a test fails"
)]

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

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

fn not_tested(reason: &str) {
    say(&format!("NOT TESTED with Compose: {reason}"));
    assert!(std::env::var_os("CUTOVER_REQUIRE_DOCKER").is_none(), "{reason}");
}

/// Past the harness, which shows nothing of a test that passes.
fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

const CLIENTS: usize = 8;
const FLIPS: usize = 6;
/// How long a request waits for an endpoint here.
const HOLD: Duration = Duration::from_secs(6);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The image under test, and a second release of it, under a name of its own.
struct Image {
    name: String,
}

impl Image {
    fn build() -> Self {
        let image = Self { name: format!("cutover-test-compose-{}", std::process::id()) };
        say("Compose: compiling a static binary; the first time takes minutes");
        let script = workspace().join(".ci/image");
        let mut build = bounded(Duration::from_secs(25 * 60));
        run(build.arg(script).args([&image.tag("1"), "dev"]));
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
    port: u16,
    /// Where the file lies that sets this project apart from others on the engine.
    dir: tempfile::TempDir,
}

impl<'i> Project<'i> {
    fn up(flavor: &'static [&'static str], image: &'i Image) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let name = format!("cutover-test-{}-{port}", std::process::id());
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
        self.stop_the_edge();
    }

    fn flip_under_load(&self) {
        let load = Load::start(self);
        for flip in 0..FLIPS {
            let to = if flip % 2 == 0 { "green" } else { "blue" };
            self.cutover(&["flip", "web", to]);
            let served = self.ask().unwrap();
            assert!(served.starts_with(to), "after the flip to {to}: {served}");
        }
        load.end();
        assert_eq!(self.active(), "blue");
    }

    /// Blue serves and green idles; each has one container.
    fn stop_containers_under_load(&self) {
        let (blue, green) = (self.container("web-blue"), self.container("web-green"));
        let load = Load::start(self);
        run(&mut docker(&["stop", &green]));
        run(&mut docker(&["start", &green]));
        run(&mut docker(&["restart", &blue]));
        let longest = load.end();
        assert!(longest < HOLD, "a restart took {longest:?}");

        run(&mut docker(&["stop", &blue]));
        let since = Instant::now();
        let refused = runtime().block_on(Client::new(self).get()).unwrap();
        let waited = since.elapsed();
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.headers()["x-cutover-reason"], "no_endpoint");
        assert!(refused.headers().contains_key("retry-after"), "{refused:?}");
        assert!(waited >= HOLD - Duration::from_millis(500), "it was held for {waited:?}");
        run(&mut docker(&["start", &blue]));
        eventually("blue serves again", || {
            self.ask().is_ok_and(|served| served.starts_with("blue"))
        });
    }

    fn deploy_under_load(&self) {
        let load = Load::start(self);
        let deploy = ["deploy", "web", "--tag", "2", "--pull", "never", "--monitor", "1s"];
        let said = self.cutover(&[&deploy[..], &["--keep-warm", "0s", "--json"]].concat());
        let report: Value = serde_json::from_slice(&said.stdout).expect("a report");
        assert_eq!(report["result"], "done", "{report}");
        assert_eq!(report["failed"], 0, "{report}");
        // Compose still believes in the first release, and leaves the second alone.
        run(self.compose().args(["up", "--detach", "--no-build"]));
        load.end();
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
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// One request on a connection of its own: what serves it.
    fn ask(&self) -> Result<String, String> {
        runtime().block_on(Client::new(self).ask())
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
            .env("CUTOVER_PORT", format!("127.0.0.1:{}", self.port));
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

/// Clients that ask without a pause until told to end.
struct Load {
    done: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Seen>>,
}

#[derive(Default)]
struct Seen {
    requests: usize,
    longest: Duration,
    failures: Vec<String>,
}

impl Load {
    fn start(project: &Project<'_>) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let clients = (0..CLIENTS).map(|_| {
            let (done, client) = (Arc::clone(&done), Client::new(project));
            std::thread::spawn(move || runtime().block_on(load(client, &done)))
        });
        Self { clients: clients.collect(), done }
    }

    /// Ends it; nothing may have failed. Returns the longest answer.
    fn end(mut self) -> Duration {
        self.done.store(true, Ordering::Relaxed);
        let seen: Vec<_> = self.clients.drain(..).map(|client| client.join().unwrap()).collect();
        let failures: Vec<_> = seen.iter().flat_map(|seen| &seen.failures).collect();
        assert!(failures.is_empty(), "{failures:?}");
        assert!(seen.iter().all(|seen| seen.requests > FLIPS), "hardly anything was asked");
        seen.iter().map(|seen| seen.longest).max().unwrap()
    }
}

/// A test that fails does not leave its clients behind.
impl Drop for Load {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

/// Asks on kept connections, and on a new one every 16th time.
async fn load(mut client: Client, done: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    while !done.load(Ordering::Relaxed) && seen.failures.len() < 10 {
        let since = Instant::now();
        if let Err(error) = client.ask().await {
            seen.failures.push(format!("after {:?}: {error}", since.elapsed()));
        }
        seen.longest = seen.longest.max(since.elapsed());
        seen.requests += 1;
        if seen.requests.is_multiple_of(16) {
            client.sender = None;
        }
    }
    seen
}

struct Client {
    edge: SocketAddr,
    host: String,
    sender: Option<http1::SendRequest<Full<Bytes>>>,
}

impl Client {
    fn new(project: &Project<'_>) -> Self {
        Self { edge: project.edge(), host: project.host(), sender: None }
    }

    async fn ask(&mut self) -> Result<String, String> {
        let response = self.get().await?;
        let status = response.status();
        let body = String::from_utf8_lossy(response.body()).into_owned();
        if status.is_success() { Ok(body) } else { Err(format!("{status}: {body}")) }
    }

    /// A whole answer, or why there is none; bounded in time.
    async fn get(&mut self) -> Result<Response<Bytes>, String> {
        let answer = tokio::time::timeout(PATIENCE / 2, self.try_get()).await;
        let answer = answer.unwrap_or_else(|_| Err("no answer".into()));
        if answer.is_err() {
            self.sender = None;
        }
        answer.map_err(|error| error.to_string())
    }

    async fn try_get(&mut self) -> Result<Response<Bytes>, Box<dyn std::error::Error>> {
        if self.sender.is_none() {
            let stream = TcpStream::connect(self.edge).await?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            self.sender = Some(sender);
        }
        let sender = self.sender.as_mut().expect("just made");
        sender.ready().await?;
        let request = Request::get("/").header("host", &self.host).body(Full::default())?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
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
