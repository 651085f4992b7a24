//! Colors that have stopped serving and whose work is finishing: each drain has a name and one clock,
//! which a restart of the controller does not set back.
//!
//! A color can drain twice at a time: it stopped serving, serves again by other containers, and stops
//! once more. What tells the two apart is the table that retired each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover_proxy::table::{
    Color, EndpointId, Generation, Hangup, PoolStats, ServiceName, Snapshot,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::config::DrainConfig;
use crate::millis::millis;
use crate::state::journal::{Journal, StoredDrain};
use crate::state::live::is_of;
use crate::time_of_day::unix_ms;

/// Which drain: whose work, and the first table without it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct DrainKey {
    /// The service.
    pub service: ServiceName,
    /// The color that has stopped serving.
    pub color: Color,
    /// The first table without it.
    pub generation: Generation,
}

/// How the drain of a color ended.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct DrainEnd {
    /// Requests that the deadline closed.
    pub forced_requests: u64,
    /// Streams that the deadline closed.
    pub forced_streams: u64,
    /// From the flip to the last byte.
    pub longest: Duration,
}

/// A drain under way.
#[derive(Clone, Debug)]
struct Running {
    since: Instant,
    limits: DrainConfig,
    /// What the color's deadlines had closed before: requests and streams. `None` is not known yet.
    forced_before: Option<(u64, u64)>,
    /// What drains. Should any of it serve again, nothing is closed by force any more.
    endpoints: BTreeSet<EndpointId>,
}

/// What has become of a drain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Nothing is left.
    Over(DrainEnd),
    /// What drained serves again.
    Resumed,
}

/// All drains.
#[derive(Clone, Debug, Default)]
pub struct Drains {
    running: BTreeMap<DrainKey, Running>,
    ended: BTreeMap<DrainKey, Outcome>,
}

impl Drains {
    /// Those that the journal holds, with the time that is left.
    #[must_use]
    pub fn restore(journal: &Journal) -> Self {
        let running = journal.drains().iter().map(|stored| {
            let spent = unix_ms().saturating_sub(stored.since_ms);
            let now = Instant::now();
            let running = Running {
                since: now.checked_sub(Duration::from_millis(spent)).unwrap_or(now),
                limits: DrainConfig {
                    timeout: Duration::from_millis(stored.timeout_ms),
                    streams: Duration::from_millis(stored.streams_ms),
                },
                forced_before: stored.forced_before,
                endpoints: BTreeSet::new(),
            };
            let StoredDrain { service, color, generation, .. } = stored.clone();
            (DrainKey { service, color, generation }, running)
        });
        Self { running: running.collect(), ended: BTreeMap::new() }
    }

    /// Begins one; the journal remembers it from its next write on.
    pub fn begin(
        &mut self,
        key: DrainKey,
        limits: DrainConfig,
        endpoints: BTreeSet<EndpointId>,
        snapshot: &Snapshot,
        journal: &mut Journal,
    ) {
        let forced_before = Some(forced(snapshot, &key.service, key.color));
        journal.begin_drain(StoredDrain {
            service: key.service.clone(),
            color: key.color,
            generation: key.generation,
            since_ms: unix_ms(),
            timeout_ms: millis(limits.timeout),
            streams_ms: millis(limits.streams),
            forced_before,
        });
        let running = Running { since: Instant::now(), limits, forced_before, endpoints };
        self.running.insert(key, running);
    }

