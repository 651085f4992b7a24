//! The proof without which no container is stopped.

use serde::{Deserialize, Serialize};

/// The containers it was made for have nothing in flight, or their time is up.
///
/// Only the rollout makes one, out of what its state machine says of a set; a test sees to that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drained {
    rest: Rest,
}

impl Drained {
    pub(crate) fn new(rest: Rest) -> Self {
        Self { rest }
    }

    /// Why the containers may be stopped.
    #[must_use]
    pub(crate) fn rest(&self) -> Rest {
        self.rest
    }
}

/// Why a set may be stopped.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// No table ever named it.
    NeverServed,
    /// Its last request has ended.
    Idle,
    /// Its deadlines have passed; what was left has been closed by force.
    OutOfTime,
}
