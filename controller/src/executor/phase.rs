//! Where a rollout stands, and the words that status, reports and metrics use for it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One step of a rollout. The first twelve follow each other when all goes well; the rest undo.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing has been asked of anyone yet.
    Plan,
    /// The image is brought to this host and pinned by digest.
    Pull,
    /// Candidates are created, as copies of what the color has now.
    Create,
    /// Candidates are started.
    Start,
    /// Candidates are probed until they are ready.
    Ready,
    /// The table that names the candidates is on its way to the proxy.
    Flip,
    /// The new containers serve and are compared with the old ones.
    Monitor,
    /// Requests on the old containers finish.
    Drain,
    /// The old containers run on, idle, so that a rollback is a flip.
    KeepWarm,
    /// The old containers are stopped.
    Stop,
    /// Stopped containers beyond what is retained are removed.
    Clean,
    /// The table that names the old containers is on its way to the proxy again.
    Revert,
    /// Requests on the failed new containers finish.
    RevertDrain,
    /// Candidates are stopped, and removed or kept for inspection.
    Abandon,
    /// Nothing is left to do.
    Ended,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 15] = [
        Self::Plan,
        Self::Pull,
        Self::Create,
        Self::Start,
        Self::Ready,
        Self::Flip,
        Self::Monitor,
        Self::Drain,
        Self::KeepWarm,
        Self::Stop,
        Self::Clean,
        Self::Revert,
        Self::RevertDrain,
        Self::Abandon,
        Self::Ended,
    ];

    /// The word used in status, reports and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Pull => "pull",
            Self::Create => "create",
            Self::Start => "start",
            Self::Ready => "ready",
            Self::Flip => "flip",
            Self::Monitor => "monitor",
            Self::Drain => "drain",
            Self::KeepWarm => "keep_warm",
            Self::Stop => "stop",
            Self::Clean => "clean",
            Self::Revert => "revert",
            Self::RevertDrain => "revert_drain",
            Self::Abandon => "abandon",
            Self::Ended => "ended",
        }
    }

    /// Whether the candidates of this pass cannot have been in a live table yet.
    #[must_use]
    pub fn is_before_flip(self) -> bool {
        self < Self::Flip
    }

    /// Whether the phase undoes what earlier ones did.
    #[must_use]
    pub fn is_undo(self) -> bool {
        matches!(self, Self::Revert | Self::RevertDrain | Self::Abandon)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Phase> for cutover_api::Phase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Plan => Self::Plan,
            Phase::Pull => Self::Pull,
            Phase::Create => Self::Create,
            Phase::Start => Self::Start,
            Phase::Ready => Self::Ready,
            Phase::Flip => Self::Flip,
            Phase::Monitor => Self::Monitor,
            Phase::Drain => Self::Drain,
            Phase::KeepWarm => Self::KeepWarm,
            Phase::Stop => Self::Stop,
            Phase::Clean => Self::Clean,
            Phase::Revert => Self::Revert,
            Phase::RevertDrain => Self::RevertDrain,
            Phase::Abandon => Self::Abandon,
            Phase::Ended => Self::Ended,
        }
    }
}
