//! A worker's side of a pool.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::endpoint::EndpointView;
use crate::metrics::counters::{ColorSlot, ServiceCounters};
use crate::pool::in_flight::InFlight;
use crate::pool::pool::Pool;

/// One worker's hold on a pool. It ends with the view that names it, or with its last lease.
#[derive(Debug)]
pub(crate) struct PoolView {
    /// What all workers share.
    pub(crate) shared: Arc<Pool>,
    pub(crate) endpoints: Vec<Rc<EndpointView>>,
    /// Where `round_robin` goes on.
    pub(crate) cursor: Cell<usize>,
    /// What `weighted` owes each endpoint.
    pub(crate) credits: RefCell<Vec<i64>>,
    pub(crate) slot: Arc<ColorSlot>,
    /// This worker's gauges.
    pub(crate) in_flight: Arc<InFlight>,
}

impl PoolView {
    /// The view of a pool that is new to `worker`. Endpoints that `old` has too are taken over with
    /// their idle connections.
    pub(crate) fn new(
        shared: &Arc<Pool>,
        counters: &ServiceCounters,
        old: Option<&Self>,
        worker: usize,
    ) -> Self {
        let old = old.into_iter().flat_map(|old| &old.endpoints);
        let known: HashMap<_, _> = old.map(|old| (Arc::as_ptr(&old.shared), old)).collect();
        let view = |endpoint| match known.get(&Arc::as_ptr(endpoint)) {
            Some(known) => Rc::clone(known),
            None => Rc::new(EndpointView::new(endpoint, worker)),
        };
        let endpoints: Vec<_> = shared.endpoints.iter().map(view).collect();
        Self {
            shared: Arc::clone(shared),
            credits: RefCell::new(vec![0; endpoints.len()]),
            cursor: Cell::new(worker),
            slot: counters.color_slot(shared.color, worker),
            in_flight: shared.in_flight(worker),
            endpoints,
        }
    }
}
