//! Time as JSON, the journal and orders to a child hold it: whole milliseconds.

use std::time::Duration;

/// A length of time in whole milliseconds; what is longer than they can tell is the most they can.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
