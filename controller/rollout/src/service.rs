//! What a rollout is made of: its services, their limits, and what its phases took.

use cutover_proxy::table::ServiceName;
use serde::{Deserialize, Serialize};

use crate::strategy::Strategy;
use cutover_api::Phase;

/// A service of a rollout: how it is rolled out. What its containers are is known to the executor.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RolloutService {
    /// Its name.
    #[serde(rename = "service")]
    pub name: ServiceName,
    /// How its containers are replaced.
    pub strategy: Strategy,
    /// How long each step may take.
    pub limits: Limits,
}

/// How long each step of a rollout may take, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Limits {
    /// From the start of the candidates until they are ready.
    pub deploy_ms: u64,
    /// For requests on a retired set.
    pub drain_ms: u64,
    /// For streams on a retired set.
    pub streams_ms: u64,
    /// How long the new set is judged.
    pub monitor_ms: u64,
    /// How long the old set runs on, idle.
    pub keep_warm_ms: u64,
}

/// Where the new containers come from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// They are created and started.
    Created,
    /// They run already: kept warm, or started by Compose.
    Running,
}

/// What one phase took.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Span {
    /// The phase.
    pub phase: Phase,
    /// Milliseconds.
    pub ms: u64,
}
