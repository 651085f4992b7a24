//! What the steps of a rollout are about: sets of containers.

use cutover_proxy::table::ServiceName;
use serde::{Deserialize, Serialize};

/// Which of the two sets of containers of a batch.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Those the rollout brings.
    New,
    /// Those they replace.
    Old,
}

/// One set of containers: of a service, in a batch of the rollout, on one side.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Set {
    /// The service.
    pub service: ServiceName,
    /// See [`Step::batch`](crate::Step::batch).
    pub batch: usize,
    /// New or old.
    pub side: Side,
}

/// Why a set may be stopped.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// No table that went live names it.
    NeverServed,
    /// Its last request has ended.
    Idle,
    /// Its deadlines have passed; what was left has been closed by force.
    OutOfTime,
}
