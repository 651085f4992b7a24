//! Waiting for conditions, with a deadline.

use std::time::{Duration, Instant};

/// Long enough for a loaded machine; every wait ends as soon as it may.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a condition, but not for ever.
///
/// # Panics
/// When it does not hold within a minute.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        pause();
    }
}

/// The pause of a loop that waits for a condition.
pub fn pause() {
    std::thread::park_timeout(Duration::from_millis(10));
}
