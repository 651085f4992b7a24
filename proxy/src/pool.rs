//! Pools and endpoints: the objects that a table names and that requests hold on to.

pub(crate) mod balance;
pub(crate) mod compile;
pub(crate) mod ramp;
#[cfg(test)]
mod scale;
pub(crate) mod view;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::metrics::counters::{Counter, Work};
use crate::table::{
    Color, EndpointId, EndpointSpec, EndpointStats, Generation, Hangup, PoolStats, ServiceName,
};

/// The endpoints that serve one color, at one generation.
///
/// Ownership is the drain: the live table and each worker's view hold an `Arc<Pool>`, and within a
/// worker every lease holds on to the view's part. A retired pool is gone when the last of them has
/// let go; no counter decides it, the gauges are for eyes only.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) service: ServiceName,
    pub(crate) color: Color,
    pub(crate) generation: Generation,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    in_flight: Vec<Arc<InFlight>>,
    hangup: AtomicU8,
}

impl Pool {
    /// A new pool; endpoints that `previous` already has are taken over with what is known of them.
    pub(crate) fn new(
        service: &ServiceName,
        color: Color,
        generation: Generation,
        endpoints: &[EndpointSpec],
        previous: Option<&Self>,
        workers: usize,
    ) -> Self {
        let known: HashMap<_, _> = previous
            .into_iter()
            .flat_map(|pool| &pool.endpoints)
            .map(|endpoint| ((&endpoint.id, endpoint.address), endpoint))
            .collect();
        let endpoint = |spec: &EndpointSpec| match known.get(&(&spec.id, spec.address)) {
            Some(known) if known.is(spec) => Arc::clone(known),
            _ => Arc::new(Endpoint::new(spec, workers)),
        };
        Self {
            service: service.clone(),
            color,
            generation,
            endpoints: endpoints.iter().map(endpoint).collect(),
            in_flight: (0..workers).map(|_| Arc::default()).collect(),
            hangup: AtomicU8::new(0),
        }
    }

    /// Whether this pool is what `endpoints` asks for, but for health.
    pub(crate) fn matches(&self, endpoints: &[EndpointSpec]) -> bool {
        self.endpoints.len() == endpoints.len()
            && self.endpoints.iter().zip(endpoints).all(|(endpoint, spec)| endpoint.is(spec))
    }

    /// Takes over what the probes found; the identity stays.
    pub(crate) fn update_health(&self, endpoints: &[EndpointSpec]) {
        for (endpoint, spec) in self.endpoints.iter().zip(endpoints) {
            endpoint.up.store(spec.up, Ordering::Relaxed);
        }
    }

    /// A worker's gauges.
    pub(crate) fn in_flight(&self, worker: usize) -> Arc<InFlight> {
        self.in_flight.get(worker).cloned().unwrap_or_default()
    }

    /// Marks work of this pool to be ended by force; whoever does it sees the mark when next woken.
    pub(crate) fn hang_up(&self, what: Hangup) {
        let level = match what {
            Hangup::Requests => 1,
            Hangup::Everything => 2,
        };
        self.hangup.fetch_max(level, Ordering::Relaxed);
    }

    /// Whether such work is to end now.
    pub(crate) fn is_hung_up(&self, work: Work) -> bool {
        let level = self.hangup.load(Ordering::Relaxed);
        match work {
            Work::Request => level >= 1,
            Work::Stream => level >= 2,
        }
    }

    /// How many endpoints are left out now.
    fn ejected(&self, now: Duration) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.is_ejected(now)).count()
    }

    /// Takes note of a failure to connect or an early reset, and leaves the endpoint out for a while
    /// when they repeat. At most half of a pool, and never its last endpoint, is left out.
    pub(crate) fn note_failure(&self, endpoint: &Endpoint, now: Duration) -> bool {
        let failures = endpoint.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures < FAILURES_TO_EJECT || endpoint.is_ejected(now) {
            return false;
        }
        let allowed = self.endpoints.len() / 2;
        if self.ejected(now) >= allowed {
            return false;
        }
        let times = endpoint.ejections.fetch_add(1, Ordering::Relaxed).min(MAX_DOUBLINGS);
        let until = now + BASE_EJECTION * (1 << times);
        endpoint.ejected_until_ms.store(millis(until), Ordering::Relaxed);
        // One more failure after its return is enough to leave it out again.
        endpoint.failures.store(FAILURES_TO_EJECT - 1, Ordering::Relaxed);
        true
    }

    /// The pool's figures.
    pub(crate) fn stats(&self, retired: bool, now: Duration) -> PoolStats {
        let sum = |work: Work| self.in_flight.iter().map(|slot| slot.of(work).value()).sum();
        PoolStats {
            service: self.service.clone(),
            color: self.color,
            generation: self.generation,
            retired,
            requests: sum(Work::Request),
            streams: sum(Work::Stream),
            endpoints: self.endpoints.iter().map(|endpoint| endpoint.stats(now)).collect(),
        }
    }
}

/// Failures in a row after which an endpoint is left out.
const FAILURES_TO_EJECT: u32 = 3;
/// How long it is left out the first time; doubled each time.
const BASE_EJECTION: Duration = Duration::from_secs(1);
/// 1 s doubled five times: 32 s at most.
const MAX_DOUBLINGS: u32 = 5;

