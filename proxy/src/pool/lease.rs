//! A request's hold on a pool.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::metrics::counters::Work;
use crate::pool::view::context::ServiceContext;
use crate::pool::view::endpoint::EndpointView;
use crate::pool::view::pool::PoolView;
use crate::upstream::Connection;

/// A request's hold on a pool and an endpoint of it, until its last byte.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) pool: Rc<PoolView>,
    pub(crate) endpoint: Rc<EndpointView>,
    pub(crate) service: Rc<ServiceContext>,
    work: Cell<Work>,
}

impl Lease {
    /// Takes hold.
    pub(crate) fn new(
        service: &Rc<ServiceContext>,
        pool: &Rc<PoolView>,
        endpoint: Rc<EndpointView>,
    ) -> Self {
        pool.in_flight.of(Work::Request).add(1);
        endpoint.load.add(1);
        Self {
            pool: Rc::clone(pool),
            endpoint,
            service: Rc::clone(service),
            work: Cell::new(Work::Request),
        }
    }

    /// From now on a stream, with the deadline of streams.
    pub(crate) fn become_stream(&self) {
        if self.work.replace(Work::Stream) == Work::Request {
            self.pool.in_flight.of(Work::Request).sub(1);
            self.pool.in_flight.of(Work::Stream).add(1);
        }
    }

    /// Whether a drain deadline wants this lease to end now.
    pub(crate) fn is_hung_up(&self) -> bool {
        self.pool.shared.is_hung_up(self.work.get())
    }

    /// Counts this lease as ended by force.
    pub(crate) fn note_forced(&self) {
        self.pool.slot.forced.count(self.work.get());
    }

    /// Counts a failure against the endpoint, which is left out for a while when that repeats.
    pub(crate) fn note_failure(&self, now: Duration) {
        self.pool.shared.note_failure(&self.endpoint.shared, now);
    }

    /// An idle connection that is fit for use, the youngest first. `now` is in ticks.
    pub(crate) fn take_idle(&self, now: u64) -> Option<Box<Connection>> {
        self.endpoint.idle.take(self.service.oldest_idle(now))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.in_flight.of(self.work.get()).sub(1);
        self.endpoint.load.sub(1);
    }
}
