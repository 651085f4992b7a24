//! One second of load, with `wrk` where it is installed.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::rig::Placement;

/// What sends the requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Generator {
    /// The one of this package.
    Own,
    /// `wrk`, one thread.
    Wrk,
}

impl Generator {
    /// `wrk` where it is installed.
    #[must_use]
    pub fn installed() -> Self {
        let wrk =
            Command::new("wrk").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if wrk.is_ok() { Self::Wrk } else { Self::Own }
    }

    /// Loads an address for a while.
    ///
    /// # Errors
    /// Fails when the generator cannot be started or says nothing that can be read.
    pub fn run(
        self,
        target: SocketAddr,
        case: &Case,
        duration: Duration,
        placement: Placement,
    ) -> anyhow::Result<Figures> {
        let mut command = match self {
            Self::Own => {
                let mut command = Command::new(std::env::current_exe()?);
                command
                    .args(["load", "--case", case.name])
                    .args(["--target", &target.to_string()])
                    .args(["--seconds", &duration.as_secs().to_string()]);
                command
            }
            Self::Wrk => {
                let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/load/wrk.lua");
                let mut command = Command::new("wrk");
                command
                    .args(["-t1", &format!("-c{}", case.connections)])
                    .arg(format!("-d{}s", duration.as_secs()))
                    .arg("-s")
                    .arg(script)
                    .arg(format!("http://{target}{}", case.path))
                    .arg("--")
                    .arg(case.body_bytes.to_string())
                    .arg(if case.close { "close" } else { "keep" });
                command
            }
        };
        let mut child =
            placement.spawn_load(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let mut said = String::new();
        if let Some(mut stdout) = child.stdout.take() {
            stdout.read_to_string(&mut said)?;
        }
        let status = child.wait()?;
        if !status.success() {
            bail!("the load generator ended with {status}: {said}");
        }
        let figures = said
            .lines()
            .find_map(|line| line.strip_prefix("figures "))
            .with_context(|| format!("the load generator printed no figures: {said}"))?;
        Ok(serde_json::from_str(figures)?)
    }
}

/// What a load generator has seen.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Figures {
    /// Requests answered in full with a 2xx.
    pub requests: u64,
    /// How long it took.
    pub seconds: f64,
    /// The median latency, in microseconds.
    pub p50_us: f64,
    /// The latency that one in a hundred exceeds, in microseconds.
    pub p99_us: f64,
    /// Other statuses, refused and broken connections, time-outs.
    pub errors: u64,
}
