//! Whether a color can serve: asked now, until sure.

use std::time::Duration;

use cutover_proxy::table::{Color, EndpointId, ServiceName};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout_at};

use crate::error::Error;
use crate::serving::controller::Controller;
use crate::serving::probing::ProbeTarget;
use crate::state::EndpointKey;

/// Endpoints of a color that passed `rise` probes in a row: the proof that they were looked at, which
/// a flip to them consumes. Whether they still are what would serve is looked at again when it is
/// its turn.
#[derive(Clone, Debug)]
pub struct Ready {
    service: ServiceName,
    color: Color,
    endpoints: Vec<EndpointId>,
    took: Duration,
}

impl Ready {
    /// The service.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// The color.
    #[must_use]
    pub fn color(&self) -> Color {
        self.color
    }

    /// Which endpoints.
    #[must_use]
    pub fn endpoints(&self) -> &[EndpointId] {
        &self.endpoints
    }

    /// How long it took to become so.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }
}

/// Why a color is not ready, as it is shown to people.
#[derive(Debug, thiserror::Error)]
enum NotReady {
    /// A probe of an endpoint has failed.
    #[error("{label}: {answer}")]
    Failed {
        /// The endpoint.
        label: String,
        /// What it has answered.
        answer: String,
    },
    /// An endpoint that is waited for has not been found yet.
    #[error("{0} has no address yet")]
    Missing(EndpointId),
    /// An endpoint has none.
    #[error("{0} has no address")]
    NoAddress(String),
    /// It has nothing that could be asked.
    #[error("it has no endpoint")]
    NoEndpoint,
    /// The time was up before the first probe was over.
    #[error("no probe was answered in time")]
    NotAsked,
    /// The engine says that a container is not well.
    #[error("{label}: {unwell}")]
    Unwell {
        /// The endpoint.
        label: String,
        /// What the engine says.
        unwell: String,
    },
}

impl Controller {
    /// Waits until every one of these endpoints of a color has passed `rise` probes in a row.
    ///
    /// An empty list means all endpoints the color has, and it must have one.
    ///
    /// # Errors
    /// [`Error::ProbeFailed`] with the last answer when the deadline has passed.
    ///
    /// # Cancel safety
    /// Safe: what was learned of the endpoints stays.
    pub async fn until_ready(
        &self,
        service: &ServiceName,
        color: Color,
        endpoints: &[EndpointId],
        deadline: Instant,
    ) -> Result<Ready, Error> {
        let start = Instant::now();
        let mut last = NotReady::NotAsked;
        let waiting = async {
            loop {
                match self.all_ready(service, color, endpoints).await {
                    Ok(ready) => return ready,
                    Err(error) => last = error,
                }
                sleep(ASK_AGAIN).await;
            }
        };
        match timeout_at(deadline, waiting).await {
            Ok(endpoints) => {
                Ok(Ready { service: service.clone(), color, endpoints, took: start.elapsed() })
            }
            Err(_) => {
                let answer = last.to_string();
                Err(Error::ProbeFailed { service: service.clone(), color, answer })
            }
        }
    }

    /// Asks every endpoint of a color now; at least one must be ready.
    pub(crate) async fn ready_now(
        &self,
        service: &ServiceName,
        color: Color,
    ) -> Result<Ready, Error> {
        let start = Instant::now();
        let outcomes = self.ask_all(service, color, &[]).await;
        let (mut endpoints, mut last) = (Vec::new(), NotReady::NoEndpoint);
        for (id, outcome) in outcomes {
            match outcome {
                Ok(()) => endpoints.push(id),
                Err(error) => last = error,
            }
        }
        if !endpoints.is_empty() {
            return Ok(Ready { service: service.clone(), color, endpoints, took: start.elapsed() });
        }
        let answer = last.to_string();
        Err(Error::ProbeFailed { service: service.clone(), color, answer })
    }

    async fn all_ready(
        &self,
        service: &ServiceName,
        color: Color,
        wanted: &[EndpointId],
    ) -> Result<Vec<EndpointId>, NotReady> {
        let outcomes = self.ask_all(service, color, wanted).await;
        if outcomes.is_empty() {
            return Err(NotReady::NoEndpoint);
        }
        if let Some(missing) =
            wanted.iter().find(|id| !outcomes.iter().any(|(seen, _)| seen == *id))
        {
            return Err(NotReady::Missing(missing.clone()));
        }
        outcomes.into_iter().map(|(id, outcome)| outcome.map(|()| id)).collect()
    }

    /// Asks endpoints of a color, all at once, each until it has passed `rise` times or failed.
    async fn ask_all(
        &self,
        service: &ServiceName,
        color: Color,
        wanted: &[EndpointId],
    ) -> Vec<(EndpointId, Result<(), NotReady>)> {
        let Some((config, endpoints)) = self.state(|state| {
            let config = state.service(service)?.clone();
            Some((config, state.endpoints(service, color)))
        }) else {
            return Vec::new();
        };
        let chosen = endpoints.into_iter().filter(|e| wanted.is_empty() || wanted.contains(&e.id));
        join_all(chosen.map(|endpoint| {
            let config = &config;
            async move {
                let label = endpoint.label;
                let outcome = match (endpoint.address, endpoint.unwell) {
                    (_, Some(unwell)) => Err(NotReady::Unwell { label, unwell }),
                    (None, None) => Err(NotReady::NoAddress(label)),
                    (Some(address), None) => {
                        let key = (service.clone(), color, endpoint.id.clone());
                        let settings = endpoint.settings.as_deref().unwrap_or(config);
                        let target = ProbeTarget::new(address, settings);
                        self.ask_until_sure(&key, label, &target).await
                    }
                };
                (endpoint.id, outcome)
            }
        }))
        .await
    }

    async fn ask_until_sure(
        &self,
        key: &EndpointKey,
        label: String,
        target: &ProbeTarget,
    ) -> Result<(), NotReady> {
        for pass in 1..=target.probe.rise.max(1) {
            let answer = self.ask(target).await;
            self.probe_durations(key).observe(answer.took);
            if !answer.passed {
                let failed = NotReady::Failed { label, answer: answer.text.clone() };
                self.answered(key, target, answer);
                return Err(failed);
            }
            if pass >= target.probe.rise {
                let came_up = self.change_quietly(|state| state.found_ready(key, answer));
                if came_up {
                    self.came_up(key, target);
                }
                self.end_force(key);
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Between two rounds of questions to a color that is to become ready.
const ASK_AGAIN: Duration = Duration::from_millis(100);
