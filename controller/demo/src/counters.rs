//! What the clients and the flips have come to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cutover_proxy::table::Color;
use tokio::time::Instant;

use crate::latency::Latency;

/// When what happens: some quiet time, flips, quiet time again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeline {
    pub(super) flips_from: Instant,
    pub(super) flips_until: Instant,
    pub(super) end: Instant,
}

impl Timeline {
    pub(super) fn starting_now(whole: Duration) -> Self {
        let now = Instant::now();
        Self { flips_from: now + whole / 8, flips_until: now + whole / 8 * 7, end: now + whole }
    }

    fn phase_of(&self, instant: Instant) -> usize {
        usize::from(instant >= self.flips_from) + usize::from(instant >= self.flips_until)
    }
}

/// The counts; every client holds on to the same.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) timeline: Timeline,
    posts_sent: AtomicU64,
    /// Short: one record per request, all on one thread.
    counts: Mutex<Counts>,
}

/// What a report is made of.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Answered as they should be, blue first.
    pub(super) by_color: [u64; 2],
    /// Requests, streams and flips that were not.
    pub(super) failed: u64,
    /// WebSocket and event streams that ended as they should.
    pub(super) streams: u64,
    /// Messages and events that came through on them.
    pub(super) messages: u64,
    /// What each flip took, as told by Cutover.
    pub(super) flips: Vec<Duration>,
    /// Before, during and after the flips, by the request's beginning.
    pub(super) latency: [Latency; 3],
    /// Why, for the first few.
    pub(super) failures: Vec<String>,
}

/// How many failures are told in full.
const TOLD_FAILURES: usize = 10;

impl Counters {
    pub(super) fn new(timeline: Timeline) -> Self {
        Self { timeline, posts_sent: AtomicU64::new(0), counts: Mutex::default() }
    }

    /// A number for a POST, used once.
    pub(super) fn next_post(&self) -> u64 {
        self.posts_sent.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn posts_sent(&self) -> u64 {
        self.posts_sent.load(Ordering::Relaxed)
    }

    pub(super) fn answered(&self, color: Color, started: Instant) {
        let phase = self.timeline.phase_of(started);
        let mut counts = self.counts();
        if let Some(count) = counts.by_color.get_mut(color.index()) {
            *count += 1;
        }
        if let Some(latency) = counts.latency.get_mut(phase) {
            latency.record(started.elapsed());
        }
    }

    pub(super) fn streamed(&self, messages: u64) {
        let mut counts = self.counts();
        counts.streams += 1;
        counts.messages += messages;
    }

    pub(super) fn flipped(&self, took: Duration) {
        self.counts().flips.push(took);
    }

    pub(super) fn failed(&self, why: String) {
        let mut counts = self.counts();
        counts.failed += 1;
        if counts.failures.len() < TOLD_FAILURES {
            counts.failures.push(why);
        }
    }

    pub(super) fn first_failures(&self) -> Vec<String> {
        self.counts().failures.clone()
    }

    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
