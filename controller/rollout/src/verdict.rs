//! How a rollout ended, and why.

use cutover_api::Ending;
use serde::{Deserialize, Serialize};

/// How a rollout ended, and why.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Verdict {
    /// In one word.
    pub result: Ending,
    /// Why, where it did not go well.
    pub reason: Option<String>,
}
