//! What the probes of many services cost the controller.
//!
//! One Cutover probes `services * endpoints` addresses of loopback, each its own, behind all of which
//! the [`upstream`](crate::upstream) listens. Measured is the time on a processor of the controller
//! process alone; what the app's side of the connections costs is the upstream's.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::cpu::{Usage, descendants};
use crate::fleet::Fleet;
use crate::rig;

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Seconds on a processor for each second.
    pub cores: f64,
    /// Of `cores`, the share that the kernel used.
    pub system: f64,
    /// Probes that were answered in a second.
    pub probes: f64,
}

/// A Cutover that probes a fleet; it ends when this is dropped.
#[derive(Debug)]
pub struct Prober {
    supervisor: Child,
    controller: u32,
    admin: SocketAddr,
    log: PathBuf,
}

impl Prober {
    /// Starts one, and waits until every endpoint of the fleet is up.
    ///
    /// # Errors
    /// Fails when it cannot be started, or when not all endpoints are up in time.
    pub fn start(
        cutover: &Path,
        fleet: Fleet,
        upstream: u16,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let admin = rig::free_address()?;
        let config = directory.join("cutover.toml");
        let root = directory.display();
        let head = format!(
            "[listen]\nhttp = \"127.0.0.1:0\"\nadmin = \"{admin}\"\ncontrol = \"{root}/control.sock\"\n\
             [runtime]\nstate_dir = \"{root}/state\"\n[docker]\nenable = false\n"
        );
        fs::write(&config, head + &fleet.sections(upstream)?)?;
        let log = directory.join("log");
        let said = fs::File::create(&log)?;
        let supervisor = rig::command(cutover)
            .args(["run", "--config"])
            .arg(&config)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()
            .context("starting cutover")?;
        let mut prober = Self { supervisor, controller: 0, admin, log };
        prober.wait(fleet.services * fleet.endpoints).with_context(|| {
            let said = fs::read_to_string(&prober.log).unwrap_or_default();
            format!("it said:\n{}", said.lines().take(20).collect::<Vec<_>>().join("\n"))
        })?;
        Ok(prober)
    }

    fn wait(&mut self, endpoints: usize) -> anyhow::Result<()> {
        rig::wait_until("a controller", || {
            if let Some(status) = self.supervisor.try_wait()? {
                bail!("it ended with {status}");
            }
            let all = descendants(self.supervisor.id());
            let controller = all.into_iter().find(|pid| is_controller(*pid));
            self.controller = controller.unwrap_or(0);
            Ok(controller.is_some())
        })?;
        let deadline = Instant::now() + ALL_UP;
        loop {
            let up = self.metric("cutover_endpoint_up{").unwrap_or(0.0);
            if up as usize == endpoints {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{up} of {endpoints} endpoints are up after {ALL_UP:?}");
            }
            rig::pause(Duration::from_millis(500));
        }
    }

    /// Measures for so long.
    ///
    /// # Errors
    /// Fails when the metrics cannot be read.
    pub fn measure(&self, time: Duration) -> anyhow::Result<Sample> {
        // To write the metrics is work, too: it lies outside of what is measured.
        let probes = self.metric(PROBES)?;
        rig::pause(Duration::from_secs(1));
        let (start, before) = (Instant::now(), Usage::of_process(self.controller));
        rig::pause(time);
        let (took, used) = (start.elapsed(), Usage::of_process(self.controller) - before);
        rig::pause(Duration::from_secs(1));
        let asked = self.metric(PROBES)? - probes;
        let ticks = (used.user_ticks + used.system_ticks).max(1);
        Ok(Sample {
            cores: used.total_ns as f64 / took.as_nanos() as f64,
            system: used.system_ticks as f64 / ticks as f64,
            probes: asked / (took + Duration::from_secs(2)).as_secs_f64(),
        })
    }

    /// The sum of all series whose line begins like this.
    fn metric(&self, beginning: &str) -> anyhow::Result<f64> {
        let mut stream = TcpStream::connect(self.admin)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.admin
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let lines = text.lines().filter(|line| line.starts_with(beginning));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        // The children die with it.
        self.supervisor.kill().ok();
        self.supervisor.wait().ok();
    }
}

fn is_controller(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(b"controller")
}

const PROBES: &str = "cutover_probe_duration_seconds_count{";
/// For every endpoint to be up.
const ALL_UP: Duration = Duration::from_secs(60);
