//! What every rollout works with, and the questions it asks of it.

use std::time::Duration;

use cutover_api::{Ending, Report, RolloutEvent};
use cutover_proxy::table::{Color, EndpointId, ServiceName};
use cutover_rollout::Phase;
use tokio::time::Instant;
use tracing::warn;

use super::progress::Progress;
use super::steps::StepError;
use crate::discovery::Discovery;
use crate::engine::Containers;
use crate::error::Error;
use crate::serving::controller::Controller;
use crate::state::history::{Entry, Release};
use crate::state::rollout::Part;

/// The controller, the engine, and the one who looks at it. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// Who serves.
    pub controller: Controller,
    /// The engine.
    pub containers: Containers,
    /// What there is.
    pub discovery: Discovery,
}

impl Tools {
    /// Refuses a service that nobody has heard of.
    pub(super) fn known(&self, service: &ServiceName) -> Result<(), Error> {
        self.controller.state(|state| {
            let known =
                state.service(service).is_some() || state.journal().services.contains_key(service);
            known.then_some(()).ok_or_else(|| Error::UnknownService {
                name: service.to_string(),
                known: state.known(),
            })
        })
    }

    /// Refuses where the engine or the disk would not go along, before anything is touched: even the
    /// warm color that is in the way.
    pub(super) async fn can_begin(&self) -> Result<(), Error> {
        self.discovery.look().await?;
        self.controller.save().await
    }

    /// Writes down what has been done already. A disk that does not take it is no reason to do it again:
    /// it holds in memory and goes out with the next write, and a crash finds it in the state.
    pub(super) async fn remember(
        &self,
        service: &ServiceName,
        change: impl FnOnce(&mut crate::state::service::ServiceState),
    ) {
        if let Err(error) = self.controller.remember(service, change).await {
            warn!(%service, %error, "done, and not yet in the journal");
        }
    }

    /// Whether each of these colors has somebody to serve, or serves already.
    pub(super) fn can_serve(&self, colors: &[(ServiceName, Color)]) -> Result<(), StepError> {
        self.controller.state(|state| {
            for (service, color) in colors {
                let endpoints = state.endpoints(service, *color);
                let up = endpoints.iter().any(|endpoint| state.up(service, *color, endpoint));
                let serves = state.weights(service).active() == (*color).into();
                if !up && !serves {
                    let reason = format!("{service}: {color} has no endpoint that is up");
                    return Err(StepError::lasting(reason));
                }
            }
            Ok(())
        })
    }

    /// Whether a color has no container, in any state, and no endpoint of the config file.
    pub(super) fn is_empty(&self, service: &ServiceName, color: Color) -> bool {
        self.controller.state(|state| {
            let mut placed = state.discovered().placed.values();
            !placed.any(|placed| placed.service == *service && placed.color == color)
                && state.endpoints(service, color).is_empty()
        })
    }

    /// Whether requests go to a container.
    pub(super) fn serves(&self, service: &ServiceName, id: &str) -> bool {
        self.controller.state(|state| {
            let mut endpoints = state.discovered().endpoints.iter();
            let found = endpoints.find(|e| e.service == *service && e.container == id);
            found.is_some_and(|endpoint| state.weights(service).serves(endpoint.color))
        })
    }

    /// The same, and that it is in the table that is live.
    pub(super) fn serves_live(&self, service: &ServiceName, id: &str) -> bool {
        let named = self.controller.state(|state| state.names_container(service, id));
        named && self.serves(service, id)
    }

    /// Whether a container is ready, and no other endpoint of its service is.
    pub(super) fn is_last_ready(&self, service: &ServiceName, id: &str) -> bool {
        self.controller.state(|state| {
            let ours = |endpoint: &EndpointId| {
                endpoint.0.strip_prefix(id).is_some_and(|port| port.starts_with(':'))
            };
            let mut ready = Vec::new();
            for color in Color::ALL {
                let endpoints = state.endpoints(service, color).into_iter();
                let up = endpoints.filter(|endpoint| state.up(service, color, endpoint));
                ready.extend(up.map(|endpoint| ours(&endpoint.id)));
            }
            let spares = state.discovered().spares.iter().filter(|spare| spare.service == *service);
            ready.extend(
                spares.filter(|spare| state.is_ready(spare)).map(|spare| ours(&spare.id())),
            );
            !ready.is_empty() && ready.into_iter().all(|ours| ours)
        })
    }

    /// What an image that is here is pinned to under a reference.
    pub(super) async fn pin(&self, image_id: &str, reference: &str) -> Option<String> {
        let image = self.containers.image(image_id).await.ok().flatten();
        Some(image.map_or_else(|| image_id.to_owned(), |image| image.pin(reference)))
    }

    /// Says how many requests and streams a color still has, again and again.
    pub(super) async fn say_draining(
        &self,
        service: &ServiceName,
        color: Color,
        phase: Phase,
        progress: &Progress,
    ) {
        loop {
            tokio::time::sleep(SAY_AGAIN).await;
            let draining = self.controller.state(|state| state.draining(service, Instant::now()));
            let ours = draining.iter().filter(|d| d.color == color);
            let (requests, streams) =
                ours.fold((0, 0), |(r, s), d| (r + d.requests, s + d.streams));
            let service = service.clone();
            progress.say(RolloutEvent::Drain { service, phase, color, requests, streams });
        }
    }

    /// Writes a rollout's end into the history, the journal and the metrics: of all its services at
    /// once.
    pub(super) async fn conclude(&self, ends: &[(Part, Report, Release)]) {
        self.controller.remember_all(|journal| {
            for (part, report, release) in ends {
                let state = journal.service_mut(&part.service);
                state.members.give_out(part.revision);
                match report.result {
                    Ending::Done => {
                        state.members.bring(part.to, part.revision);
                        if part.both.is_some() {
                            state.members.bring(part.from, part.revision);
                        }
                    }
                    // Both are what they were.
                    Ending::Refused | Ending::RolledBack if part.both.is_some() => {}
                    // A newer rollout may have brought another release to it meanwhile.
                    Ending::Refused | Ending::RolledBack | Ending::Failed
                        if state.members.revision(part.to) > Some(part.revision) => {}
                    Ending::Refused | Ending::RolledBack | Ending::Failed => {
                        state.members.set_revision(part.to, None);
                    }
                }
                state.record(Entry::new(report.clone(), Some(release.clone())));
            }
        });
        if let Err(error) = self.controller.save().await {
            warn!(%error, "the history does not know the last rollout");
        }
        for (part, report, _) in ends {
            self.controller.count_rollout(&part.service, report.result);
        }
    }
}

const SAY_AGAIN: Duration = Duration::from_secs(1);
