//! The proof without which no container is stopped.

use cutover_rollout::StopReason;

/// The containers it was made for have nothing in flight, or their time is up.
///
/// Only `executor/prove_drained.rs` makes one, once it has looked; a test sees to that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drained {
    reason: StopReason,
}

impl Drained {
    pub(crate) fn new(reason: StopReason) -> Self {
        Self { reason }
    }

    /// Why the containers may be stopped.
    #[must_use]
    pub(crate) fn reason(&self) -> StopReason {
        self.reason
    }
}
