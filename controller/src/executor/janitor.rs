//! What nobody else puts away: failed candidates that were kept, and containers that a reboot has
//! started though a rollout had stopped them. Only what the journal names is touched.

use std::time::Duration;

use cutover_proxy::table::ServiceName;
use cutover_rollout::StopReason;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::Tools;
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
            let needed = caught("tidying up", self.tidy()).await.unwrap_or_default();
            tokio::select! {
                biased;
                returned = returns.changed() => if returned.is_err() { return },
                () = self.until_one_is_not_needed(&needed) => {}
            }
        }
    }

    /// Once Docker answers: stops what should not run. Gives what it had to leave, because requests
    /// may need it: its successor may have to get ready yet.
    pub(super) async fn tidy(&self) -> Vec<(ServiceName, String)> {
        let containers = loop {
            match self.discovery.look().await {
                Ok(containers) => break containers,
                Err(_) => sleep(LOOK_AGAIN).await,
            }
        };
        let mut needed = Vec::new();
        for container in containers.iter().filter(|c| c.state != State::Stopped) {
            let Some(service) = service(container) else { continue };
            let id = container.id.as_str();
            if !self.is_put_away(&service, id) {
                continue;
            }
            let Some(proof) = self.not_needed(&service, id).await else {
                needed.push((service, id.to_owned()));
                continue;
            };
            info!(container = container.name, "stopping what a rollout had stopped");
            if let Err(error) = self.containers.stop(id, &proof).await {
                warn!(container = container.name, %error, "not stopped");
            }
        }
        needed
    }

    /// Waits until something else serves instead of one of these; for ever where there are none.
    async fn until_one_is_not_needed(&self, needed: &[(ServiceName, String)]) {
        if needed.is_empty() {
            std::future::pending::<()>().await;
        }
        loop {
            for (service, id) in needed {
                if self.not_needed(service, id).await.is_some() {
                    return;
                }
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Says that a container may be stopped, unless requests are there, go there, or could go nowhere
    /// else.
    async fn not_needed(&self, service: &ServiceName, id: &str) -> Option<Drained> {
        let needed = self.serves(service, id) || self.is_last_ready(service, id);
        if needed { None } else { self.prove_drained(service, id, StopReason::Idle).await.ok() }
    }

    /// Removes candidates of former rollouts that failed and were kept to be looked at. What the
    /// journal does not know is left alone, whoever made it.
    pub(super) async fn remove_abandoned(&self, service: &ServiceName) {
        let members = self.controller.service_state(service).members;
        for id in members.abandoned().iter().filter(|id| !self.is_last_ready(service, id)) {
            if let Err(error) = self.remove_idle(service, id).await {
                warn!(container = id, %error, "not removed");
            }
        }
    }

    /// Whether a rollout has stopped a container for good, as the journal says.
    fn is_put_away(&self, service: &ServiceName, id: &str) -> bool {
        let members = self.controller.service_state(service).members;
        members.is_parked(id) || members.abandoned().contains(id)
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
