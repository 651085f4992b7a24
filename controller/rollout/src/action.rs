//! What the machine asks the executor to do.

use cutover_proxy::table::ServiceName;

use crate::set::{Set, StopReason};
use crate::verdict::Verdict;

/// One request to the executor. Carrying one out twice is carrying it out once.
///
/// Unless another answer is named, it is answered by [`Event::Done`](crate::Event::Done) of its
/// phase and set, or by [`Event::Failed`](crate::Event::Failed).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Bring the image of this service here. Answered for its first new set.
    Pull(ServiceName),
    /// Apply a table in which the other color of the service serves alone, and wait until the set
    /// has drained. Answered by [`Event::Drained`](crate::Event::Drained).
    TakeOut(Set),
    /// Create the new set.
    Create(Set),
    /// Start the new set.
    Start(Set),
    /// Probe the new set until all of it is ready.
    AwaitReady(Set),
    /// Apply one table in which the new sets of a batch serve, for every service that has one.
    /// Answered by [`Event::Applied`](crate::Event::Applied) or
    /// [`Event::NotApplied`](crate::Event::NotApplied).
    Flip {
        /// Which batch.
        batch: usize,
    },
    /// Apply one table in which the new sets of a batch do not serve, but the other colors of their
    /// services. Answered like a flip.
    Revert {
        /// Which batch.
        batch: usize,
    },
    /// Apply one table in which the old sets of a batch have their shares again, where both colors
    /// serve. Answered like a flip.
    PutBack {
        /// Which batch.
        batch: usize,
    },
    /// Judge the new set until the phase ends. Answered by [`Event::Died`](crate::Event::Died) or
    /// [`Event::Breach`](crate::Event::Breach), if at all.
    Watch(Set),
    /// Say when the set's last request has ended. The controller keeps the clock and the deadlines of
    /// a drain, with rollouts or without, through restarts. Answered by
    /// [`Event::Drained`](crate::Event::Drained).
    AwaitDrained(Set),
    /// Stop the set's containers, but for those that somebody has made serve again.
    Stop {
        /// Which set.
        set: Set,
        /// Why it may be stopped.
        reason: StopReason,
    },
    /// Remove the old set but for what is retained or serves, and give the new one its lasting
    /// names.
    Clean(Set),
    /// Stop the new set, keep its last log lines, and remove or keep it. What it stood beside is its
    /// color's release again.
    Abandon {
        /// Which set.
        set: Set,
        /// Why it may be stopped.
        reason: StopReason,
    },
    /// The client can be told: what remains is waiting and tidying. Needs no answer.
    Report(Verdict),
}
