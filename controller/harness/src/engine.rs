//! The Docker engine that tests run on.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::own_engine::OwnEngine;
use crate::{Outcome, eventually};

/// An engine with the images of the demo app.
#[derive(Debug)]
pub struct Engine(Option<OwnEngine>);

impl Engine {
    /// The one of this machine (or `DOCKER_HOST`); `None` where none answers. With
    /// `CUTOVER_OWN_ENGINE=1` one of our own.
    #[must_use]
    pub fn system() -> Option<Self> {
        static MADE: OnceLock<()> = OnceLock::new();
        if std::env::var_os("CUTOVER_OWN_ENGINE").is_some() {
            return Self::own(false);
        }
        let engine = Self(None);
        if engine.answers() {
            MADE.get_or_init(|| engine.make_images());
            return Some(engine);
        }
        missing("no Docker engine answers")
    }

    /// One of our own, with its own disk, containers and network; it leaves the others alone.
    /// `None` where none can be started.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn own(live_restore: bool) -> Option<Self> {
        // The storage driver that works here is the one that is in use here.
        let driver = Self(None).try_docker(&["info", "-f", "{{.Driver}}"]);
        let Some(driver) = driver.filter(|_| is_root()) else {
            return missing("an engine of our own needs root and an engine to take after");
        };
        let engine = Self(Some(OwnEngine::start(live_restore, &driver)));
        engine.until_it_answers();
        engine.make_images();
        Some(engine)
    }

    /// Whether other tests use it at the same time.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.is_none()
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        if let Some(own) = &self.0 {
            return own.socket();
        }
        let host = std::env::var("DOCKER_HOST").unwrap_or_default();
        PathBuf::from(host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock"))
    }

    /// Whether containers outlive it.
    #[must_use]
    pub fn live_restore(&self) -> bool {
        self.0.as_ref().is_some_and(OwnEngine::live_restore)
    }

    /// Sends our own engine a signal.
    ///
    /// # Panics
    /// When it is not our own.
    pub fn signal(&self, signal: &str) {
        self.0.as_ref().expect("only our own engine is sent signals").signal(signal);
    }

    /// Ends our own engine by a signal and waits until it has gone.
    ///
    /// # Panics
    /// When it is not our own.
    pub fn end(&self, signal: &str) {
        self.0.as_ref().expect("only our own engine is ended").end(signal);
    }

    /// Starts our own engine again and waits until it answers.
    ///
    /// # Panics
    /// When it is not our own.
    pub fn begin(&self) {
        self.0.as_ref().expect("only our own engine is started").begin();
        self.until_it_answers();
    }

    /// What `docker` says.
    ///
    /// # Panics
    /// When it fails.
    pub fn docker(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!(said.code, 0, "docker {arguments:?}: {said:?}");
        said.stdout.trim().to_owned()
    }

    /// What `docker` says; `None` when it fails.
    pub fn try_docker(&self, arguments: &[&str]) -> Option<String> {
        let said = self.run(arguments);
        (said.code == 0).then(|| said.stdout.trim().to_owned())
    }

    /// What `docker` says, and how it ends.
    ///
    /// # Panics
    /// When there is no `docker`.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(&self.command("docker").args(arguments).output().unwrap())
    }

    /// A command that finds this engine by its environment.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        if self.0.is_some() {
            command.env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
        }
        command.stdin(Stdio::null());
        command
    }

    fn answers(&self) -> bool {
        self.try_docker(&["version", "--format", "{{.Server.Version}}"]).is_some()
    }

    fn until_it_answers(&self) {
        eventually("the engine answers", || self.answers());
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some(own) = &self.0 else { return };
        // A test may have stopped it, or ended it.
        own.signal("-CONT");
        // Containers first: with live-restore they would outlive it.
        for id in self.try_docker(&["ps", "-aq"]).unwrap_or_default().lines() {
            self.try_docker(&["rm", "-f", "-v", id]);
        }
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

fn missing<T>(why: &str) -> Option<T> {
    not_tested(why);
    None
}

/// Says so past the test harness, which shows nothing of a test that passes.
///
/// # Panics
/// Where Docker is required.
pub fn not_tested(reason: &str) {
    let required = std::env::var_os("CUTOVER_REQUIRE_DOCKER").is_some();
    assert!(!required, "{reason}, and CUTOVER_REQUIRE_DOCKER is set");
    let line = format!("NOT TESTED with Docker: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
