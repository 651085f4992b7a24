//! A pool: the object that a table names and that requests hold on to.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::metrics::counters::Work;
use crate::pool::endpoint::Endpoint;
use crate::pool::in_flight::InFlight;
use crate::table::{Color, EndpointSpec, Generation, Hangup, PoolSpec, PoolStats, ServiceName};

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
    /// A pool of which nothing is known but its spec.
    pub(crate) fn new(
        service: &ServiceName,
        spec: &PoolSpec,
        generation: Generation,
        workers: usize,
    ) -> Self {
        let endpoint = |spec| Arc::new(Endpoint::new(spec, workers));
        Self {
            service: service.clone(),
            color: spec.color,
            generation,
            endpoints: spec.endpoints.iter().map(endpoint).collect(),
            in_flight: (0..workers).map(|_| Arc::default()).collect(),
            hangup: AtomicU8::new(0),
        }
    }

    /// The pool that takes the place of this one; endpoints that both have are taken over with what
    /// is known of them.
    pub(crate) fn successor(&self, spec: &PoolSpec, generation: Generation) -> Self {
        let known = self.endpoints.iter();
        let known: HashMap<_, _> = known.map(|known| ((&known.id, known.address), known)).collect();
        let workers = self.in_flight.len();
        let endpoint = |spec: &EndpointSpec| match known.get(&(&spec.id, spec.address)) {
            Some(known) if known.is(spec) => Arc::clone(known),
            _ => Arc::new(Endpoint::new(spec, workers)),
        };
        let none = PoolSpec { color: spec.color, weight: spec.weight, endpoints: Vec::new() };
        Self {
            endpoints: spec.endpoints.iter().map(endpoint).collect(),
            ..Self::new(&self.service, &none, generation, workers)
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
            endpoint.set_up(spec.up);
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
    pub(crate) fn note_failure(&self, endpoint: &Endpoint, now: Duration) {
        if endpoint.note_failure()
            && !endpoint.is_ejected(now)
            && self.ejected(now) < self.endpoints.len() / 2
        {
            endpoint.eject(now);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::endpoint::BASE_EJECTION;
    use crate::table::EndpointId;

    fn pool(endpoints: usize) -> Pool {
        let spec = blue((1..=endpoints).map(spec).collect());
        Pool::new(&"web".parse().unwrap(), &spec, Generation(1), 1)
    }

    fn blue(endpoints: Vec<EndpointSpec>) -> PoolSpec {
        PoolSpec { color: Color::Blue, weight: 1, endpoints }
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
        let fail = || {
            pool.note_failure(endpoint, NOW);
            endpoint.is_ejected(NOW)
        };
        assert_eq!([fail(), fail()], [false, false]);
        endpoint.note_success();
        assert_eq!([fail(), fail(), fail()], [false, false, true]);
        assert!(!endpoint.is_ejected(NOW + BASE_EJECTION));
    }

    #[test]
    fn the_last_endpoint_is_never_left_out() {
        let pool = pool(1);
        for _ in 0..10 {
            pool.note_failure(&pool.endpoints[0], NOW);
        }
        assert!(!pool.endpoints[0].is_ejected(NOW));
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
        assert!(!endpoint.is_ejected(back));
        pool.note_failure(endpoint, back);
        assert!(endpoint.is_ejected(back), "one failure after its return is enough");
        assert!(endpoint.is_ejected(back + BASE_EJECTION));
        assert!(!endpoint.is_ejected(back + BASE_EJECTION * 2));
    }

    #[test]
    fn a_changed_pool_keeps_what_is_known_of_its_endpoints() {
        let old = pool(2);
        let spec = blue([2, 3].map(spec).into());
        let new = old.successor(&spec, Generation(2));
        assert!(Arc::ptr_eq(&old.endpoints[1], &new.endpoints[0]));
        assert!(!old.matches(&spec.endpoints));
        assert!(new.matches(&spec.endpoints));
    }
}
