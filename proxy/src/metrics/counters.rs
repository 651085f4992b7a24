//! What the workers count, and how the numbers become a [`Snapshot`](crate::table::Snapshot).
//!
//! Every worker writes its own slots and nobody else's, with plain loads and stores: no counter on
//! the way of a request is shared between cores. A snapshot adds the slots up.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;

use crate::metrics::labels::{Label, labels};
use crate::table::{Color, ColorStats, DURATION_BUCKETS, ServiceName, ServiceStats};

/// A number that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`; only the owning thread may.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        // One writer: a load and a store are enough, and cost no locked instruction.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes `n` off; only the owning thread may.
    #[inline]
    pub(crate) fn sub(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    /// The value now.
    #[inline]
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One counter for each value of a label.
pub(crate) struct Counts<L> {
    counters: Box<[Counter]>,
    label: PhantomData<L>,
}

impl<L: Label> Counts<L> {
    /// Counts one.
    #[inline]
    pub(crate) fn count(&self, label: L) {
        if let Some(counter) = self.counters.get(label.index()) {
            counter.add(1);
        }
    }

    /// Adds what was counted to `sums`, zeros too: a counter that appears with its first event has
    /// no rate at that event.
    pub(crate) fn add_to(&self, sums: &mut BTreeMap<String, u64>) {
        self.add_some_to(sums, |_| true);
    }

    /// Adds what was counted of some labels, zeros too.
    pub(crate) fn add_some_to(&self, sums: &mut BTreeMap<String, u64>, wanted: fn(L) -> bool) {
        let counters = L::ALL.iter().zip(&self.counters);
        for (label, counter) in counters.filter(|(label, _)| wanted(**label)) {
            *sums.entry(label.as_str().to_owned()).or_default() += counter.value();
        }
    }
}

impl<L: Label> Default for Counts<L> {
    fn default() -> Self {
        Self { counters: L::ALL.iter().map(|_| Counter::default()).collect(), label: PhantomData }
    }
}

impl<L> fmt::Debug for Counts<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.counters.iter().map(Counter::value)).finish()
    }
}

labels! {
    /// How an upstream failed.
    pub(crate) enum UpstreamError {
        /// It closed or reset the connection before it answered.
        Closed => "closed",
        /// It refused the connection or could not be reached.
        ConnectFailed => "connect_failed",
        /// It did not accept in time.
        ConnectTimeout => "connect_timeout",
        /// Its answer was not valid HTTP.
        Malformed => "malformed",
        /// It did not answer in time.
        Timeout => "timeout",
        /// Its answer ended before its end.
        Truncated => "truncated",
    }
}

labels! {
    /// Why a request was sent again.
    pub(crate) enum Retry {
        /// The connection closed before it answered; the request is safe to resend.
        Closed => "closed",
        /// No connection could be made; nothing was sent.
        ConnectFailed => "connect_failed",
        /// The answer was no valid HTTP; the request is safe to resend.
        Malformed => "malformed",
        /// A pooled connection had been closed by the upstream; nothing was lost.
        Stale => "stale",
        /// An endpoint did not answer in time; the request is safe to resend.
        Timeout => "timeout",
    }
}

labels! {
    /// What a lease is held for.
    pub(crate) enum Work {
        /// A request with an end in sight.
        Request => "request",
        /// An upgraded connection, an open-ended response or a long transfer.
        Stream => "stream",
    }
}

/// Counters by status code, 100 to 599.
pub(crate) struct Statuses(Box<[Counter]>);

impl Statuses {
    /// Counts one answer.
    #[inline]
    pub(crate) fn count(&self, status: StatusCode) {
        let index = usize::from(status.as_u16()).wrapping_sub(FIRST_STATUS);
        if let Some(counter) = self.0.get(index) {
            counter.add(1);
        }
    }

    fn add_to(&self, sums: &mut BTreeMap<u16, u64>) {
        for (status, counter) in (100_u16..).zip(&self.0) {
            let value = counter.value();
            if value > 0 {
                *sums.entry(status).or_default() += value;
            }
        }
    }
}

const FIRST_STATUS: usize = 100;

impl Default for Statuses {
    fn default() -> Self {
        Self((FIRST_STATUS..600).map(|_| Counter::default()).collect())
    }
}

impl fmt::Debug for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statuses").finish_non_exhaustive()
    }
}

/// One worker's figures of one color of one service.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ColorSlot {
    pub(crate) statuses: Statuses,
    durations: [Counter; DURATION_BUCKETS.len() + 1],
    duration_sum_us: Counter,
    /// What the app took of it.
    answers: [Counter; DURATION_BUCKETS.len() + 1],
    pub(crate) bytes_up: Counter,
    pub(crate) bytes_down: Counter,
    pub(crate) errors: Counts<UpstreamError>,
    pub(crate) forced: Counts<Work>,
}

impl ColorSlot {
    /// Counts a finished request.
    pub(crate) fn finish(&self, status: StatusCode, took: Duration) {
        self.statuses.count(status);
        let micros = micros(took);
        count(&self.durations, micros);
        self.duration_sum_us.add(micros);
    }

    /// Counts an answer of the app: what it took from the last byte of the request to its head.
    pub(crate) fn answered(&self, took: Duration) {
        count(&self.answers, micros(took));
    }

