//! What the workers share, and the figures that each of them keeps.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use super::admission::Limiter;
use crate::message::reason::Reason;
use crate::metrics::access_log;
use crate::metrics::counters::{Counter, Counts, Registry};
use crate::pool::compile::Table;
use crate::table::Snapshot;

/// What all workers share. A request touches none of it but the table pointer.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) table: ArcSwap<Table>,
    pub(crate) registry: Registry,
    pub(crate) access_log: access_log::Sender,
    pub(crate) started: Instant,
    pub(crate) trim: Option<fn()>,
    pub(crate) slots: Vec<Arc<WorkerSlot>>,
    pub(crate) limiter: Arc<Limiter>,
    /// The listeners, in the order of their gauges.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Shared {
    /// Open client connections by listener.
    pub(crate) fn connections(&self) -> BTreeMap<String, u64> {
        let open = |index| self.slots.iter().filter_map(move |slot| slot.connections.get(index));
        let addresses = self.addresses.iter().enumerate();
        addresses
            .map(|(index, address)| (address.to_string(), open(index).map(Counter::value).sum()))
            .collect()
    }
}

/// One worker's figures that belong to no service.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WorkerSlot {
    pub(crate) panics: Counter,
    pub(crate) access_log_dropped: Counter,
    /// Requests that no service has in its figures ([`Reason::is_unrouted`]).
    pub(crate) rejections: Counts<Reason>,
    /// Open client connections, by listener.
    pub(crate) connections: Box<[Counter]>,
}

impl WorkerSlot {
    /// Zeros, with a gauge for each listener.
    pub(crate) fn new(listeners: usize) -> Self {
        let connections = (0..listeners).map(|_| Counter::default()).collect();
        Self { connections, ..Self::default() }
    }

    /// Adds these figures to those of the other workers.
    pub(crate) fn add_to(&self, snapshot: &mut Snapshot) {
        snapshot.panics += self.panics.value();
        snapshot.access_log_dropped += self.access_log_dropped.value();
        self.rejections.add_some_to(&mut snapshot.rejected, Reason::is_unrouted);
    }
}
