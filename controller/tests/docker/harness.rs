//! An edge, an engine, and a client that counts what fails.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A running Cutover with a service of its own on the engine.
pub(crate) struct Edge {
    dir: tempfile::TempDir,
    run: Child,
    address: SocketAddr,
    service: String,
    /// One test at a time: they share the engine and two processors.
    _turn: MutexGuard<'static, ()>,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The document on its stdout.
    pub(crate) fn report(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr))
    }
}

/// A command that runs.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn wait(self) -> Said {
        Said::of(&self.0.wait_with_output().unwrap())
    }

    /// Ends it, and gives what it had written.
    pub(crate) fn end(mut self) -> String {
        self.0.kill().ok();
        self.wait().stdout
    }
}

impl Edge {
    /// `None` where no engine answers.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// The same, with variables in its environment.
    pub(crate) fn start_with(environment: &[(&str, &Path)]) -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        if !engine() {
            return None;
        }
        images();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let service = format!("t{}-{number}", std::process::id());
        docker(&["network", "create", &service]);
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "[listen]\nhttp = \"127.0.0.1:{port}\"\nadmin = \"127.0.0.1:0\"\ncontrol = \"{dir}/c.sock\"\n\
             [runtime]\nstate_dir = \"{dir}/state\"\nworkers = 1\n",
            dir = dir.path().display()
        );
        std::fs::write(dir.path().join("cutover.toml"), config).unwrap();
        let run = run(dir.path(), environment);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let edge = Self { dir, run, address, service, _turn: turn };
        eventually("the edge answers", || edge.status().is_some());
        Some(edge)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn service(&self) -> String {
        self.service.clone()
    }

    /// Runs a container of the app, as Compose would: a name, labels, an image.
    pub(crate) fn app(&self, color: &str, release: &str) -> String {
        self.app_named(color, release, color)
    }

    pub(crate) fn app_named(&self, color: &str, release: &str, name: &str) -> String {
        self.app_with(color, release, name, &[])
    }

    pub(crate) fn app_with(&self, color: &str, release: &str, name: &str, more: &[&str]) -> String {
        self.app_of(&format!("{IMAGE}:{release}"), color, name, more)
    }

    /// A container of the app, from an image of any name.
    pub(crate) fn app_of(&self, image: &str, color: &str, name: &str, more: &[&str]) -> String {
        let name = format!("{}-{name}", self.service);
        let labels = [
            format!("cutover.service={}", self.service),
            format!("cutover.color={color}"),
            "cutover.port=8000".to_owned(),
            format!("cutover.hosts={}", host()),
            "cutover.probe.path=/health".to_owned(),
            "cutover.probe.interval=200ms".to_owned(),
        ];
        let mut arguments = vec!["run", "-d", "--network", &self.service, "--name", &name];
        for label in &labels {
            arguments.extend(["-l", label]);
        }
        arguments.extend(more);
        arguments.push(image);
        self.docker(&arguments);
        name
    }

    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        docker(arguments)
    }

    /// Runs a verb of the command line to its end.
    pub(crate) fn cutover(&self, arguments: &[&str]) -> Said {
        self.spawn(arguments).wait()
    }

    pub(crate) fn spawn(&self, arguments: &[&str]) -> Running {
        self.spawn_with(arguments, &[])
    }

    /// The same, with variables in its environment.
    pub(crate) fn spawn_with(&self, arguments: &[&str], environment: &[(&str, &Path)]) -> Running {
        let child = Command::new(env!("CARGO_BIN_EXE_cutover"))
            .args(arguments)
            .env("CUTOVER_SOCKET", self.dir().join("c.sock"))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Running(child.unwrap())
    }

    /// Starts another edge on the same engine, with a state of its own, and ends it once it has seen
    /// what there is and has said this.
    pub(crate) fn meet_another_edge(&self, says: &str) {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        let config = format!(
            "[listen]\nhttp = \"127.0.0.1:0\"\nadmin = \"off\"\ncontrol = \"{at}/c.sock\"\n\
             [runtime]\nstate_dir = \"{at}/state\"\nworkers = 1\n"
        );
        std::fs::write(dir.path().join("cutover.toml"), config).unwrap();
        let mut other = run(dir.path(), &[]);
        let log = || std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        let end = Instant::now() + Duration::from_secs(20);
        while !log().contains(says) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        // What it does about it, it does at once.
        std::thread::sleep(Duration::from_secs(1));
        Command::new("kill").arg(other.id().to_string()).status().unwrap();
        other.wait().unwrap();
        assert!(log().contains(says), "{}", log());
    }

    /// Where its config, its state, its socket and its log lie.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn status(&self) -> Option<Value> {
        let said = self.cutover(&["status", "--json"]);
        (said.code == 0).then(|| said.report())
    }

    fn service_status(&self) -> Option<Value> {
        let status = self.status()?;
        let services = status["services"].as_array()?;
        services.iter().find(|s| s["name"] == self.service.as_str()).cloned()
    }

    pub(crate) fn active(&self) -> String {
        self.service_status().unwrap()["active"].as_str().unwrap().to_owned()
    }

    pub(crate) fn rollout(&self) -> Value {
        self.try_rollout().unwrap_or_default()
    }

    pub(crate) fn try_rollout(&self) -> Option<Value> {
        Some(self.service_status()?["rollout"].clone())
    }

    pub(crate) fn endpoints_up(&self, color: &str) -> usize {
        let Some(status) = self.service_status() else { return 0 };
        let endpoints = status["colors"][color]["endpoints"].as_array().cloned();
        endpoints.unwrap_or_default().iter().filter(|e| e["up"] == true).count()
    }

    /// Runs a container of another service, reached under its own host.
    pub(crate) fn other_app(&self, service: &str, color: &str, release: &str) {
        let own = format!("test-of={}", self.service);
        let host = format!("cutover.hosts={service}.test");
        let of = format!("cutover.service={service}");
        let name = format!("{service}-{color}");
        let color = format!("cutover.color={color}");
        let mut arguments = vec!["run", "-d", "--network", &self.service, "--name", &name];
        for label in [&own, &host, &of, &color] {
            arguments.extend(["-l", label]);
        }
        let image = format!("{IMAGE}:{release}");
        let probe = ["-l", "cutover.port=8000", "-l", "cutover.probe.path=/health"];
        arguments.extend(probe);
        arguments.push(&image);
        docker(&arguments);
    }

    /// Whether a service has both colors up.
    pub(crate) fn is_known(&self, service: &str) -> bool {
        let Some(status) = self.status() else { return false };
        let services = status["services"].as_array().cloned().unwrap_or_default();
        let Some(found) = services.iter().find(|s| s["name"] == service) else { return false };
        ["blue", "green"].iter().all(|color| found["colors"][color]["endpoints"][0]["up"] == true)
    }

    pub(crate) fn weights(&self) -> Value {
        self.service_status().unwrap()["weights"].clone()
    }

    /// The releases of a color's endpoints that are up.
    pub(crate) fn releases(&self, color: &str) -> Vec<String> {
        let Some(status) = self.service_status() else { return Vec::new() };
        let endpoints = status["colors"][color]["endpoints"].as_array().cloned();
        let up = endpoints.unwrap_or_default().into_iter().filter(|e| e["up"] == true);
        let image = |endpoint: Value| {
            let name = endpoint["container"].as_str()?.to_owned();
            let image = try_docker(&["inspect", "-f", "{{.Config.Image}}", &name])?;
            Some(image.rsplit(':').next()?.to_owned())
        };
        up.filter_map(image).collect()
    }

    /// The variables of the one container of a color that is up.
    pub(crate) fn environment(&self, color: &str) -> Vec<String> {
        let status = self.service_status().unwrap();
        let name = status["colors"][color]["endpoints"][0]["container"].as_str().unwrap();
        let environment = docker(&["inspect", "-f", "{{join .Config.Env \"\\n\"}}", name]);
        environment.lines().map(str::to_owned).collect()
    }

    /// A container that names no color, as one of several of a scaled compose service.
    pub(crate) fn replica(&self, release: &str, number: u32, auto: bool) -> String {
        let name = format!("{}-web-{number}", self.service);
        let service = format!("cutover.service={}", self.service);
        let auto = format!("cutover.rollout.auto={auto}");
        let project = format!("com.docker.compose.project={}", self.service);
        let hosts = format!("cutover.hosts={}", host());
        let labels = [
            &service,
            &auto,
            &project,
            "com.docker.compose.service=web",
            &hosts,
            "cutover.port=8000",
            "cutover.probe.path=/health",
            "cutover.probe.interval=200ms",
            "cutover.rollout.monitor=1s",
            "cutover.rollout.keep_warm=0s",
        ];
        let mut arguments = vec!["run", "-d", "--network", &self.service, "--name", &name];
        for label in labels {
            arguments.extend(["-l", label]);
        }
        let image = format!("{IMAGE}:{release}");
        arguments.push(&image);
        docker(&arguments);
        name
    }

    /// Waits until requests are answered by containers of this release only.
    pub(crate) fn until_served(&self, release: &str) {
        let image = format!("{IMAGE}:{release}");
        eventually(&format!("release {release} serves"), || {
            let Some(status) = self.service_status() else { return false };
            let active = status["active"].as_str().unwrap_or_default();
            let endpoints = status["colors"][active]["endpoints"].as_array().cloned();
            let endpoints = endpoints.unwrap_or_default();
            let right = |e: &Value| {
                let name = e["container"].as_str().unwrap_or_default();
                let found = try_docker(&["inspect", "-f", "{{.Config.Image}}", name]);
                e["up"] == true && found.as_deref() == Some(image.as_str())
            };
            !endpoints.is_empty() && endpoints.iter().all(right) && fetch(self.address).is_ok()
        });
    }

    /// The names of all containers of the service.
    pub(crate) fn containers(&self) -> Vec<String> {
        let filter = format!("label=cutover.service={}", self.service);
        let names = docker(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}}"]);
        names.lines().map(str::to_owned).collect()
    }

    pub(crate) fn is_stopped(&self, name: &str) -> bool {
        try_docker(&["inspect", "-f", "{{.State.Running}}", name]).as_deref() != Some("true")
    }

    /// Kills the controller with SIGKILL as soon as a rollout is in this phase, or past it.
    pub(crate) fn kill_controller_in(&self, phase: &str) {
        let journal = self.dir().join("state/state.json");
        let wanted = format!("\"phase\": \"{phase}\"");
        let deadline = Instant::now() + Duration::from_secs(8);
        loop {
            let text = std::fs::read_to_string(&journal).unwrap_or_default();
            // Its next breath may take it past; then the kill is in another step, which is fine too.
            if text.contains(&wanted) || Instant::now() > deadline {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let children = format!("/proc/{pid}/task/{pid}/children", pid = self.run.id());
        let children = std::fs::read_to_string(children).unwrap();
        for child in children.split_whitespace() {
            let command = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&command).contains("controller") {
                Command::new("kill").args(["-9", child]).status().unwrap();
            }
        }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let from = log.lines().count().saturating_sub(60);
            for line in log.lines().skip(from) {
                println!("edge: {line}");
            }
        }
        let pid = self.run.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().ok();
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline && matches!(self.run.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.run.kill().ok();
        self.run.wait().ok();
        let filter = format!("label=test-of={}", self.service);
        let others = try_docker(&["ps", "-aq", "--filter", &filter]).unwrap_or_default();
        for name in self.containers().into_iter().chain(others.lines().map(str::to_owned)) {
            try_docker(&["rm", "-f", "-v", &name]);
        }
        try_docker(&["network", "rm", &self.service]);
    }
}

