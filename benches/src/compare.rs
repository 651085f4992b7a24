//! The rounds: each proxy in turn, a second each, again and again.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use crate::case::{Case, Load, Measure};
use crate::control::Flip;
use crate::fleet::Fleet;
use crate::idle::Idle;
use crate::load::{Figures, Generator};
use crate::memory::proportional_bytes;
use crate::peer::Peer;
use crate::proxy::{Proxy, Services, Site, Subject};
use crate::rig::{self, Placement};
use crate::upstream::{Reach, Upstream};

/// How to compare.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What to ask.
    pub cases: Vec<Case>,
    /// Whom; all are installed.
    pub peers: Vec<Peer>,
    /// Measured rounds per case, after one that warms up.
    pub rounds: usize,
    /// How long each proxy is loaded in a round.
    pub seconds: u64,
    /// Where processes run.
    pub placement: Placement,
    /// What sends the requests.
    pub generator: Generator,
}

/// One proxy in one round.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    /// What the case divides, over that of the first proxy in the same round; where that is the one
    /// to compare with.
    pub ratio: Option<f64>,
    /// What was measured.
    #[serde(flatten)]
    pub measured: Measured,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum Measured {
    /// Of requests.
    Load {
        /// Nanoseconds on a processor for each completed request.
        cpu_ns: f64,
        /// The share of it in user space, 0 to 1.
        user_share: f64,
        /// What the clients saw.
        figures: Figures,
    },
    /// Of clients that are idle.
    Memory {
        /// What the process tree held before they came.
        base_bytes: u64,
        /// What it held with them.
        idle_bytes: u64,
        /// How many there were.
        clients: usize,
    },
}

impl Measured {
    /// What the case divides.
    fn figure(&self, measure: Measure) -> f64 {
        match self {
            Self::Load { figures, .. } if measure == Measure::Workers => figures.rate(),
            Self::Load { cpu_ns, .. } => *cpu_ns,
            Self::Memory { .. } => self.bytes_per_client(),
        }
    }

    /// Memory that each idle client costs.
    #[must_use]
    pub fn bytes_per_client(&self) -> f64 {
        match self {
            Self::Load { .. } => 0.0,
            Self::Memory { base_bytes, idle_bytes, clients } => {
                (*idle_bytes as f64 - *base_bytes as f64) / *clients as f64
            }
        }
    }
}

/// All samples of one proxy.
#[derive(Debug)]
pub struct Row {
    /// Which.
    pub name: String,
    /// One per round.
    pub samples: Vec<Sample>,
    /// What flips took, where the case asks.
    pub flips: Vec<Flip>,
}

/// All samples of one case.
#[derive(Debug)]
pub struct CaseResult {
    /// What was asked.
    pub case: Case,
    /// The proxies in the order they were loaded.
    pub rows: Vec<Row>,
    /// The upstream alone, without any proxy.
    pub direct: Option<Figures>,
}

impl Plan {
    /// Runs every case, with proxies started afresh for each.
    ///
    /// # Errors
    /// Fails when a proxy or the load generator does not start.
    pub fn run(&self, cutover: &Path, directory: &Path) -> anyhow::Result<Vec<CaseResult>> {
        self.cases
            .iter()
            .map(|case| self.run_case(case, cutover, directory).context(case.name))
            .collect()
    }

    fn run_case(
        &self,
        case: &Case,
        cutover: &Path,
        directory: &Path,
    ) -> anyhow::Result<CaseResult> {
        let measure = case.measure;
        let placement = if measure == Measure::Workers { Placement::Free2 } else { self.placement };
        let reach = if measure == Measure::Fleet { Reach::Loopback } else { Reach::OneAddress };
        let upstream = Upstream::start(placement, reach, None)?;
        let site = Site { cutover, directory, upstream: upstream.address, placement };
        let subjects = self.subjects(case, upstream.address.port())?;
        if measure == Measure::Memory {
            let rounds = 1..=self.rounds.min(MEMORY_ROUNDS);
            let rows = Rounds { case, subjects: &subjects, rounds }
                .run(|nth| memory(&Proxy::start(nth, &site)?, &case.load).map(Some))?;
            return Ok(CaseResult { case: *case, rows, direct: None });
        }

        let started =
            subjects.iter().map(|subject| Ok((&subject.name, Proxy::start(subject, &site)?)));
        let proxies = started.collect::<anyhow::Result<Vec<_>>>()?;
        let proxy = |subject: &Subject| {
            let found = proxies.iter().find(|(name, _)| **name == subject.name);
            found.map(|(_, proxy)| proxy).context("not started")
        };
        if measure == Measure::Fleet {
            proxies.iter().try_for_each(|(_, proxy)| proxy.wait_until_quiet())?;
        }
        let mut rows = Rounds { case, subjects: &subjects, rounds: 0..=self.rounds }
            .run(|subject| self.load(proxy(subject)?, case, placement))?;
        if measure == Measure::Fleet {
            for (row, (_, proxy)) in rows.iter_mut().zip(&proxies) {
                row.flips = flips(proxy)?;
            }
        }
        let direct = self.generator.run(upstream.address, case, self.seconds, placement)?;
        Ok(CaseResult { case: *case, rows, direct: Some(direct) })
    }

