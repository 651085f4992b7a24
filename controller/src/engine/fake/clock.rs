//! Time since the engine's start, over several runtimes.

use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Instants of two runtimes with paused time cannot be compared, so the engine counts its own time.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The moment when it was attached, and the engine's time then.
    base: Mutex<Option<(Instant, Duration)>>,
    /// The last time that anybody was told.
    last: Mutex<Duration>,
}

impl Clock {
    /// Goes on in the current runtime.
    pub(super) fn attach(&self) {
        let last = *self.last.lock().unwrap();
        *self.base.lock().unwrap() = Some((Instant::now(), last));
    }

    /// Stands still from now on, for the current runtime ends.
    pub(super) fn detach(&self) {
        self.now();
        *self.base.lock().unwrap() = None;
    }

    /// Time since the engine's start.
    pub(super) fn now(&self) -> Duration {
        let Some((instant, then)) = *self.base.lock().unwrap() else {
            return *self.last.lock().unwrap();
        };
        let now = then + instant.elapsed();
        *self.last.lock().unwrap() = now;
        now
    }

    /// When a time of the engine's is, in the current runtime.
    pub(super) fn instant(&self, at: Duration) -> Instant {
        let (instant, then) = self.base.lock().unwrap().unwrap();
        instant + at.saturating_sub(then)
    }
}

/// The date at a time of the engine's.
pub(super) fn date(at: Duration) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000) + at
}
