//! The rounds: each proxy in turn, one second each, again and again.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use crate::case::Case;
use crate::load::{Figures, Generator};
use crate::peer::{Peer, Proxy};
use crate::rig::{self, Placement};

/// How to compare.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What to ask.
    pub cases: Vec<Case>,
    /// Whom; all are installed.
    pub peers: Vec<Peer>,
    /// Measured rounds per case, after one that warms up.
    pub rounds: usize,
    /// Where processes run.
    pub placement: Placement,
    /// What sends the requests.
    pub generator: Generator,
}

/// One proxy in one round.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    /// Nanoseconds on a processor for each completed request.
    pub cpu_ns: f64,
    /// The share of it in user space, 0 to 1.
    pub user_share: f64,
    /// `cpu_ns` over that of `HAProxy` in the same round, where both were measured.
    pub ratio: Option<f64>,
    /// What the clients saw.
    pub figures: Figures,
}

/// All samples of one case.
#[derive(Debug)]
pub struct CaseResult {
    /// What was asked.
    pub case: Case,
    /// One sample per round, by proxy in the order they were loaded.
    pub samples: Vec<(Peer, Vec<Sample>)>,
    /// The upstream alone, without any proxy.
    pub direct: Figures,
}

impl Plan {
    /// Runs every case, with proxies started afresh for each.
    ///
    /// # Errors
    /// Fails when a proxy or the load generator does not start.
    pub fn run(&self, cutover: &Path, directory: &Path) -> anyhow::Result<Vec<CaseResult>> {
        let upstream = Upstream::start(self.placement)?;
        self.cases
            .iter()
            .map(|case| self.run_case(case, cutover, directory, upstream.address))
            .collect()
    }

    fn run_case(
        &self,
        case: &Case,
        cutover: &Path,
        directory: &Path,
        upstream: SocketAddr,
    ) -> anyhow::Result<CaseResult> {
        let proxies = self
            .peers
            .iter()
            .map(|&peer| Proxy::start(peer, cutover, upstream, directory, self.placement))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut samples: Vec<_> = proxies.iter().map(|proxy| (proxy.peer, vec![])).collect();
        for round in 0..=self.rounds {
            eprintln!("{}: round {round} of {}", case.name, self.rounds);
            let mut haproxy = None;
            for (proxy, (_, kept)) in proxies.iter().zip(&mut samples) {
                let sample =
                    self.sample(proxy, case, haproxy).with_context(|| proxy.peer.name())?;
                if proxy.peer == Peer::Haproxy {
                    haproxy = sample.map(|sample| sample.cpu_ns);
                }
                if round > 0 {
                    kept.extend(sample);
                }
            }
        }
        let direct = self.generator.run(upstream, case, SECOND, self.placement)?;
        Ok(CaseResult { case: *case, samples, direct })
    }

    /// `None` when not one request came through.
    fn sample(
        &self,
        proxy: &Proxy,
        case: &Case,
        haproxy_ns: Option<f64>,
    ) -> anyhow::Result<Option<Sample>> {
        let before = proxy.usage();
        let figures = self.generator.run(proxy.address, case, SECOND, self.placement)?;
        let used = proxy.usage() - before;
        if figures.requests == 0 {
            return Ok(None);
        }
        let cpu_ns = used.total_ns as f64 / figures.requests as f64;
        let ticks = (used.user_ticks + used.system_ticks).max(1);
        let ratio = match proxy.peer {
            Peer::Haproxy => Some(1.0),
            Peer::Nginx | Peer::Caddy | Peer::Cutover => haproxy_ns.map(|theirs| cpu_ns / theirs),
        };
        Ok(Some(Sample {
            cpu_ns,
            user_share: used.user_ticks as f64 / ticks as f64,
            ratio,
            figures,
        }))
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// The upstream, as a process of its own; it ends when this is dropped.
struct Upstream {
    address: SocketAddr,
    child: Child,
}

impl Upstream {
    fn start(placement: Placement) -> anyhow::Result<Self> {
        let address = rig::free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["upstream", "--listen", &address.to_string()]);
        let child = placement.spawn_load(&mut command)?;
        let upstream = Self { address, child };
        rig::wait_until("the upstream's first answer", || {
            Ok(std::net::TcpStream::connect(address).is_ok())
        })?;
        Ok(upstream)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
