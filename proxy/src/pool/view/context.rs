//! What a request keeps of its service.

use std::sync::Arc;

use crate::metrics::counters::{ServiceCounters, ServiceSlot};
use crate::pool::compile::{Service, Settings};
use crate::pool::retry_budget::RetryBudget;
use crate::time::ticks;

/// The settings and figures of a service, as one worker's requests keep them beyond the table that
/// they came with. It leads to no pool.
#[derive(Debug)]
pub(crate) struct ServiceContext {
    pub(crate) settings: Arc<Settings>,
    pub(crate) counters: Arc<ServiceCounters>,
    pub(crate) slot: Arc<ServiceSlot>,
    pub(crate) retries: RetryBudget,
}

impl ServiceContext {
    /// That of `service` for one worker.
    pub(crate) fn new(service: &Service, worker: usize) -> Self {
        Self {
            settings: Arc::clone(&service.settings),
            counters: Arc::clone(&service.counters),
            slot: service.counters.slot(worker),
            retries: RetryBudget::default(),
        }
    }

    /// The tick since which a connection may have been idle and still be used.
    pub(crate) fn oldest_idle(&self, now: u64) -> u64 {
        now.saturating_sub(ticks(self.settings.timeouts.upstream_idle))
    }
}