/// One worker's gauges of one pool.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct InFlight {
    requests: Counter,
    streams: Counter,
}

impl InFlight {
    /// The gauge of one kind of work.
    pub(crate) fn of(&self, work: Work) -> &Counter {
        match work {
            Work::Request => &self.requests,
            Work::Stream => &self.streams,
        }
    }
}

/// One address of one container, and what the workers know of it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) id: EndpointId,
    pub(crate) address: SocketAddr,
    pub(crate) weight: u32,
    /// A fixed hash of the identity, for rendezvous hashing.
    pub(crate) seed: u64,
    up: AtomicBool,
    failures: AtomicU32,
    ejections: AtomicU32,
    ejected_until_ms: AtomicU64,
    loads: Vec<Arc<Counter>>,
}

impl Endpoint {
    fn new(spec: &EndpointSpec, workers: usize) -> Self {
        Self {
            id: spec.id.clone(),
            address: spec.address,
            weight: spec.weight.max(1),
            seed: fnv1a(spec.id.0.as_bytes()),
            up: AtomicBool::new(spec.up),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_until_ms: AtomicU64::new(0),
            loads: (0..workers).map(|_| Arc::default()).collect(),
        }
    }

    fn is(&self, spec: &EndpointSpec) -> bool {
        self.id == spec.id && self.address == spec.address && self.weight == spec.weight.max(1)
    }

    /// Whether the probes find it ready.
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Whether it is left out for now.
    pub(crate) fn is_ejected(&self, now: Duration) -> bool {
        let until = self.ejected_until_ms.load(Ordering::Relaxed);
        until != 0 && millis(now) < until
    }

    /// Takes note of an answer: failures count in a row only.
    pub(crate) fn note_success(&self) {
        // Read first: the line stays shared between the cores while all is well.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.ejections.store(0, Ordering::Relaxed);
        }
    }

    /// A worker's gauge of leases.
    pub(crate) fn load(&self, worker: usize) -> Arc<Counter> {
        self.loads.get(worker).cloned().unwrap_or_default()
    }

    /// Leases of all workers.
    pub(crate) fn total_load(&self) -> u64 {
        self.loads.iter().map(|load| load.value()).sum()
    }

    fn stats(&self, now: Duration) -> EndpointStats {
        EndpointStats {
            id: self.id.clone(),
            address: self.address,
            ejected: self.is_ejected(now),
            in_flight: self.total_load(),
        }
    }
}

/// FNV-1a, 64 bit: short keys, the same in every process and version.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(endpoints: usize) -> Pool {
        let specs: Vec<_> = (1..=endpoints).map(spec).collect();
        Pool::new(&"web".parse().unwrap(), Color::Blue, Generation(1), &specs, None, 1)
    }

    fn spec(number: usize) -> EndpointSpec {
        EndpointSpec {
            id: EndpointId::from(format!("c{number}").as_str()),
            address: format!("10.0.0.{number}:80").parse().unwrap(),
            weight: 1,
            up: true,
        }
    }

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn an_endpoint_is_left_out_after_three_failures_in_a_row() {
        let pool = pool(2);
        let endpoint = &pool.endpoints[0];
        assert!(!pool.note_failure(endpoint, NOW));
        assert!(!pool.note_failure(endpoint, NOW));
        endpoint.note_success();
        assert!(!pool.note_failure(endpoint, NOW));
        assert!(!pool.note_failure(endpoint, NOW));
        assert!(pool.note_failure(endpoint, NOW));
        assert!(endpoint.is_ejected(NOW));
        assert!(!endpoint.is_ejected(NOW + BASE_EJECTION));
    }

    #[test]
    fn the_last_endpoint_is_never_left_out() {
        let pool = pool(1);
        for _ in 0..10 {
            assert!(!pool.note_failure(&pool.endpoints[0], NOW));
        }
    }

    #[test]
    fn at_most_half_of_a_pool_is_left_out() {
        let pool = pool(4);
        for endpoint in &pool.endpoints {
            for _ in 0..5 {
                pool.note_failure(endpoint, NOW);
            }
        }
        assert_eq!(pool.ejected(NOW), 2);
    }

    #[test]
    fn each_ejection_lasts_twice_as_long_as_the_one_before() {
        let pool = pool(2);
        let endpoint = &pool.endpoints[0];
        for _ in 0..3 {
            pool.note_failure(endpoint, NOW);
        }
        let back = NOW + BASE_EJECTION;
        assert!(pool.note_failure(endpoint, back), "one failure after its return is enough");
        assert!(endpoint.is_ejected(back + BASE_EJECTION));
        assert!(!endpoint.is_ejected(back + BASE_EJECTION * 2));
    }

    #[test]
    fn a_changed_pool_keeps_what_is_known_of_its_endpoints() {
        let old = pool(2);
        let specs: Vec<_> = [2, 3].map(spec).into();
        let name = "web".parse().unwrap();
        let new = Pool::new(&name, Color::Blue, Generation(2), &specs, Some(&old), 1);
        assert!(Arc::ptr_eq(&old.endpoints[1], &new.endpoints[0]));
        assert!(!old.matches(&specs));
        assert!(new.matches(&specs));
    }
}
