//! The places at which a test can stop the controller for good.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

/// Numbers every place that work comes by, and stops it at one of them. Clones share the numbers.
///
/// Once stopped, whatever comes by any place waits for ever: a process that was killed does nothing
/// any more. The test then drops the controller, calls [`CrashPoints::reset`], and starts another.
#[derive(Clone, Default)]
pub(crate) struct CrashPoints {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    passed: Mutex<Passed>,
    reached: Notify,
}

#[derive(Default)]
struct Passed {
    places: Vec<String>,
    stop_at: Option<usize>,
    stopped: bool,
}

impl CrashPoints {
    /// Comes by a place; never returns if this is the one, or it has been reached.
    pub(crate) async fn point(&self, place: impl Into<String>) {
        let stopped = {
            let mut passed = self.passed();
            if !passed.stopped {
                passed.places.push(place.into());
                passed.stopped = passed.stop_at == Some(passed.places.len());
            }
            passed.stopped
        };
        if stopped {
            self.inner.reached.notify_waiters();
            std::future::pending::<()>().await;
        }
    }

    /// Stops at this place, the first being 1, counted from the last [`CrashPoints::reset`].
    pub(crate) fn stop_at(&self, number: usize) {
        self.passed().stop_at = Some(number);
    }

    /// Forgets all numbers, and stops nowhere.
    pub(crate) fn reset(&self) {
        *self.passed() = Passed::default();
    }

    /// The places passed so far, in order: what a failing test prints.
    pub(crate) fn places(&self) -> Vec<String> {
        self.passed().places.clone()
    }

    /// Whether the place has been reached.
    pub(crate) fn is_stopped(&self) -> bool {
        self.passed().stopped
    }

    /// Waits until the place has been reached.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn stopped(&self) {
        loop {
            let reached = self.inner.reached.notified();
            if self.is_stopped() {
                return;
            }
            reached.await;
        }
    }

    fn passed(&self) -> MutexGuard<'_, Passed> {
        self.inner.passed.lock().unwrap()
    }
}

impl fmt::Debug for CrashPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.passed();
        f.debug_struct("CrashPoints")
            .field("passed", &passed.places.len())
            .field("stop_at", &passed.stop_at)
            .finish()
    }
}
