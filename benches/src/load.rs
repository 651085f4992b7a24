//! One round of load, with `wrk` where it is installed.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::case::{Case, Load};
use crate::client::Ask;
use crate::generator::{Crowd, Observer};
use crate::rig::{self, Placement};
use crate::summary::percentile;

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
    /// Fails when the generator cannot be started, says nothing that can be read, or does not end.
    pub fn run(
        self,
        target: SocketAddr,
        case: &Case,
        seconds: u64,
        placement: Placement,
    ) -> anyhow::Result<Figures> {
        let mut command = match self {
            // wrk has no rate.
            Self::Wrk if case.load.per_second.is_none() => wrk(target, &case.load, seconds),
            Self::Own | Self::Wrk => {
                let mut command = rig::command(std::env::current_exe()?);
                command
                    .args(["load", "--case", case.name])
                    .args(["--target", &target.to_string()])
                    .args(["--seconds", &seconds.to_string()]);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = rig::Running(placement.spawn_load(&mut command)?);
        // Nothing of ours runs while it measures.
        rig::pause(Duration::from_secs(seconds));
        rig::wait_until("the load generator's end", || Ok(child.0.try_wait()?.is_some()))?;
        let mut said = String::new();
        if let Some(mut stdout) = child.0.stdout.take() {
            stdout.read_to_string(&mut said)?;
        }
        let status = child.0.wait()?;
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

fn wrk(target: SocketAddr, load: &Load, seconds: u64) -> Command {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/load/wrk.lua");
    let mut command = rig::command("wrk");
    command
        .args(["-t1", &format!("-c{}", load.connections)])
        .arg(format!("-d{seconds}s"))
        .arg("-s")
        .arg(script)
        .arg(format!("http://{target}{}", load.path))
        .arg("--")
        .arg(load.body_bytes.to_string())
        .arg(if load.close { "close" } else { "keep" })
        .args(load.host);
    command
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

impl Figures {
    /// Requests in a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// Loads an address from within this process.
    ///
    /// # Errors
    /// Fails when epoll does.
    pub fn of_own_load(target: SocketAddr, load: &Load, seconds: u64) -> anyhow::Result<Self> {
        let host = load.host.map_or_else(|| target.to_string(), str::to_owned);
        let ask = Ask::new(&host, load.path, load.body_bytes, load.close);
        let crowd = Crowd {
            target,
            asks: vec![ask; load.connections],
            per_second: load.per_second.map(f64::from),
            grace: Duration::ZERO,
        };
        let mut seen = Seen {
            start: Instant::now(),
            duration: Duration::from_secs(seconds),
            latencies_us: Vec::with_capacity(1 << 17),
            errors: 0,
        };
        crowd.run(&mut seen)?;
        let took = seen.start.elapsed();
        seen.latencies_us.sort_unstable_by(f64::total_cmp);
        Ok(Self {
            requests: seen.latencies_us.len() as u64,
            seconds: took.as_secs_f64(),
            p50_us: percentile(&seen.latencies_us, 50),
            p99_us: percentile(&seen.latencies_us, 99),
            errors: seen.errors,
        })
    }
}

struct Seen {
    start: Instant,
    duration: Duration,
    latencies_us: Vec<f64>,
    errors: u64,
}

impl Observer for Seen {
    fn goes_on(&mut self) -> bool {
        self.start.elapsed() < self.duration
    }

    fn began(&mut self, _: usize) {}

    fn answered(&mut self, _: usize, _: &[u8], latency: Duration) {
        self.latencies_us.push(latency.as_secs_f64() * 1e6);
    }

    fn failed(&mut self, _: usize, _: &str) {
        self.errors += 1;
    }
}
