//! How a rollout ended.

use serde::{Deserialize, Serialize};

/// How a rollout ended, and why.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Outcome {
    /// In one word.
    pub result: Ending,
    /// Why, where it did not go well.
    pub reason: Option<String>,
}

/// How a rollout ended, in one word.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The new release serves.
    Done,
    /// Neither way worked; a human must look.
    Failed,
    /// The old release serves and was never touched.
    Refused,
    /// The new release served for a while; the old one serves again.
    RolledBack,
}

impl Ending {
    /// The word used in reports and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::RolledBack => "rolled_back",
        }
    }
}
