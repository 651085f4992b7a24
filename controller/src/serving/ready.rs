//! Whether a color can serve: asked now, until sure.

use std::time::Duration;

use cutover_proxy::table::{Color, EndpointId, ServiceName};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout_at};

use crate::error::Error;
use crate::serving::controller::Controller;
use crate::serving::probe;
use crate::serving::probing::Asked;
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
        let mut last = String::from("no probe was answered in time");
        let waiting = async {
            loop {
                match self.all_ready(service, color, endpoints).await {
                    Ok(ready) => return ready,
                    Err(answer) => last = answer,
                }
                sleep(ASK_AGAIN).await;
            }
        };
        match timeout_at(deadline, waiting).await {
            Ok(endpoints) => {
                Ok(Ready { service: service.clone(), color, endpoints, took: start.elapsed() })
            }
            Err(_) => Err(Error::ProbeFailed { service: service.clone(), color, answer: last }),
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
        let (mut endpoints, mut last) = (Vec::new(), None);
        for (id, outcome) in outcomes {
            match outcome {
                Ok(()) => endpoints.push(id),
                Err(answer) => last = Some(answer),
            }
        }
        if !endpoints.is_empty() {
            return Ok(Ready { service: service.clone(), color, endpoints, took: start.elapsed() });
        }
        let answer = last.unwrap_or_else(|| "it has no endpoint".into());
        Err(Error::ProbeFailed { service: service.clone(), color, answer })
    }

    async fn all_ready(
        &self,
        service: &ServiceName,
        color: Color,
        wanted: &[EndpointId],
    ) -> Result<Vec<EndpointId>, String> {
        let outcomes = self.ask_all(service, color, wanted).await;
        if outcomes.is_empty() {
            return Err("it has no endpoint".into());
        }
        if let Some(missing) =
            wanted.iter().find(|id| !outcomes.iter().any(|(seen, _)| seen == *id))
        {
            return Err(format!("{missing} has no address yet"));
        }
        outcomes.into_iter().map(|(id, outcome)| outcome.map(|()| id)).collect()
    }

    /// Asks endpoints of a color, all at once, each until it has passed `rise` times or failed.
    async fn ask_all(
        &self,
        service: &ServiceName,
        color: Color,
        wanted: &[EndpointId],
    ) -> Vec<(EndpointId, Result<(), String>)> {
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
                let outcome = match (endpoint.address, endpoint.unwell) {
                    (_, Some(unwell)) => Err(format!("{}: {unwell}", endpoint.label)),
                    (None, None) => Err(format!("{} has no address", endpoint.label)),
                    (Some(address), None) => {
                        let key = (service.clone(), color, endpoint.id.clone());
                        let settings = endpoint.settings.as_deref().unwrap_or(config);
                        let asked = Asked::new(address, settings);
                        let outcome = self.ask_until_sure(&key, &asked).await;
                        outcome.map_err(|answer| format!("{}: {answer}", endpoint.label))
                    }
                };
                (endpoint.id, outcome)
            }
        }))
        .await
    }

    async fn ask_until_sure(&self, key: &EndpointKey, asked: &Asked) -> Result<(), String> {
        for pass in 1..=asked.probe.rise.max(1) {
            let answer = probe::ask(asked.address, &asked.probe, &asked.host).await;
            if !answer.passed {
                let text = answer.text.clone();
                self.answered(key, asked, answer);
                return Err(text);
            }
            if pass >= asked.probe.rise {
                let came_up = self.change_quietly(|state| {
                    state.health.get_mut(key).is_some_and(|health| health.ready(answer))
                });
                if came_up {
                    self.came_up(key, asked);
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
