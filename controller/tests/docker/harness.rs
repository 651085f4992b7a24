//! An edge, an engine, and a client that counts what fails.
#![allow(dead_code, unused_imports, reason = "each test binary uses its own part")]

#[path = "engine.rs"]
mod engine;
#[path = "load.rs"]
mod load;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) use self::engine::{Engine, IMAGE, breathe, not_tested};
pub(crate) use self::load::{Load, begin, fetch, host};

/// A running Cutover with a service of its own on the engine.
pub(crate) struct Edge {
    dir: tempfile::TempDir,
    run: Child,
    address: SocketAddr,
    service: String,
    pub(crate) engine: Engine,
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
        Self::start_in(Engine::system, None, environment)
    }

    /// In front of another engine, or with its state on another disk.
    pub(crate) fn start_on(
        engine: impl FnOnce() -> Option<Engine>,
        state: Option<&Path>,
    ) -> Option<Self> {
        Self::start_in(engine, state, &[])
    }

    fn start_in(
        engine: impl FnOnce() -> Option<Engine>,
        state: Option<&Path>,
        environment: &[(&str, &Path)],
    ) -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = engine()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let service = format!("t{}-{number}", std::process::id());
        engine.docker(&["network", "create", &service]);
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "[listen]\nhttp = \"127.0.0.1:{port}\"\nadmin = \"127.0.0.1:0\"\ncontrol = \"{dir}/c.sock\"\n\
             [runtime]\nstate_dir = \"{state}\"\nworkers = 1\n[docker]\nsocket = \"{socket}\"\n",
            dir = dir.path().display(),
            state = state.map_or_else(|| dir.path().join("state"), Path::to_owned).display(),
            socket = engine.socket().display(),
        );
        std::fs::write(dir.path().join("cutover.toml"), config).unwrap();
        let run = run(dir.path(), environment);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let edge = Self { dir, run, address, service, engine, _turn: turn };
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

    /// Blue and green of one release, of which blue serves.
    pub(crate) fn pair(&self, release: &str) {
        self.app("blue", release);
        self.app("green", release);
        self.until_served(release);
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
        let mut arguments = vec!["run", "-d", "--name", &name];
        if !more.contains(&"--network") {
            arguments.extend(["--network", &self.service]);
        }
        for label in &labels {
            arguments.extend(["-l", label]);
        }
        arguments.extend(more);
        arguments.push(image);
        self.docker(&arguments);
        name
    }

    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        self.engine.docker(arguments)
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
             [runtime]\nstate_dir = \"{at}/state\"\nworkers = 1\n[docker]\nsocket = \"{socket}\"\n",
            socket = self.engine.socket().display(),
        );
        std::fs::write(dir.path().join("cutover.toml"), config).unwrap();
        let mut other = run(dir.path(), &[]);
        let log = || std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        eventually(says, || log().contains(says));
        // What it does about it, it would do at once.
        let before = self.running();
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            assert_eq!(self.running(), before);
            breathe();
        }
        Command::new("kill").arg(other.id().to_string()).status().unwrap();
        other.wait().unwrap();
    }

    /// Where its config, its state, its socket and its log lie.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn status(&self) -> Option<Value> {
        let said = self.cutover(&["status", "--json"]);
        (said.code == 0).then(|| said.report())
    }

    pub(crate) fn service_status(&self) -> Option<Value> {
        let status = self.status()?;
        let services = status["services"].as_array()?;
        services.iter().find(|s| s["name"] == self.service.as_str()).cloned()
    }

    /// The color that serves of another service, once it has somebody who does.
    pub(crate) fn active_of(&self, service: &str) -> Option<String> {
        let status = self.status()?;
        let found = status["services"].as_array()?.iter().find(|s| s["name"] == service)?.clone();
        let active = found["active"].as_str()?.to_owned();
        let up = found["colors"][&active]["endpoints"].as_array()?.iter().any(|e| e["up"] == true);
        up.then_some(active)
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

    /// How many endpoints of the color that serves are up.
    pub(crate) fn active_endpoints_up(&self) -> usize {
        let Some(status) = self.service_status() else { return 0 };
        self.endpoints_up(status["active"].as_str().unwrap_or_default())
    }

    /// What status says against the disk.
    pub(crate) fn journal_error(&self) -> Option<String> {
        Some(self.status()?["journal_error"].as_str()?.to_owned())
    }

    /// What status says against the engine.
    pub(crate) fn docker_error(&self) -> Option<String> {
        Some(self.status()?["docker_error"].as_str()?.to_owned())
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
        self.docker(&arguments);
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
            let image = self.engine.try_docker(&["inspect", "-f", "{{.Config.Image}}", &name])?;
            Some(image.rsplit(':').next()?.to_owned())
        };
        up.filter_map(image).collect()
    }

    /// The variables of the one container of a color that is up.
    pub(crate) fn environment(&self, color: &str) -> Vec<String> {
        let status = self.service_status().unwrap();
        let name = status["colors"][color]["endpoints"][0]["container"].as_str().unwrap();
        let environment = self.docker(&["inspect", "-f", "{{join .Config.Env \"\\n\"}}", name]);
        environment.lines().map(str::to_owned).collect()
    }

    /// A container that names no color, as one of several of a scaled compose service.
    pub(crate) fn replica(&self, release: &str, number: u32, auto: bool) -> String {
        self.replica_of(&self.service, &host(), release, number, auto)
    }

    /// The same for a service under a host of its own.
    pub(crate) fn replica_of(
        &self,
        service: &str,
        host: &str,
        release: &str,
        number: u32,
        auto: bool,
    ) -> String {
        let name = format!("{service}-web-{number}");
        let own = format!("test-of={}", self.service);
        let hosts = format!("cutover.hosts={host}");
        let project = format!("com.docker.compose.project={service}");
        let service = format!("cutover.service={service}");
        let auto = format!("cutover.rollout.auto={auto}");
        let labels = [
            &own,
            &hosts,
            &service,
            &auto,
            &project,
            "com.docker.compose.service=web",
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
        self.docker(&arguments);
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
                let found = self.engine.try_docker(&["inspect", "-f", "{{.Config.Image}}", name]);
                e["up"] == true && found.as_deref() == Some(image.as_str())
            };
            !endpoints.is_empty() && endpoints.iter().all(right) && fetch(self.address).is_ok()
        });
    }

    /// The names of all containers of the service.
    pub(crate) fn containers(&self) -> Vec<String> {
        let filter = format!("label=cutover.service={}", self.service);
        let names = self.docker(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}}"]);
        names.lines().map(str::to_owned).collect()
    }

    /// The names of those that run.
    fn running(&self) -> Vec<String> {
        let filter = format!("label=cutover.service={}", self.service);
        let names = self.docker(&["ps", "--filter", &filter, "--format", "{{.Names}}"]);
        names.lines().map(str::to_owned).collect()
    }

    pub(crate) fn is_stopped(&self, name: &str) -> bool {
        self.engine.try_docker(&["inspect", "-f", "{{.State.Running}}", name]).as_deref()
            != Some("true")
    }

    /// Kills the controller with SIGKILL as soon as a rollout is in this phase.
    ///
    /// Begin the watch before the rollout: see [`Edge::watch`].
    pub(crate) fn kill_controller_in(&self, watch: &Watch, phase: &str) {
        watch.until(phase);
        self.kill_controller();
    }

    pub(crate) fn kill_controller(&self) {
        let pid = self.child("controller");
        Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    }

    /// What a container that nobody touched keeps: its ID, its start, its restarts.
    pub(crate) fn identity(&self, name: &str) -> String {
        let format = "{{.Id}} {{.Name}} {{.State.StartedAt}} {{.RestartCount}}";
        self.docker(&["inspect", "-f", format, name])
    }

    /// The process of a role.
    pub(crate) fn child(&self, role: &str) -> u32 {
        let children = format!("/proc/{pid}/task/{pid}/children", pid = self.run.id());
        let children = std::fs::read_to_string(children).unwrap();
        let is = |child: &&str| {
            let command = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(role)
        };
        children.split_whitespace().find(is).unwrap().parse().unwrap()
    }

    /// What the edge and its service take up.
    pub(crate) fn footprint(&self) -> Footprint {
        let process = |pid: u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib = resident.unwrap().trim().trim_end_matches(" kB").parse().unwrap();
            let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
            Process { kib, files }
        };
        let roles = ["proxy", "controller"].map(|role| (role, process(self.child(role))));
        let supervisor = ("supervisor", process(self.run.id()));
        Footprint {
            containers: self.containers().len(),
            networks: self.docker(&["network", "ls", "-q"]).lines().count(),
            processes: roles.into_iter().chain([supervisor]).collect(),
        }
    }

    /// What the rollouts of the service tell from now on.
    pub(crate) fn watch(&self) -> Watch {
        let mut stream = UnixStream::connect(self.dir.path().join("c.sock")).unwrap();
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: cutover\r\n\r\n").unwrap();
        let mut lines = BufReader::new(stream).lines();
        // The head comes once the watch stands.
        while lines.next().unwrap().unwrap() != "" {}
        let (tell, phases) = mpsc::channel();
        let service = self.service.clone();
        std::thread::spawn(move || {
            for line in lines {
                let Ok(line) = line else { return };
                let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
                let detail = &event["detail"];
                let ours = event["service"] == service.as_str() && detail["event"] == "phase";
                let phase = detail["phase"].as_str().filter(|_| ours);
                if phase.is_some_and(|phase| tell.send(phase.to_owned()).is_err()) {
                    return;
                }
            }
        });
        Watch(phases)
    }

    /// Containers of the service that run and are in no color.
    pub(crate) fn orphans(&self) -> Vec<String> {
        let Some(service) = self.service_status() else { return vec!["no status".into()] };
        let known = |name: &String| {
            ["blue", "green"].iter().any(|color| {
                let endpoints = service["colors"][color]["endpoints"].as_array();
                endpoints.is_some_and(|all| all.iter().any(|e| e["container"] == name.as_str()))
            })
        };
        let running = self.containers().into_iter().filter(|name| !self.is_stopped(name));
        running.filter(|name| !known(name)).collect()
    }

    /// The edge's log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

