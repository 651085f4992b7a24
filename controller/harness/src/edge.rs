//! A running Cutover in front of a Docker engine, with a service of its own.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::command::send;
use crate::engine_view::LABEL;
use crate::load::Clients;
use crate::{
    Engine, EngineView, Load, Outcome, Permit, PhaseWatch, Port, Running, ask, begin, binary,
    connect, eventually, fetch, pause,
};

/// A running Cutover with a service of its own on the engine.
#[derive(Debug)]
pub struct Edge {
    dir: tempfile::TempDir,
    run: Mutex<Child>,
    environment: Vec<(String, String)>,
    port: Port,
    service: String,
    view: Option<EngineView>,
    /// The engine it stands in front of.
    pub engine: Engine,
    _permit: Permit,
}

/// How an edge is to be started: `Edge::builder().start()`.
#[derive(Debug, Default)]
pub struct Builder {
    environment: Vec<(String, String)>,
    state: Option<std::path::PathBuf>,
    config: String,
}

impl Builder {
    /// With a variable in its environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With its state on another disk.
    #[must_use]
    pub fn state(mut self, state: &Path) -> Self {
        self.state = Some(state.to_owned());
        self
    }

    /// With more sections in its file.
    #[must_use]
    pub fn config(mut self, more: &str) -> Self {
        self.config += more;
        self
    }

    /// In front of the engine of this machine; `None` where none answers.
    #[must_use]
    pub fn start(self) -> Option<Edge> {
        self.start_on(Engine::system)
    }

    /// In front of another engine.
    ///
    /// # Panics
    /// When the edge does not start.
    #[must_use]
    pub fn start_on(self, engine: impl FnOnce() -> Option<Engine>) -> Option<Edge> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let permit = Permit::take();
        let engine = engine()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let service = format!("t{}-{number}", std::process::id());
        engine.docker(&["network", "create", &service]);
        let dir = tempfile::tempdir().unwrap();
        // An engine of the test's own has no containers of others, and may be stopped and started.
        let view = engine
            .is_shared()
            .then(|| EngineView::begin(dir.path().join("docker.sock"), engine.socket(), &service));
        let port = Port::claim();
        let state = self.state.unwrap_or_else(|| dir.path().join("state"));
        let socket = view.as_ref().map_or_else(|| engine.socket(), |view| view.socket().to_owned());
        let config = format!(
            "[listen]\nhttp = \"{address}\"\nadmin = \"127.0.0.1:0\"\ncontrol = \"{dir}/c.sock\"\n\
             [runtime]\nstate_dir = \"{state}\"\nworkers = 1\n[docker]\nsocket = \"{socket}\"\n{more}",
            address = port.address(),
            dir = dir.path().display(),
            state = state.display(),
            socket = socket.display(),
            more = self.config,
        );
        std::fs::write(dir.path().join("cutover.toml"), config).unwrap();
        let run = Mutex::new(run(dir.path(), &self.environment));
        let environment = self.environment;
        let edge = Edge { dir, run, environment, port, service, view, engine, _permit: permit };
        eventually("the edge answers", || edge.status().is_some());
        Some(edge)
    }
}

