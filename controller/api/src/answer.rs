//! The answers to what changes a service at once.

use cutover_proxy::table::{Generation, ServiceName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::phase::Phase;
use crate::report::Ending;
use crate::status::ServiceStatus;
use crate::weights::{Target, Weights};

/// Another color serves, and every request from now on goes there.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Flipped {
    /// The service.
    #[schema(value_type = crate::schema::ServiceName)]
    pub service: ServiceName,
    /// What served.
    pub from: Target,
    /// What serves.
    pub to: Target,
    /// The table that did it.
    #[schema(value_type = crate::schema::Generation, example = 12)]
    pub generation: Generation,
    /// Microseconds that the swap took; 0 when nothing had to change.
    #[schema(example = 41)]
    pub flip_us: u64,
    /// Milliseconds that the probes took.
    #[schema(example = 8)]
    pub probe_ms: u64,
}

/// A rollout was ended by command; what served before it serves.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Aborted {
    /// The service.
    #[schema(value_type = crate::schema::ServiceName)]
    pub service: ServiceName,
    /// The release that was being brought in.
    pub revision: u64,
    /// Where the rollout stood.
    pub phase: Phase,
    /// `refused` before the flip, `rolled_back` after it: what the rollout's own client is told.
    pub result: Ending,
    /// What serves.
    pub serves: Target,
    /// The table that is live.
    #[schema(value_type = crate::schema::Generation)]
    pub generation: Generation,
}

/// The shares of the colors have changed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Weighted {
    /// The service.
    #[schema(value_type = crate::schema::ServiceName)]
    pub service: ServiceName,
    /// The shares.
    pub weights: Weights,
    /// The table that did it.
    #[schema(value_type = crate::schema::Generation)]
    pub generation: Generation,
    /// Microseconds that the swap took; 0 when nothing had to change.
    pub flip_us: u64,
}

/// Requests are held, or go on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct PauseState {
    /// The service.
    #[schema(value_type = crate::schema::ServiceName)]
    pub service: ServiceName,
    /// Whether they are held.
    pub paused: bool,
    /// The table that did it.
    #[schema(value_type = crate::schema::Generation)]
    pub generation: Generation,
}

/// The config file was read again and is live.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Reloaded {
    /// The table that it made.
    #[schema(value_type = crate::schema::Generation)]
    pub generation: Generation,
}

/// The answer to `GET /v1/services`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Services {
    /// By name.
    pub services: Vec<ServiceStatus>,
}