    /// Ends those of a color whose endpoints serve again.
    pub fn resume(
        &mut self,
        service: &ServiceName,
        color: Color,
        serving: &BTreeSet<EndpointId>,
        journal: &mut Journal,
    ) {
        let back = self.of(service, color).filter(|(_, r)| !r.endpoints.is_disjoint(serving));
        for key in back.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.end(key, Outcome::Resumed, journal);
        }
    }

    /// Gives the newest drain of a color other limits; its clock stays.
    pub fn limit(&mut self, service: &ServiceName, color: Color, limits: DrainConfig) {
        let newest = self.of(service, color).map(|(key, _)| key.clone()).next_back();
        if let Some(running) = newest.and_then(|key| self.running.get_mut(&key)) {
            running.limits = limits;
        }
    }

    /// Whether anything of a container drains.
    #[must_use]
    pub fn has(&self, service: &ServiceName, id: &str) -> bool {
        let mut drains = self.running.iter().filter(|(key, _)| key.service == *service);
        drains.any(|(_, running)| running.endpoints.iter().any(|endpoint| is_of(endpoint, id)))
    }

    /// Whether nothing drains.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether anything of a color drains that was retired by a table up to this one. Where
    /// containers are named, of these: what a former rollout has left there is not theirs.
    #[must_use]
    pub fn is_draining(
        &self,
        service: &ServiceName,
        color: Color,
        until: Generation,
        containers: &[String],
    ) -> bool {
        let concerns = |running: &Running| {
            let mut endpoints = running.endpoints.iter();
            // Of one that is taken over it is not known yet.
            containers.is_empty()
                || running.endpoints.is_empty()
                || endpoints.any(|endpoint| containers.iter().any(|id| is_of(endpoint, id)))
        };
        let mut drains = self.of(service, color);
        drains.any(|(key, running)| key.generation <= until && concerns(running))
    }

    /// How the last drain of a color ended, of those up to a table.
    #[must_use]
    pub fn outcome(
        &self,
        service: &ServiceName,
        color: Color,
        until: Generation,
    ) -> Option<Outcome> {
        let ours = |key: &DrainKey| key.service == *service && key.color == color;
        let mut ended = self.ended.iter().rev();
        ended.find(|(key, _)| ours(key) && key.generation <= until).map(|(_, outcome)| *outcome)
    }

    /// Takes note of what the proxy says is alive: learns what drains, and gives those that are over.
    pub fn follow(
        &mut self,
        snapshot: &Snapshot,
        journal: &mut Journal,
    ) -> Vec<(DrainKey, DrainEnd)> {
        let mut over = Vec::new();
        for key in self.running.keys().cloned().collect::<Vec<_>>() {
            let forced = forced(snapshot, &key.service, key.color);
            let pools: Vec<_> = self.pools(&key, snapshot).cloned().collect();
            let Some(running) = self.running.get_mut(&key) else { continue };
            let before = *running.forced_before.get_or_insert(forced);
            for pool in &pools {
                running.endpoints.extend(pool.endpoints.iter().map(|endpoint| endpoint.id.clone()));
            }
            // Counts from before the flip say nothing about it.
            if snapshot.generation < key.generation || !pools.is_empty() {
                continue;
            }
            let end = DrainEnd {
                forced_requests: forced.0.saturating_sub(before.0),
                forced_streams: forced.1.saturating_sub(before.1),
                longest: running.since.elapsed(),
            };
            over.push((key.clone(), end));
            self.end(key, Outcome::Over(end), journal);
        }
        over
    }

    /// Whose time is up.
    #[must_use]
    pub fn overdue(&self, now: Instant) -> Vec<(DrainKey, Hangup)> {
        let hangup = |(key, running): (&DrainKey, &Running)| {
            let spent = now.saturating_duration_since(running.since);
            let what = if spent >= running.limits.timeout.max(running.limits.streams) {
                Hangup::Everything
            } else if spent >= running.limits.timeout {
                Hangup::Requests
            } else {
                return None;
            };
            Some((key.clone(), what))
        };
        self.running.iter().filter_map(hangup).collect()
    }

    /// Whether a retired pool belongs to a drain, and until its next deadline then.
    #[must_use]
    pub fn deadline(&self, pool: &PoolStats, now: Instant) -> Option<Duration> {
        let mut drains = self.of(&pool.service, pool.color);
        let (_, running) = drains.find(|(key, _)| pool.generation < key.generation)?;
        let DrainConfig { timeout, streams } = running.limits;
        let limit = if pool.requests > 0 { timeout } else { streams.max(timeout) };
        Some(limit.saturating_sub(now.saturating_duration_since(running.since)))
    }

    /// The retired pools that a drain is about: those that came before its table, and after that of
    /// the drain before it.
    fn pools<'s>(
        &self,
        key: &'s DrainKey,
        snapshot: &'s Snapshot,
    ) -> impl Iterator<Item = &'s PoolStats> + use<'s> {
        let earlier = self.of(&key.service, key.color).map(|(key, _)| key.generation);
        let from = earlier.filter(|earlier| *earlier < key.generation).max().unwrap_or_default();
        snapshot.pools.iter().filter(move |pool| {
            pool.retired
                && pool.service == key.service
                && pool.color == key.color
                && (from..key.generation).contains(&pool.generation)
        })
    }

    /// The drains of a color under way, the oldest first.
    fn of<'d>(
        &'d self,
        service: &'d ServiceName,
        color: Color,
    ) -> impl DoubleEndedIterator<Item = (&'d DrainKey, &'d Running)> {
        let ours = move |key: &DrainKey| key.service == *service && key.color == color;
        self.running.iter().filter(move |(key, _)| ours(key))
    }

    fn end(&mut self, key: DrainKey, outcome: Outcome, journal: &mut Journal) {
        journal.end_drain(&key.service, key.color, key.generation);
        self.running.remove(&key);
        self.ended.insert(key.clone(), outcome);
        let ours = |other: &&DrainKey| other.service == key.service && other.color == key.color;
        let ended: Vec<_> = self.ended.keys().filter(ours).cloned().collect();
        for old in ended.iter().rev().skip(REMEMBERED) {
            self.ended.remove(old);
        }
    }
}

/// What deadlines of a color have closed since the proxy started: requests and streams.
pub(crate) fn forced(snapshot: &Snapshot, service: &ServiceName, color: Color) -> (u64, u64) {
    let service = snapshot.services.iter().find(|s| s.name == service.as_str());
    let color = service.and_then(|s| s.colors.iter().find(|c| c.color == color.as_str()));
    let forced = |kind: &str| color.and_then(|c| c.forced.get(kind)).copied().unwrap_or(0);
    (forced("request"), forced("stream"))
}