    fn add_to(&self, sums: &mut ColorStats) {
        self.statuses.add_to(&mut sums.requests);
        sums.duration_counts.resize(self.durations.len(), 0);
        for (sum, counter) in sums.duration_counts.iter_mut().zip(&self.durations) {
            *sum += counter.value();
        }
        sums.answer_counts.resize(self.answers.len(), 0);
        for (sum, counter) in sums.answer_counts.iter_mut().zip(&self.answers) {
            *sum += counter.value();
        }
        sums.duration_sum_us += self.duration_sum_us.value();
        sums.bytes_up += self.bytes_up.value();
        sums.bytes_down += self.bytes_down.value();
        self.errors.add_to(&mut sums.upstream_errors);
        self.forced.add_to(&mut sums.forced);
    }
}

/// In 64 bits: requests come by here.
fn micros(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(time.subsec_micros()))
}

fn count(buckets: &[Counter], micros: u64) {
    let bucket = DURATION_BUCKETS.partition_point(|bound| *bound < micros);
    if let Some(counter) = buckets.get(bucket) {
        counter.add(1);
    }
}

/// One worker's figures of one service.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ServiceSlot {
    pub(crate) retries: Counts<Retry>,
    pub(crate) held: Counter,
    pub(crate) waiting: Counter,
    pub(crate) unserved: Statuses,
}

/// Every worker's figures of one service.
#[derive(Debug)]
pub(crate) struct ServiceCounters {
    slots: Vec<Arc<ServiceSlot>>,
    colors: [Vec<Arc<ColorSlot>>; 2],
}

impl ServiceCounters {
    fn new(workers: usize) -> Self {
        Self { slots: per_worker(workers), colors: [per_worker(workers), per_worker(workers)] }
    }

    /// The slot of a worker.
    pub(crate) fn slot(&self, worker: usize) -> Arc<ServiceSlot> {
        self.slots.get(worker).cloned().unwrap_or_default()
    }

    /// The slot of a worker for one color.
    pub(crate) fn color_slot(&self, color: Color, worker: usize) -> Arc<ColorSlot> {
        let [blue, green] = &self.colors;
        let slots = match color {
            Color::Blue => blue,
            Color::Green => green,
        };
        slots.get(worker).cloned().unwrap_or_default()
    }

    /// Requests that wait now, over all workers.
    pub(crate) fn waiting(&self) -> u64 {
        self.slots.iter().map(|slot| slot.waiting.value()).sum()
    }

    fn stats(&self, name: &ServiceName) -> ServiceStats {
        let mut stats = ServiceStats { name: name.as_str().to_owned(), ..Default::default() };
        for slot in &self.slots {
            slot.retries.add_to(&mut stats.retries);
            stats.held += slot.held.value();
            slot.unserved.add_to(&mut stats.unserved);
        }
        stats.waiting = self.waiting();
        for (color, slots) in Color::ALL.into_iter().zip(&self.colors) {
            let mut sums = ColorStats { color: color.as_str().to_owned(), ..Default::default() };
            for slot in slots {
                slot.add_to(&mut sums);
            }
            stats.colors.push(sums);
        }
        stats
    }
}

fn per_worker<T: Default>(workers: usize) -> Vec<Arc<T>> {
    (0..workers).map(|_| Arc::default()).collect()
}

/// The counters of every service that ever was in a table; they outlive tables and pools.
#[derive(Debug)]
pub(crate) struct Registry {
    workers: usize,
    // Taken when a table is compiled and when a snapshot is made, never by a request.
    services: Mutex<BTreeMap<ServiceName, Arc<ServiceCounters>>>,
}

impl Registry {
    /// An empty registry for this many workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self { workers, services: Mutex::default() }
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    /// The counters of a service, made on first use.
    pub(crate) fn service(&self, name: &ServiceName) -> Arc<ServiceCounters> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = services
            .entry(name.clone())
            .or_insert_with(|| Arc::new(ServiceCounters::new(self.workers)));
        Arc::clone(counters)
    }

    /// The sums, by service name.
    pub(crate) fn stats(&self) -> Vec<ServiceStats> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.iter().map(|(name, counters)| counters.stats(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_all_workers_add_up() {
        let registry = Registry::new(3);
        let counters = registry.service(&"web".parse().unwrap());
        for worker in 0..3 {
            let slot = counters.color_slot(Color::Green, worker);
            slot.finish(StatusCode::OK, Duration::from_micros(500));
            slot.finish(StatusCode::BAD_GATEWAY, Duration::from_secs(60));
            counters.slot(worker).retries.count(Retry::Stale);
        }
        let stats = registry.stats().remove(0);
        let counted: Vec<_> = stats.retries.iter().filter(|(_, n)| **n > 0).collect();
        assert_eq!(counted, [(&"stale".to_owned(), &3)]);
        assert_eq!(stats.retries.len(), Retry::ALL.len());
        let [blue, green] = stats.colors.as_slice() else { panic!("two colors") };
        assert!(blue.requests.is_empty());
        assert_eq!(green.requests, BTreeMap::from([(200, 3), (502, 3)]));
        assert_eq!(green.duration_counts.first(), Some(&3), "the bound is inclusive");
        assert_eq!(green.duration_counts.last(), Some(&3));
    }
}