impl Edge {
    /// How it is to be started.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// In front of the engine of this machine; `None` where none answers.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::builder().start()
    }

    /// Where it serves.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its service; containers, networks and projects of the test have names that begin so.
    #[must_use]
    pub fn service(&self) -> String {
        self.service.clone()
    }

    /// The host of its service.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.test", self.service)
    }

    /// What a container needs to be seen by it.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{LABEL}={}", self.service)
    }

    /// The API that it sees, where that is not the engine's own.
    ///
    /// # Panics
    /// Where the engine is the test's own.
    #[must_use]
    pub fn view(&self) -> &EngineView {
        self.view.as_ref().expect("an engine of the test's own has no view")
    }

    /// Where its config, its state, its socket and its log lie.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn process(&self) -> MutexGuard<'_, Child> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn supervisor(&self) -> u32 {
        self.process().id()
    }

    /// Four clients on its service.
    #[must_use]
    pub fn load(&self) -> Load {
        self.clients().start()
    }

    /// The same, to be told more before they start.
    #[must_use]
    pub fn clients(&self) -> Clients {
        Load::on(self.address(), &self.host())
    }

    /// The first word of one answer of its service, which must be a 200.
    ///
    /// # Errors
    /// Fails where there is no whole answer, or another one.
    pub fn fetch(&self) -> std::io::Result<String> {
        fetch(self.address(), &self.host())
    }

    /// The release that answers on its service; `None` where there is no whole answer.
    #[must_use]
    pub fn answering(&self) -> Option<String> {
        self.answering_on(&self.host())
    }

    /// The same on another host.
    #[must_use]
    pub fn answering_on(&self, host: &str) -> Option<String> {
        let mut stream = connect(self.address()).ok()?;
        let answer = ask(&mut stream, host, "/").ok()?;
        Some(answer.field("x-demo-release")?.to_owned())
    }

    /// An answer that has begun and goes on until somebody ends it.
    #[must_use]
    pub fn begin(&self, path: &str) -> TcpStream {
        begin(self.address(), &self.host(), path)
    }

    /// What `docker` says.
    pub fn docker(&self, arguments: &[&str]) -> String {
        self.engine.docker(arguments)
    }

    /// Runs a verb of the command line to its end.
    pub fn cutover(&self, arguments: &[&str]) -> Outcome {
        self.spawn(arguments).wait()
    }

    /// Begins a verb of the command line.
    pub fn spawn(&self, arguments: &[&str]) -> Running {
        self.spawn_with(arguments, &[])
    }

    /// The same, with variables in its environment.
    ///
    /// # Panics
    /// When the binary cannot be run.
    pub fn spawn_with(&self, arguments: &[&str], environment: &[(&str, &Path)]) -> Running {
        let child = Command::new(binary())
            .args(arguments)
            .env("CUTOVER_SOCKET", self.dir().join("c.sock"))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Running(child.unwrap())
    }

    /// Deploys a release that is judged by nobody, and keeps the one before it warm for so long.
    ///
    /// # Panics
    /// When it is not done.
    pub fn deploy(&self, release: &str, keep_warm: &str) {
        let service = self.service();
        let deploy = ["deploy", &service, "--tag", release, "--monitor", "0s"];
        let _done = self.cutover(&[&deploy[..], &["--keep-warm", keep_warm]].concat()).success();
    }

    /// Starts another edge on the same engine, with a state of its own, and ends it once it has seen
    /// what there is and has said this.
    ///
    /// # Panics
    /// When it touches a container.
    pub fn meet_another_edge(&self, says: &str) {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        let config = format!(
            "[listen]\nhttp = \"127.0.0.1:0\"\nadmin = \"off\"\ncontrol = \"{at}/c.sock\"\n\
             [runtime]\nstate_dir = \"{at}/state\"\nworkers = 1\n[docker]\nsocket = \"{socket}\"\n",
            socket = self.view().socket().display(),
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
            pause();
        }
        send("-TERM", other.id());
        other.wait().unwrap();
    }

    /// Kills all of it at once, does something to what it left, and starts it again.
    ///
    /// # Panics
    /// When it does not come up again.
    pub fn crash(&self, meanwhile: impl FnOnce(&Self)) {
        let mut process = self.process();
        process.kill().unwrap();
        process.wait().unwrap();
        // Its children die with it.
        eventually("nobody serves any more", || TcpStream::connect(self.address()).is_err());
        meanwhile(self);
        *process = run(self.dir.path(), &self.environment);
        drop(process);
        eventually("the edge answers", || self.status().is_some());
    }

    /// Kills the controller with SIGKILL as soon as a rollout is in this phase.
    ///
    /// Begin the watch before the rollout: see [`Edge::watch`].
    pub fn kill_controller_in(&self, watch: &PhaseWatch, phase: &str) {
        watch.until(phase);
        self.kill_controller();
    }

    /// Kills the controller with SIGKILL.
    pub fn kill_controller(&self) {
        send("-KILL", self.child("controller"));
    }

    /// What the rollouts of the service tell from now on.
    #[must_use]
    pub fn watch(&self) -> PhaseWatch {
        PhaseWatch::begin(&self.dir.path().join("c.sock"), &self.service)
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
        let mut process = self.process();
        send("-TERM", process.id());
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline && matches!(process.try_wait(), Ok(None)) {
            pause();
        }
        process.kill().ok();
        process.wait().ok();
        drop(process);
        let ours = format!("label={}", self.label());
        let ours = self.engine.try_docker(&["ps", "-aq", "--filter", &ours]).unwrap_or_default();
        let mut remove = vec!["rm", "-f", "-v"];
        remove.extend(ours.lines());
        self.engine.try_docker(&remove);
        self.engine.try_docker(&["network", "rm", &self.service]);
    }
}

/// Runs the edge whose config lies in a directory, and its log.
fn run(dir: &Path, environment: &[(String, String)]) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
    Command::new(binary())
        .args(["run", "--config"])
        .arg(dir.join("cutover.toml"))
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// An [`Edge`] on the engine of this machine. Where there is none, the test says so and ends.
#[macro_export]
macro_rules! on_an_engine {
    () => {
        match $crate::Edge::start() {
            Some(edge) => edge,
            None => return,
        }
    };
}
