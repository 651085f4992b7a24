//! What nobody else puts away: leftovers of crashes, corpses of failed candidates, and containers
//! that a reboot has started though they had been stopped.

use std::time::Duration;

use cutover_proxy::table::ServiceName;
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::Tools;
use super::actions::Rest;
use super::steps::edge_label;
use crate::config::labels::Labels;
use crate::engine::drained::Drained;
use crate::engine::{Container, State};
use crate::panics::caught;

impl Tools {
    /// Waits for the first look at the containers, and lets the first table go out.
    ///
    /// With an engine that does not answer, a proxy that serves goes on with what it has; one that
    /// has nothing yet gets the services that need no engine.
    pub(super) async fn first_look(&self) {
        let start = Instant::now();
        while let Err(error) = self.discovery.look().await {
            let fresh = self.controller.generation().0 == 0 && start.elapsed() >= FRESH;
            if !self.containers.is_there() || fresh || start.elapsed() >= STALE {
                warn!(%error, "going on without containers");
                break;
            }
            sleep(LOOK_SOON).await;
        }
        self.controller.containers_known();
    }

    /// Tidies up now and whenever the engine has come back: one that starts also starts what it had
    /// been told to stop, where the restart policy is `always`.
    pub(super) async fn keep_tidy(&self) {
        let mut returns = self.discovery.returns();
        loop {
            caught("tidying up", self.tidy()).await;
            if returns.changed().await.is_err() {
                return;
            }
        }
    }

    /// Once Docker answers: stops what should not run.
    async fn tidy(&self) {
        let containers = loop {
            match self.discovery.look().await {
                Ok(containers) => break containers,
                Err(_) => sleep(LOOK_AGAIN).await,
            }
        };
        for container in containers.iter().filter(|c| c.state != State::Stopped) {
            let Some(service) = service(container) else { continue };
            if !self.is_idle(container, &service) {
                continue;
            }
            info!(container = container.name, "stopping what nobody needs");
            let proof = Drained::new(Rest::NeverServed);
            if let Err(error) = self.containers.stop(container.id.as_str(), &proof).await {
                warn!(container = container.name, %error, "not stopped");
            }
        }
    }

    /// Removes what former rollouts of a service have left: corpses that nobody looks at any more.
    pub(super) async fn bury(&self, service_name: &ServiceName) {
        let Ok(containers) = self.discovery.look().await else {
            return;
        };
        for container in &containers {
            let ours = service(container).as_ref() == Some(service_name);
            if !ours || !self.made(container) || self.is_known(service_name, container.id.as_str())
            {
                continue;
            }
            let proof = Drained::new(Rest::NeverServed);
            let stopped = self.containers.stop(container.id.as_str(), &proof).await;
            let removed = match stopped {
                Ok(()) => self.containers.remove(container.id.as_str()).await,
                Err(error) => Err(error),
            };
            if let Err(error) = removed {
                warn!(container = container.name, %error, "not removed");
            }
        }
    }

    /// Whether a container is a leftover, or was stopped by a rollout and runs again though its
    /// color does not serve.
    fn is_idle(&self, container: &Container, service: &ServiceName) -> bool {
        let id = container.id.as_str();
        if self.made(container) && !self.is_known(service, id) {
            return true;
        }
        let state = self.controller.service_state(service);
        let serves = self.controller.state(|state| {
            let mut endpoints = state.discovery.endpoints.iter();
            let found = endpoints.find(|e| e.container == id);
            found.is_some_and(|e| state.weights(service).serves(e.color))
        });
        state.members.is_parked(id) && !serves
    }

    /// Whether a rollout of ours has made it, and not that of another edge on this engine.
    fn made(&self, container: &Container) -> bool {
        let edge = self.controller.state(|state| state.journal.edge.clone());
        !edge.is_empty() && container.label(&edge_label()) == Some(&edge)
    }

    /// Whether the journal knows a container: as a member of the service or by a rollout.
    fn is_known(&self, service: &ServiceName, id: &str) -> bool {
        self.controller.state(|state| {
            let service_state = state.journal.services.get(service);
            let member = service_state.is_some_and(|state| state.members.knows(id));
            let mut rollouts = state
                .journal
                .rollouts_of(service)
                .filter_map(|(_, stored)| super::Record::deserialize(&stored.record).ok());
            let made = |record: super::Record| {
                record.parts.iter().any(|part| part.new_ids().iter().any(|new| new == id))
            };
            member || rollouts.any(made)
        })
    }
}

fn service(container: &Container) -> Option<ServiceName> {
    let labels = container.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    Labels::parse(labels).ok().flatten().map(|labels| labels.service)
}

const LOOK_AGAIN: Duration = Duration::from_secs(1);
const LOOK_SOON: Duration = Duration::from_millis(100);
/// How long a proxy without a table waits for the engine.
const FRESH: Duration = Duration::from_secs(3);
/// How long a proxy with a table goes on with it.
const STALE: Duration = Duration::from_secs(60);