/// Runs the edge whose config lies in a directory, and its log.
fn run(dir: &Path, environment: &[(&str, &Path)]) -> Child {
    let log = std::fs::File::create(dir.join("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_cutover"))
        .args(["run", "--config"])
        .arg(dir.join("cutover.toml"))
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Of the apps of this process: other tests on this engine have hosts of their own.
pub(crate) fn host() -> String {
    format!("app-{}.test", std::process::id())
}

/// Requests without pause, on kept-alive connections, until stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Served>>,
}

#[derive(Debug, Default)]
pub(crate) struct Served {
    pub(crate) requests: u64,
    /// The longest that one of them took.
    pub(crate) longest: Duration,
    pub(crate) failures: Vec<String>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let worker = |_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || ask_until(&stop, address))
        };
        let workers = (0..4).map(worker).collect();
        Self { stop, workers }
    }

    pub(crate) fn stop(mut self) -> Served {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Served::default();
        for worker in self.workers.drain(..) {
            let served = worker.join().unwrap();
            all.requests += served.requests;
            all.longest = all.longest.max(served.longest);
            all.failures.extend(served.failures);
        }
        all
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn ask_until(stop: &AtomicBool, address: SocketAddr) -> Served {
    let mut served = Served::default();
    let mut connection = None;
    while !stop.load(Ordering::Relaxed) {
        served.requests += 1;
        let since = Instant::now();
        let answered = match connection.take() {
            Some(open) => Ok(open),
            None => connect(address),
        };
        match answered.and_then(ask) {
            Ok(open) => connection = Some(open),
            Err(error) => served.failures.push(error.to_string()),
        }
        served.longest = served.longest.max(since.elapsed());
        std::thread::sleep(Duration::from_millis(2));
    }
    served
}

fn fetch(address: SocketAddr) -> std::io::Result<()> {
    connect(address).and_then(ask).map(drop)
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// One request and its whole answer, which must be a 200.
fn ask(mut stream: TcpStream) -> std::io::Result<TcpStream> {
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", host()).as_bytes())?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
            let length: usize = length.and_then(|l| l.trim().parse().ok()).unwrap_or(0);
            if body.len() >= length {
                let first = head.lines().next().unwrap_or_default().to_owned();
                if first.starts_with("http/1.1 200") {
                    return Ok(stream);
                }
                return Err(std::io::Error::other(format!("{first}: {}", body.trim())));
            }
        }
        match stream.read(&mut chunk)? {
            0 => return Err(std::io::Error::other("closed before the end of the answer")),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

/// Waits for a condition, but not for ever.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn engine() -> bool {
    if try_docker(&["version", "--format", "{{.Server.Version}}"]).is_some() {
        return true;
    }
    not_tested("no Docker engine answers here");
    false
}

/// Says so past the test harness, which shows nothing of a test that passes.
pub(crate) fn not_tested(reason: &str) {
    let required = std::env::var_os("CUTOVER_REQUIRE_DOCKER").is_some();
    assert!(!required, "{reason}, and CUTOVER_REQUIRE_DOCKER is set");
    let line = format!("NOT TESTED with Docker: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

fn try_docker(arguments: &[&str]) -> Option<String> {
    let output = Command::new("docker").args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).stdin(Stdio::null()).output().unwrap();
    let said = Said::of(&output);
    assert_eq!(said.code, 0, "docker {arguments:?}: {said:?}");
    said.stdout.trim().to_owned()
}

/// Images of the demo app, from this very binary and the libraries it needs: nothing is pulled.
fn images() {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let root = tempfile::tempdir().unwrap();
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_cutover"));
        std::fs::copy(&binary, root.path().join("cutover")).unwrap();
        // Symbols make a debug binary ten times as large; without `strip` it is only slower.
        Command::new("strip").arg(root.path().join("cutover")).status().ok();
        for library in libraries(&binary) {
            let to = root.path().join(library.strip_prefix("/").unwrap());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(&library, to).unwrap();
        }
        let root = root.path().display();
        let import = format!(
            "tar -C {root} -c . | docker import --change 'ENTRYPOINT [\"/cutover\",\"demo-app\"]' \
             --change 'EXPOSE 8000' --change 'ENV RELEASE=1' - {IMAGE}:1"
        );
        let imported = Command::new("sh").args(["-c", &import]).output().unwrap();
        assert!(imported.status.success(), "{imported:?}");
        for release in ["2", "3"] {
            variant(release, &format!("ENV RELEASE={release}"));
        }
        for fault in
            ["errors", "exit", "exit-later", "hang", "never-ready", "slow-start", "wrong-port"]
        {
            variant(fault, &format!("ENV DEMO_FAULT={fault}"));
        }
    });
}

fn variant(tag: &str, change: &str) {
    let base = format!("{IMAGE}:1");
    let container = docker(&["create", &base]);
    docker(&["commit", "--change", change, &container, &format!("{IMAGE}:{tag}")]);
    docker(&["rm", &container]);
}

/// The shared libraries of a binary, its loader among them; none for a static one.
fn libraries(binary: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(binary).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.split_whitespace().filter(|word| word.starts_with('/'));
    words.map(PathBuf::from).collect()
}

/// The app's; the tag is a release or a fault.
pub(crate) const IMAGE: &str = "cutover-test-app";
