//! Where a rollout stands: the words of status, progress, reports, plans and metrics.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One phase of a rollout.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing has been asked of anyone yet.
    Plan,
    /// The image is brought to this host and pinned by digest.
    Pull,
    /// Where both colors serve: one of them stops serving and finishes what it has.
    TakeOut,
    /// Candidates are created.
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
    /// The table that no longer names the new containers is on its way to the proxy.
    Revert,
    /// Requests on the failed new containers finish.
    RevertDrain,
    /// Candidates are stopped, and removed or kept for inspection.
    Abandon,
    /// Where both colors served: the old containers get their share back.
    PutBack,
    /// Nothing is left to do.
    Ended,
}

impl Phase {
    /// Every phase, in the order of the table.
    pub const ALL: [Self; 17] = [
        Self::Plan,
        Self::Pull,
        Self::TakeOut,
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
        Self::PutBack,
        Self::Ended,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Pull => "pull",
            Self::TakeOut => "take_out",
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
            Self::PutBack => "put_back",
            Self::Ended => "ended",
        }
    }

    /// Whether the rollout may still change what serves, so that no other rollout of its services
    /// may begin. What follows the judgement needs only time, and its own old containers.
    #[must_use]
    pub fn holds_lock(self) -> bool {
        match self {
            Self::Plan
            | Self::Pull
            | Self::TakeOut
            | Self::Create
            | Self::Start
            | Self::Ready
            | Self::Flip
            | Self::Monitor
            | Self::Revert
            | Self::RevertDrain
            | Self::Abandon
            | Self::PutBack => true,
            Self::Drain | Self::KeepWarm | Self::Stop | Self::Clean | Self::Ended => false,
        }
    }

    /// Whether the candidates of the present batch cannot have been in a live table yet.
    #[must_use]
    pub fn is_before_flip(self) -> bool {
        self < Self::Flip
    }

    /// Whether the phase undoes what earlier ones did.
    #[must_use]
    pub fn is_undo(self) -> bool {
        matches!(self, Self::Revert | Self::RevertDrain | Self::Abandon | Self::PutBack)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
