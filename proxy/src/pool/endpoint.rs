//! An endpoint: one address of one container, as all workers share it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::metrics::counters::Counter;
use crate::pool::hash::fnv1a;
use crate::table::{EndpointId, EndpointSpec, EndpointStats};

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
    /// An endpoint of which nothing is known but its spec.
    pub(crate) fn new(spec: &EndpointSpec, workers: usize) -> Self {
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

    /// Whether it is what `spec` describes, but for health.
    pub(crate) fn is(&self, spec: &EndpointSpec) -> bool {
        self.id == spec.id && self.address == spec.address && self.weight == spec.weight.max(1)
    }

    /// Whether the probes find it ready.
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Takes over what the probes found.
    pub(crate) fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
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

    /// Takes note of a failure. Returns whether there were so many in a row that it is to be left
    /// out.
    pub(crate) fn note_failure(&self) -> bool {
        self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_TO_EJECT
    }

    /// Leaves it out for a while, twice as long as the last time.
    pub(crate) fn eject(&self, now: Duration) {
        let times = self.ejections.fetch_add(1, Ordering::Relaxed).min(MAX_DOUBLINGS);
        let until = now + BASE_EJECTION * (1 << times);
        self.ejected_until_ms.store(millis(until), Ordering::Relaxed);
        // One more failure after its return is enough to leave it out again.
        self.failures.store(FAILURES_TO_EJECT - 1, Ordering::Relaxed);
    }

    /// A worker's gauge of leases.
    pub(crate) fn load(&self, worker: usize) -> Arc<Counter> {
        self.loads.get(worker).cloned().unwrap_or_default()
    }

    /// Leases of all workers.
    pub(crate) fn total_load(&self) -> u64 {
        self.loads.iter().map(|load| load.value()).sum()
    }

    /// The endpoint's figures.
    pub(crate) fn stats(&self, now: Duration) -> EndpointStats {
        EndpointStats {
            id: self.id.clone(),
            address: self.address,
            ejected: self.is_ejected(now),
            in_flight: self.total_load(),
        }
    }
}

/// Failures in a row after which an endpoint is left out.
const FAILURES_TO_EJECT: u32 = 3;
/// How long it is left out the first time; doubled each time.
pub(crate) const BASE_EJECTION: Duration = Duration::from_secs(1);
/// 1 s doubled five times: 32 s at most.
const MAX_DOUBLINGS: u32 = 5;

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
