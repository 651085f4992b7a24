//! What the state machine hears and what it asks for: plain data, so that both can be journaled,
//! simulated and printed.

pub use cutover_api::Ending;
use cutover_proxy::table::{Generation, Hangup, ServiceName};
use serde::{Deserialize, Serialize};

use super::phase::Phase;
pub use crate::engine::drained::Rest;

/// Milliseconds of a clock that never goes back; its zero means nothing.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// The moment that much later.
    #[must_use]
    pub fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// How long ago `earlier` was, in milliseconds; 0 if it is yet to come.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Which of the two sets of containers of a pass.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Those the rollout brings.
    New,
    /// Those that served before.
    Old,
}

/// One set of containers: a service, the pass of the rollout, and the side.
///
/// A blue/green rollout has one pass; under the `both` strategy each color is a pass of its own.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Set {
    /// The service.
    pub service: ServiceName,
    /// 0, or 1 for the second color under `both`.
    pub pass: usize,
    /// New or old.
    pub side: Side,
}

/// What the machine asks of the state. Carrying one out twice is carrying it out once.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Bring the image of this service here. Answered by [`Event::Done`] of [`Phase::Pull`].
    Pull(ServiceName),
    /// Create the new set. Answered by `Done` of [`Phase::Create`].
    Create(Set),
    /// Start the new set. Answered by `Done` of [`Phase::Start`].
    Start(Set),
    /// Probe the new set until all of it is ready. Answered by `Done` of [`Phase::Ready`].
    AwaitReady(Set),
    /// Apply one table in which this pass's new sets serve, for every service of the rollout.
    Flip {
        /// Which pass.
        pass: usize,
    },
    /// Apply one table in which every old set serves again.
    Revert,
    /// Judge the new set and report [`Event::Breach`].
    Watch(Set),
    /// Say when the set's last request has ended: `Done` of the drain phase.
    AwaitDrained(Set),
    /// End work of the set by force.
    Hangup {
        /// Which set.
        set: Set,
        /// Which work.
        what: Hangup,
    },
    /// Stop the set's containers. Answered by `Done` of [`Phase::Stop`].
    Stop {
        /// Which set.
        set: Set,
        /// Why it may be stopped.
        rest: Rest,
    },
    /// Remove the old set but for what is retained, and give the new one its lasting names.
    /// Answered by `Done` of [`Phase::Clean`].
    Clean(Set),
    /// Stop the new set, keep its last words, and remove or keep it. Answered by `Done` of
    /// [`Phase::Abandon`].
    Abandon {
        /// Which set.
        set: Set,
        /// Why it may be stopped.
        rest: Rest,
    },
    /// The client can be told: what remains is waiting and tidying.
    Report(Outcome),
}

/// What happened in the state.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Go.
    Begin,
    /// An action of this phase was carried out for the set.
    Done {
        /// Which phase's action.
        phase: Phase,
        /// Which set.
        set: Set,
    },
    /// An action of this phase failed.
    Failed {
        /// Which phase's action.
        phase: Phase,
        /// Which service.
        service: ServiceName,
        /// Why.
        reason: String,
    },
    /// The table of [`Action::Flip`] or [`Action::Revert`] is live.
    Applied {
        /// [`Phase::Flip`] or [`Phase::Revert`].
        phase: Phase,
        /// Its generation.
        generation: Generation,
    },
    /// The table was refused, or nobody knows what became of it.
    NotApplied {
        /// [`Phase::Flip`] or [`Phase::Revert`].
        phase: Phase,
        /// Why.
        reason: String,
    },
    /// None of the new set is left that could serve, or it keeps restarting.
    Died {
        /// Which service.
        service: ServiceName,
        /// What was seen.
        reason: String,
    },
    /// The new set does worse than the old one did.
    Breach {
        /// Which service.
        service: ServiceName,
        /// Which figure broke.
        reason: String,
    },
    /// An operator or a shutdown wants the rollout undone.
    Abort {
        /// Who.
        reason: String,
    },
    /// The next rollout needs the warm containers' place.
    Supersede,
    /// The warm containers now belong to a rollback: leave them alone.
    Handover,
    /// Time has passed.
    Tick,
    /// The controller has come back from the dead and read this machine from the journal.
    Resumed {
        /// Whether the journal of tables says that the flip of the present pass happened.
        flipped: bool,
    },
}

/// How a rollout ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Outcome {
    /// In one word.
    pub result: Ending,
    /// Why, where it did not go well.
    pub reason: Option<String>,
}
