//! How many tests run at once: they share an engine and a few processors.

use std::sync::{Condvar, Mutex, PoisonError};

/// A place among the tests that run now; given back when dropped.
#[derive(Debug)]
pub struct Permit(());

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();
/// Without `CUTOVER_TESTS_AT_ONCE`.
const AT_ONCE: usize = 3;

impl Permit {
    /// Waits until there is a place.
    #[must_use]
    pub fn take() -> Self {
        let limit = std::env::var("CUTOVER_TESTS_AT_ONCE").ok().and_then(|n| n.parse().ok());
        let limit: usize = limit.unwrap_or(AT_ONCE).max(1);
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let running = ENDED.wait_while(running, |running| *running >= limit);
        *running.unwrap_or_else(PoisonError::into_inner) += 1;
        Self(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}