    /// Whom to measure; the first is what the others are divided by.
    fn subjects(&self, case: &Case, upstream: u16) -> anyhow::Result<Vec<Subject>> {
        let workers = self.placement.workers();
        let fleet = |name: &str, services: usize| {
            let fleet = Fleet { services, endpoints: 10, interval: NO_PROBES, flips: true };
            let services = Services { sections: fleet.sections(upstream)?, host: case.load.host };
            let subject = Subject::new(Peer::Cutover, workers);
            anyhow::Ok(Subject { name: name.to_owned(), services: Some(services), ..subject })
        };
        let several = |name: &str, workers: usize| Subject {
            name: name.to_owned(),
            ..Subject::new(Peer::Cutover, workers)
        };
        Ok(match case.measure {
            Measure::Cpu | Measure::Memory => {
                self.peers.iter().map(|peer| Subject::new(peer.clone(), workers)).collect()
            }
            Measure::Fleet => vec![fleet("1 service", 1)?, fleet("1,000 services", 1000)?],
            Measure::Workers => vec![several("1 worker", 1), several("2 workers", 2)],
        })
    }

    /// `None` when not one request came through.
    fn load(
        &self,
        proxy: &Proxy,
        case: &Case,
        placement: Placement,
    ) -> anyhow::Result<Option<Measured>> {
        let before = proxy.usage();
        let figures = self.generator.run(proxy.address, case, self.seconds, placement)?;
        let used = proxy.usage() - before;
        if figures.requests == 0 {
            return Ok(None);
        }
        let ticks = (used.user_ticks + used.system_ticks).max(1);
        Ok(Some(Measured::Load {
            cpu_ns: used.total_ns as f64 / figures.requests as f64,
            user_share: used.user_ticks as f64 / ticks as f64,
            figures,
        }))
    }
}

/// The rounds of one case.
struct Rounds<'a, I> {
    case: &'a Case,
    subjects: &'a [Subject],
    /// Round 0 warms up.
    rounds: I,
}

impl<I: Iterator<Item = usize>> Rounds<'_, I> {
    fn run(
        self,
        mut measure: impl FnMut(&Subject) -> anyhow::Result<Option<Measured>>,
    ) -> anyhow::Result<Vec<Row>> {
        let row =
            |subject: &Subject| Row { name: subject.name.clone(), samples: vec![], flips: vec![] };
        let mut rows: Vec<Row> = self.subjects.iter().map(row).collect();
        for round in self.rounds {
            eprintln!("{}: round {round}", self.case.name);
            let mut base = None;
            for (nth, (subject, row)) in self.subjects.iter().zip(&mut rows).enumerate() {
                let Some(measured) = measure(subject).with_context(|| subject.name.clone())? else {
                    continue;
                };
                let figure = measured.figure(self.case.measure);
                if nth == 0 && is_base(subject) {
                    base = Some(figure);
                }
                if round > 0 {
                    row.samples.push(Sample { ratio: base.map(|base| figure / base), measured });
                }
            }
        }
        Ok(rows)
    }
}

/// Whether the others are divided by this one if it is the first: `HAProxy`, or Cutover where it is
/// alone.
fn is_base(first: &Subject) -> bool {
    first.peer == Peer::Haproxy || first.name != first.peer.name()
}

fn memory(proxy: &Proxy, load: &Load) -> anyhow::Result<Measured> {
    rig::pause(SETTLED);
    let base_bytes = proportional_bytes(proxy.root())?;
    let idle = Idle::open(proxy.address, load)?;
    rig::pause(SETTLED);
    let idle_bytes = proportional_bytes(proxy.root())?;
    idle.check()?;
    Ok(Measured::Memory { base_bytes, idle_bytes, clients: idle.count() })
}

/// Flips the service that was loaded, from blue to green and back.
fn flips(proxy: &Proxy) -> anyhow::Result<Vec<Flip>> {
    let control = proxy.control();
    ["green", "blue"].into_iter().cycle().take(FLIPS).map(|to| control.flip("s0", to)).collect()
}

/// Memory differs little from round to round, and a round takes long.
const MEMORY_ROUNDS: usize = 3;
/// For allocators to give back what a start or a burst has left.
const SETTLED: Duration = Duration::from_secs(3);
/// The probes have a bench of their own.
const NO_PROBES: Duration = Duration::from_secs(3600);
const FLIPS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::CASES;

    fn ratios(peers: &[Peer], cpu_ns: &[f64]) -> Vec<Vec<Option<f64>>> {
        let subjects: Vec<_> = peers.iter().map(|peer| Subject::new(peer.clone(), 1)).collect();
        let mut figures = cpu_ns.iter();
        let rows = Rounds { case: &CASES[0], subjects: &subjects, rounds: 0..=2 }.run(|_| {
            let cpu_ns = *figures.next().unwrap();
            let load = Measured::Load { cpu_ns, user_share: 0.5, figures: Figures::default() };
            Ok((cpu_ns > 0.0).then_some(load))
        });
        let ratios = |row: &Row| row.samples.iter().map(|sample| sample.ratio).collect();
        rows.unwrap().iter().map(ratios).collect()
    }

    #[test]
    fn each_round_is_divided_by_the_base_in_it_and_the_first_warms_up() {
        let peers = [Peer::Haproxy, Peer::Cutover];
        let ratios = ratios(&peers, &[100.0, 1.0, 10.0, 5.0, 20.0, 15.0]);
        assert_eq!(ratios, [[Some(1.0), Some(1.0)], [Some(0.5), Some(0.75)]]);
    }

    #[test]
    fn without_the_base_there_is_no_ratio() {
        let alone = ratios(&[Peer::Nginx, Peer::Cutover], &[1.0, 1.0, 10.0, 5.0, 20.0, 15.0]);
        assert_eq!(alone, [[None, None], [None, None]]);
        let silent = ratios(&[Peer::Haproxy, Peer::Cutover], &[1.0, 1.0, 0.0, 5.0, 20.0, 15.0]);
        assert_eq!(silent, [vec![Some(1.0)], vec![None, Some(0.75)]]);
    }
}