/// The phases that rollouts go through.
pub(crate) struct Watch(mpsc::Receiver<String>);

/// What there is of an edge.
#[derive(Debug)]
pub(crate) struct Footprint {
    pub(crate) containers: usize,
    pub(crate) networks: usize,
    /// By role.
    pub(crate) processes: BTreeMap<&'static str, Process>,
}

/// Resident memory and open files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pub(crate) kib: u64,
    pub(crate) files: usize,
}

impl Watch {
    /// Waits for a phase.
    pub(crate) fn until(&self, phase: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.0.recv_timeout(left) {
                Ok(seen) if seen == phase => return,
                Ok(_) => {}
                Err(error) => panic!("{phase} was not entered: {error}"),
            }
        }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let from = log.lines().count().saturating_sub(60);
            for line in log.lines().skip(from) {
                println!("edge: {line}");
            }
        }
        let pid = self.run.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().ok();
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline && matches!(self.run.try_wait(), Ok(None)) {
            breathe();
        }
        self.run.kill().ok();
        self.run.wait().ok();
        let filter = format!("label=test-of={}", self.service);
        let others =
            self.engine.try_docker(&["ps", "-aq", "--filter", &filter]).unwrap_or_default();
        let ours = format!("label=cutover.service={}", self.service);
        let ours = self.engine.try_docker(&["ps", "-aq", "--filter", &ours]).unwrap_or_default();
        for name in ours.lines().map(str::to_owned).chain(others.lines().map(str::to_owned)) {
            self.engine.try_docker(&["rm", "-f", "-v", &name]);
        }
        self.engine.try_docker(&["network", "rm", &self.service]);
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

/// Waits for a condition, but not for ever.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        breathe();
    }
}
