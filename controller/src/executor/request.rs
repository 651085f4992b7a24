//! What a client has asked for, with what the service's config says of the rest.

use cutover_rollout::Limits;
use std::time::Duration;

pub(crate) use cutover_api::{DeployRequest as Deploy, RollbackRequest as Rollback};

use crate::config::{DrainConfig, ServiceConfig};
use crate::millis::millis;

/// How long the steps of one service may take: what was asked for, and the rest as its config has it.
#[must_use]
pub(crate) fn limits_of(asked: &Deploy, config: &ServiceConfig) -> Limits {
    let or = |asked: Option<u64>, own: Duration| asked.unwrap_or_else(|| millis(own));
    Limits {
        deploy_ms: or(asked.deploy_timeout_ms, config.rollout.deploy_timeout),
        drain_ms: or(asked.drain_timeout_ms, config.drain.timeout),
        streams_ms: or(asked.stream_drain_ms, config.drain.streams),
        monitor_ms: or(asked.monitor_ms, config.rollout.monitor),
        keep_warm_ms: or(asked.keep_warm_ms, config.rollout.keep_warm),
    }
}

impl From<Limits> for DrainConfig {
    fn from(limits: Limits) -> Self {
        Self {
            timeout: Duration::from_millis(limits.drain_ms),
            streams: Duration::from_millis(limits.streams_ms),
        }
    }
}
