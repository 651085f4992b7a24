//! What the machine hears.

use cutover_proxy::table::Generation;
use serde::{Deserialize, Serialize};

use crate::set::{Set, StopReason};
use cutover_api::Phase;

/// What has happened outside of the machine.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The rollout begins.
    Begin,
    /// An action of this phase was carried out for the set.
    Done {
        /// Which phase's action.
        phase: Phase,
        /// Which set.
        set: Set,
    },
    /// Nothing is in flight on the set any more, and nothing new will be.
    Drained {
        /// Which set.
        set: Set,
        /// By itself, or by force.
        reason: StopReason,
    },
    /// An action of this phase failed.
    Failed {
        /// Which phase's action.
        phase: Phase,
        /// Which set.
        set: Set,
        /// Why.
        reason: String,
        /// Whether another try may work: the engine did not answer, say.
        transient: bool,
    },
    /// The table that was asked for is live.
    Applied {
        /// The phase that asked.
        phase: Phase,
        /// Its batch.
        batch: usize,
        /// The table.
        generation: Generation,
    },
    /// The table was refused, or nobody knows what became of it.
    NotApplied {
        /// The phase that asked.
        phase: Phase,
        /// Its batch.
        batch: usize,
        /// Why.
        reason: String,
        /// Whether another try may work: the proxy was away, say.
        transient: bool,
    },
    /// None of a new set is left that could serve, or it keeps restarting.
    Died {
        /// What was seen.
        reason: String,
    },
    /// A new set does worse than the old one did.
    Breach {
        /// Which figure broke.
        reason: String,
    },
    /// Somebody wants the rollout undone.
    Abort {
        /// Who, and how.
        reason: String,
    },
    /// A newer rollout needs the place of the warm containers.
    Supersede,
    /// Somebody else has made the old containers serve again: an operator, a failover, a rollback.
    Handover,
    /// Time has passed; due at [`Rollout::deadline`](crate::Rollout::deadline).
    Tick,
    /// The controller was started again and has read this rollout from the journal.
    Resumed {
        /// Whether the shares in the journal are those of the last flip that was asked for.
        flipped: bool,
    },
}

/// A column of the [transition table](crate::transition).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(usize)]
pub enum EventKind {
    /// [`Event::Begin`].
    Begin,
    /// [`Event::Done`].
    Done,
    /// [`Event::Drained`].
    Drained,
    /// [`Event::Applied`].
    Applied,
    /// [`Event::Failed`] or [`Event::NotApplied`], and another try may work.
    Hiccup,
    /// The same, and another try would not.
    Failed,
    /// The phase is out of time.
    Late,
    /// [`Event::Died`].
    Died,
    /// [`Event::Breach`].
    Breach,
    /// [`Event::Abort`].
    Abort,
    /// [`Event::Supersede`].
    Supersede,
    /// [`Event::Handover`].
    Handover,
    /// [`Event::Resumed`], and the last flip is in the journal.
    ResumedFlipped,
    /// [`Event::Resumed`], and it is not.
    ResumedUnflipped,
}

impl EventKind {
    /// Every column, in order.
    pub const ALL: [Self; 14] = [
        Self::Begin,
        Self::Done,
        Self::Drained,
        Self::Applied,
        Self::Hiccup,
        Self::Failed,
        Self::Late,
        Self::Died,
        Self::Breach,
        Self::Abort,
        Self::Supersede,
        Self::Handover,
        Self::ResumedFlipped,
        Self::ResumedUnflipped,
    ];

    /// The heading of the column.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Done => "done",
            Self::Drained => "drained",
            Self::Applied => "applied",
            Self::Hiccup => "hiccup",
            Self::Failed => "failed",
            Self::Late => "late",
            Self::Died => "died",
            Self::Breach => "breach",
            Self::Abort => "abort",
            Self::Supersede => "supersede",
            Self::Handover => "handover",
            Self::ResumedFlipped => "resumed, flipped",
            Self::ResumedUnflipped => "resumed, not flipped",
        }
    }
}

impl Event {
    /// The column of the table; `None` for a tick, whose column depends on what is due.
    #[must_use]
    pub(crate) fn kind(&self) -> Option<EventKind> {
        Some(match self {
            Self::Begin => EventKind::Begin,
            Self::Done { .. } => EventKind::Done,
            Self::Drained { .. } => EventKind::Drained,
            Self::Applied { .. } => EventKind::Applied,
            Self::Failed { transient: true, .. } | Self::NotApplied { transient: true, .. } => {
                EventKind::Hiccup
            }
            Self::Failed { transient: false, .. } | Self::NotApplied { transient: false, .. } => {
                EventKind::Failed
            }
            Self::Died { .. } => EventKind::Died,
            Self::Breach { .. } => EventKind::Breach,
            Self::Abort { .. } => EventKind::Abort,
            Self::Supersede => EventKind::Supersede,
            Self::Handover => EventKind::Handover,
            Self::Resumed { flipped: true } => EventKind::ResumedFlipped,
            Self::Resumed { flipped: false } => EventKind::ResumedUnflipped,
            Self::Tick => return None,
        })
    }

    /// Why the rollout is undone, where this undoes it.
    #[must_use]
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Failed { reason, .. }
            | Self::NotApplied { reason, .. }
            | Self::Died { reason }
            | Self::Breach { reason }
            | Self::Abort { reason } => reason.clone(),
            Self::Supersede => "a newer rollout has taken its place".into(),
            Self::Handover => "the old color was made to serve again".into(),
            Self::Resumed { .. } => {
                "the controller failed or was restarted in the middle of the rollout".into()
            }
            Self::Begin
            | Self::Done { .. }
            | Self::Drained { .. }
            | Self::Applied { .. }
            | Self::Tick => String::new(),
        }
    }
}
