//! What nobody else puts away: failed candidates that were kept, and containers that a reboot has
//! started though a rollout had stopped them. Only what the journal names is touched.

use std::time::Duration;

use cutover_proxy::table::ServiceName;
use cutover_rollout::Rest;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::Tools;
use crate::config::labels::Labels;
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
            let id = container.id.as_str();
            if !self.is_put_away(&service, id)
                || self.serves(&service, id)
                || self.is_last_ready(&service, id)
            {
                continue;
            }
            info!(container = container.name, "stopping what a rollout had stopped");
            let Ok(proof) = self.at_rest(&service, id, Rest::NeverServed) else { continue };
            if let Err(error) = self.containers.stop(id, &proof).await {
                warn!(container = container.name, %error, "not stopped");
            }
        }
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
