//! The time of day on a simulated host. It goes with the paused time of the runtime of this thread.

use std::cell::Cell;
use std::time::SystemTime;

use tokio::time::Instant;

thread_local! {
    static SET: Cell<Option<(Instant, SystemTime)>> = const { Cell::new(None) };
}

/// From now on it is this time, on this thread.
pub(crate) fn set(now: SystemTime) {
    SET.set(Some((Instant::now(), now)));
}

/// It is that of the machine again.
pub(crate) fn unset() {
    SET.set(None);
}

/// What time it is, where one has been set.
pub(crate) fn now() -> Option<SystemTime> {
    SET.get().map(|(at, then)| then + at.elapsed())
}
