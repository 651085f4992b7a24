//! What a client may ask for.

use std::time::Duration;

use cutover_proxy::table::ServiceName;
use serde::{Deserialize, Serialize};

use super::machine::Limits;
use crate::config::{DrainConfig, ServiceConfig};
use crate::engine::PullPolicy;
use crate::millis::millis;

/// The body of `POST …/deploy` and `…/plan`; what is not said is as the service's config has it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Deploy {
    /// All services that flip together; empty is the one in the path.
    pub services: Vec<ServiceName>,
    /// The image.
    pub image: Option<String>,
    /// The image of today with this tag.
    pub tag: Option<String>,
    /// When to ask the registry.
    pub pull: Option<PullPolicy>,
    /// For the candidates to become ready.
    pub deploy_timeout_ms: Option<u64>,
    /// For requests of the old color.
    pub drain_timeout_ms: Option<u64>,
    /// For streams of the old color.
    pub stream_drain_ms: Option<u64>,
    /// How long the old color stays.
    pub keep_warm_ms: Option<u64>,
    /// How long the new color is judged.
    pub monitor_ms: Option<u64>,
    /// How long to wait for another rollout.
    pub wait_lock_ms: u64,
    /// Who asks, for the history.
    pub by: Option<String>,
}

/// The body of `POST …/rollback`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rollback {
    /// To which revision; the one before this where it is not said.
    pub revision: Option<u64>,
    /// How long the release is judged; it has served before, so not at all where it is not said.
    pub monitor_ms: u64,
    /// How long to wait for another rollout.
    pub wait_lock_ms: u64,
    /// Who asks, for the history.
    pub by: Option<String>,
}

impl Deploy {
    /// The limits of one service's part.
    #[must_use]
    pub(crate) fn limits(&self, config: &ServiceConfig) -> Limits {
        let or = |asked: Option<u64>, own: Duration| asked.unwrap_or_else(|| millis(own));
        Limits {
            deploy_ms: or(self.deploy_timeout_ms, config.rollout.deploy_timeout),
            drain_ms: or(self.drain_timeout_ms, config.drain.timeout),
            streams_ms: or(self.stream_drain_ms, config.drain.streams),
            monitor_ms: or(self.monitor_ms, config.rollout.monitor),
            keep_warm_ms: or(self.keep_warm_ms, config.rollout.keep_warm),
        }
    }
}

impl Limits {
    /// The drain deadlines, for the controller.
    #[must_use]
    pub fn drain(&self) -> DrainConfig {
        DrainConfig {
            timeout: Duration::from_millis(self.drain_ms),
            streams: Duration::from_millis(self.streams_ms),
        }
    }
}
