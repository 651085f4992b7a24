//! Commands of the command line, and what they said.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use serde_json::Value;

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code; -1 after a signal.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Outcome {
    /// Of a process that has ended.
    #[must_use]
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The document on its stdout.
    ///
    /// # Panics
    /// When that is none.
    #[must_use]
    pub fn report(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr))
    }

    /// Itself, of a command that must have succeeded.
    ///
    /// # Panics
    /// When it has not.
    #[must_use]
    pub fn success(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

/// A command that runs.
#[derive(Debug)]
pub struct Running(pub(crate) Child);

impl Running {
    /// Waits for its end.
    ///
    /// # Panics
    /// When its output cannot be read.
    #[must_use]
    pub fn wait(self) -> Outcome {
        Outcome::of(&self.0.wait_with_output().unwrap())
    }

    /// Ends it, and gives what it had written.
    #[must_use]
    pub fn end(mut self) -> String {
        self.0.kill().ok();
        self.wait().stdout
    }

    /// Whether it has ended by now.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }

    /// Sends it a signal, as `-INT`.
    pub fn signal(&self, signal: &str) {
        send(signal, self.0.id());
    }
}

/// Sends a signal, as `-KILL`, to a process that may have gone.
pub(crate) fn send(signal: &str, pid: u32) {
    Command::new("kill").args([signal, &pid.to_string()]).status().ok();
}

/// The binary under test: Cargo names it to tests and benches, and it lies above their own directory.
///
/// # Panics
/// Where there is none.
#[must_use]
pub fn binary() -> PathBuf {
    let named = std::env::var_os("CARGO_BIN_EXE_cutover").map(PathBuf::from);
    named.unwrap_or_else(|| {
        let test = std::env::current_exe().unwrap();
        let beside = test.ancestors().skip(1).map(|dir: &Path| dir.join("cutover"));
        beside.into_iter().find(|path| path.is_file()).expect("target/debug/cutover is built")
    })
}
