//! The proof without which no container is stopped.

use cutover_rollout::Rest;

/// The containers it was made for have nothing in flight, or their time is up.
///
/// Only `executor/at_rest.rs` makes one, once it has looked; a test sees to that.
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
