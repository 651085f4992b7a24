//! The time of day, for what must be known after a restart. Everything else goes by
//! `tokio::time::Instant`.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::millis::millis;

/// The time of day; in a simulation that of the simulated host.
pub(crate) fn now() -> SystemTime {
    #[cfg(test)]
    if let Some(now) = crate::testing::host_clock::now() {
        return now;
    }
    SystemTime::now()
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    now().duration_since(UNIX_EPOCH).map(millis).unwrap_or_default()
}
