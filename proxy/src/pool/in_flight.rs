//! What is in flight on a pool, as one worker counts it.

use crate::metrics::counters::{Counter, Work};

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
