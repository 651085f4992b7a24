//! The bodies of what changes a service at once; those of rollouts stand with the rollout.

use serde::{Deserialize, Serialize};

use crate::state::weights::Target;

/// The body of `POST …/flip`.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Flip {
    /// What is to serve.
    pub(crate) to: Target,
    /// Without asking it first.
    #[serde(default)]
    pub(crate) force: bool,
}

/// The body of `POST …/weight`: both are needed; that one is missing is told in words of ours.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shares {
    pub(crate) blue: Option<u32>,
    pub(crate) green: Option<u32>,
}

/// The body of `POST …/pause`.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Hold {
    /// Let safe methods pass.
    pub(crate) writes_only: bool,
    /// How long at most.
    pub(crate) max_pause_ms: u64,
}

impl Default for Hold {
    fn default() -> Self {
        Self { writes_only: false, max_pause_ms: 30_000 }
    }
}
