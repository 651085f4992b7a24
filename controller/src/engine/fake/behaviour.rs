//! What the program in an image does.

use std::time::Duration;

/// How the containers of an image behave.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Behaviour {
    /// From its start until it answers; `None` is never.
    pub ready_after: Option<Duration>,
    /// What it answers with then.
    pub status: u16,
    /// From its start until it ends by itself, and its exit code.
    pub dies_after: Option<(Duration, i64)>,
    /// From its stop signal until it ends; `None` ignores the signal.
    pub stops_after: Option<Duration>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            ready_after: Some(Duration::from_millis(100)),
            status: 200,
            dies_after: None,
            stops_after: Some(Duration::from_millis(20)),
        }
    }
}

/// What one gets who connects to an address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// A container answers, with this status.
    Status {
        /// Its ID.
        container: String,
        /// The status of its answer.
        status: u16,
    },
    /// Nobody listens there.
    Refused,
    /// A container that is paused: the connection is made, and nothing comes.
    Silent,
}
