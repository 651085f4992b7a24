//! A worker's side of an endpoint.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::metrics::counters::Counter;
use crate::pool::endpoint::Endpoint;
use crate::pool::idle::IdleConnections;
use crate::pool::ramp::Trials;

/// One worker's view of one endpoint: its idle connections, and those on trial.
#[derive(Debug)]
pub(crate) struct EndpointView {
    /// What all workers share.
    pub(crate) shared: Arc<Endpoint>,
    pub(crate) trials: Rc<Trials>,
    /// This worker's leases.
    pub(crate) load: Arc<Counter>,
    pub(crate) idle: IdleConnections,
    retired: Cell<bool>,
}

impl EndpointView {
    /// The view of an endpoint that is new to `worker`.
    pub(crate) fn new(shared: &Arc<Endpoint>, worker: usize) -> Self {
        Self {
            shared: Arc::clone(shared),
            trials: Rc::default(),
            load: shared.load(worker),
            idle: IdleConnections::default(),
            retired: Cell::new(false),
        }
    }

    /// Whether the live table does not name this endpoint any more: then its idle connections have
    /// been closed, and those in use are when they are given back.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// Called by each new view, for what the live table names and what it does not name any more.
    pub(crate) fn set_retired(&self, retired: bool) {
        self.retired.set(retired);
    }
}
