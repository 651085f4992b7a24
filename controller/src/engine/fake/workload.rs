//! One container of the fake.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bollard::models::{ImageConfig, RestartPolicyNameEnum};

use super::behaviour::Behaviour;
use crate::engine::container::Wellness;
use crate::engine::{Signal, Spec, State};

/// A container. What the image said is kept with it, as it outlives its image.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) spec: Spec,
    pub(super) image_id: String,
    pub(super) image: ImageConfig,
    pub(super) behaviour: Behaviour,
    pub(super) created: Duration,
    pub(super) started: Option<Duration>,
    pub(super) state: State,
    pub(super) wellness: Wellness,
    pub(super) restarts: i64,
    pub(super) exit_code: i64,
    /// Networks that it is joined to, and its address there while it runs.
    pub(super) networks: BTreeMap<String, Option<IpAddr>>,
    /// Grows at each start and end: timers of before are void.
    pub(super) epoch: u64,
    /// Somebody told it to stop: its restart policy does nothing.
    pub(super) told_to_stop: bool,
}

impl Workload {
    pub(super) fn runs(&self) -> bool {
        matches!(self.state, State::Running | State::Paused)
    }

    pub(super) fn stop_signal(&self) -> Signal {
        let own = self.spec.body.stop_signal.as_ref().or(self.image.stop_signal.as_ref());
        own.and_then(|own| Signal::parse(own)).unwrap_or(Signal::TERM)
    }

    pub(super) fn grace(&self) -> Duration {
        let seconds = self.spec.body.stop_timeout.and_then(|s| u64::try_from(s).ok());
        Duration::from_secs(seconds.unwrap_or(10))
    }

    /// Whether the engine starts it again after it has ended by itself.
    pub(super) fn restarts_after(&self, exit_code: i64) -> bool {
        use RestartPolicyNameEnum as Name;
        let policy = self.spec.body.host_config.as_ref().and_then(|h| h.restart_policy.clone());
        match policy.and_then(|policy| policy.name) {
            Some(Name::ALWAYS | Name::UNLESS_STOPPED) => true,
            Some(Name::ON_FAILURE) => exit_code != 0,
            Some(Name::NO | Name::EMPTY) | None => false,
        }
    }

    /// Whether Docker asks it for its health.
    pub(super) fn health_checked(&self) -> bool {
        let own = self.spec.body.healthcheck.as_ref().and_then(|check| check.test.as_ref());
        let own = own.filter(|test| !test.is_empty());
        let image = self.image.healthcheck.as_ref().and_then(|check| check.test.as_ref());
        own.or(image).is_some_and(|test| !test.is_empty() && *test != ["NONE"])
    }
}