/// How many ends of a color's drains are remembered, for those who still wait to hear of them.
const REMEMBERED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> ServiceName {
        "web".parse().unwrap()
    }

    fn key(generation: u64) -> DrainKey {
        DrainKey { service: web(), color: Color::Blue, generation: Generation(generation) }
    }

    fn ids(ids: &[&str]) -> BTreeSet<EndpointId> {
        ids.iter().map(|id| EndpointId::from(*id)).collect()
    }

    /// A proxy at a generation, with retired blue pools that came with these.
    fn snapshot(generation: u64, pools: &[u64]) -> Snapshot {
        let pool = |generation: &u64| PoolStats {
            service: web(),
            color: Color::Blue,
            generation: Generation(*generation),
            retired: true,
            requests: 1,
            streams: 0,
            endpoints: Vec::new(),
        };
        Snapshot {
            generation: Generation(generation),
            pools: pools.iter().map(pool).collect(),
            ..Snapshot::default()
        }
    }

    const LIMITS: DrainConfig =
        DrainConfig { timeout: Duration::from_secs(30), streams: Duration::from_secs(300) };

    #[test]
    fn two_drains_of_one_color_end_each_by_itself() {
        let (mut drains, mut journal) = (Drains::default(), Journal::default());
        let nothing = Snapshot::default();
        drains.begin(key(5), LIMITS, ids(&["old"]), &nothing, &mut journal);
        // The color serves again by other containers, and stops once more.
        drains.resume(&web(), Color::Blue, &ids(&["new"]), &mut journal);
        drains.begin(key(9), LIMITS, ids(&["new"]), &nothing, &mut journal);
        assert_eq!(drains.follow(&snapshot(9, &[2, 6]), &mut journal), []);
        let over = drains.follow(&snapshot(9, &[2]), &mut journal);
        assert_eq!(over.iter().map(|(key, _)| key.generation.0).collect::<Vec<_>>(), [9]);
        assert!(drains.is_draining(&web(), Color::Blue, Generation(5), &[]));
        assert_eq!(drains.follow(&snapshot(9, &[]), &mut journal).len(), 1);
        assert!(drains.is_idle() && journal.drains().is_empty());
    }

    #[test]
    fn what_a_former_rollout_has_left_is_no_drain_of_newer_containers() {
        let (mut drains, mut journal) = (Drains::default(), Journal::default());
        let nothing = Snapshot::default();
        drains.begin(key(5), LIMITS, ids(&["old:8000"]), &nothing, &mut journal);
        drains.begin(key(9), LIMITS, ids(&["new:8000"]), &nothing, &mut journal);
        drains.follow(&snapshot(9, &[2]), &mut journal);
        let draining = |containers: &[&str]| {
            let containers: Vec<_> = containers.iter().map(|id| (*id).to_owned()).collect();
            drains.is_draining(&web(), Color::Blue, Generation(9), &containers)
        };
        assert!(!draining(&["new"]));
        assert!(draining(&["old"]) && draining(&["new", "old"]) && draining(&[]));
    }

    #[test]
    fn what_serves_again_is_not_closed_by_force() {
        let (mut drains, mut journal) = (Drains::default(), Journal::default());
        drains.begin(key(5), LIMITS, ids(&["a", "b"]), &Snapshot::default(), &mut journal);
        drains.resume(&web(), Color::Blue, &ids(&["b"]), &mut journal);
        let outcome = drains.outcome(&web(), Color::Blue, Generation(7));
        assert_eq!(outcome, Some(Outcome::Resumed));
        assert!(drains.overdue(Instant::now() + Duration::from_secs(900)).is_empty());
    }

    #[test]
    fn a_restart_leaves_a_drain_the_time_that_is_left() {
        let mut journal = Journal::default();
        Drains::default().begin(key(5), LIMITS, ids(&["a"]), &Snapshot::default(), &mut journal);
        let mut stored = journal.drains()[0].clone();
        journal.end_drain(&web(), Color::Blue, Generation(5));
        stored.since_ms -= 20_000;
        journal.begin_drain(stored);
        let drains = Drains::restore(&journal);
        assert!(drains.overdue(Instant::now() + Duration::from_secs(5)).is_empty());
        let overdue = drains.overdue(Instant::now() + Duration::from_secs(11));
        assert_eq!(overdue, [(key(5), Hangup::Requests)]);
    }

    #[test]
    fn counts_from_before_the_flip_end_no_drain() {
        let (mut drains, mut journal) = (Drains::default(), Journal::default());
        drains.begin(key(5), LIMITS, ids(&["a"]), &Snapshot::default(), &mut journal);
        assert_eq!(drains.follow(&snapshot(4, &[]), &mut journal), []);
        assert_eq!(drains.follow(&snapshot(5, &[]), &mut journal).len(), 1);
    }
}
