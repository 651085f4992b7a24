//! Containers in: from labels and the engine's events to endpoints.
//!
//! One task looks at the engine and tells the controller; everyone else asks it to look again. What
//! it makes of what it sees is in [`classify`], without I/O.

mod home;
pub(crate) mod classify;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover_proxy::table::ServiceName;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use self::classify::{Known, Survey};
pub(crate) use self::home::Home;
use crate::config::labels::COMPOSE_PROJECT;
use crate::engine::{Change, Container, Containers, Signal, State, Transition, WorkloadId};
use crate::error::Error;
use crate::panics::caught;
use crate::serving::controller::Controller;

/// Asks the task that looks at the engine. Clones ask the same one.
#[derive(Clone, Debug)]
pub(crate) struct Discovery {
    ask: mpsc::Sender<oneshot::Sender<Result<Vec<Container>, String>>>,
    returned: watch::Receiver<u64>,
}

impl Discovery {
    /// Starts to look; ends with the last handle.
    ///
    /// Needs a tokio runtime.
    #[must_use]
    pub(crate) fn start(controller: Controller, containers: Containers) -> Self {
        let (ask, asked) = mpsc::channel(16);
        let (returns, returned) = watch::channel(0);
        let scout = Scout {
            controller,
            containers,
            seen: BTreeMap::new(),
            gone: BTreeSet::new(),
            doomed: BTreeMap::new(),
            home: None,
            project: None,
            left_out: BTreeSet::new(),
            returns,
        };
        tokio::spawn(scout.run(asked));
        Self { ask, returned }
    }

    /// Ticks each time the engine answers again after it did not.
    #[must_use]
    pub(crate) fn returns(&self) -> watch::Receiver<u64> {
        self.returned.clone()
    }

    /// Looks at every container now, tells the controller, and answers what there is.
    ///
    /// # Errors
    /// [`Error::DockerUnavailable`].
    pub(crate) async fn look(&self) -> Result<Vec<Container>, Error> {
        let (answer, answered) = oneshot::channel();
        let gone = || Error::DockerUnavailable("discovery has ended".into());
        self.ask.send(answer).await.map_err(|_| gone())?;
        let looked = answered.await.map_err(|_| gone())?;
        looked.map_err(Error::DockerUnavailable)
    }
}

/// The task.
struct Scout {
    controller: Controller,
    containers: Containers,
    seen: BTreeMap<WorkloadId, Container>,
    /// Containers that were seen and are no more; an ID is never used again.
    gone: BTreeSet<String>,
    /// Told to end, and until when that is believed.
    doomed: BTreeMap<WorkloadId, Instant>,
    home: Option<Home>,
    /// The compose project that we are in ourselves.
    project: Option<String>,
    left_out: BTreeSet<(String, String)>,
    /// How often the engine has come back.
    returns: watch::Sender<u64>,
}

impl Scout {
    async fn run(mut self, mut asked: mpsc::Receiver<oneshot::Sender<Looked>>) {
        while caught("discovery", self.explore(&mut asked)).await.is_none() {
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Begins with a look at everything; ends when nobody will ask again.
    async fn explore(&mut self, asked: &mut mpsc::Receiver<oneshot::Sender<Looked>>) {
        let mut changes = self.containers.changes();
        let mut again: Option<Instant> = None;
        loop {
            let due = async {
                match again {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                happened = changes.transitions.recv() => match happened {
                    Some((id, transition)) => {
                        if self.note_transition(id, transition).await.is_err() {
                            again = Some(Instant::now() + LOOK_AGAIN);
                        }
                    }
                    None => return,
                },
                change = changes.looks.recv() => match change {
                    Some(change) => {
                        if self.note(change).await.is_err() {
                            again = Some(Instant::now() + LOOK_AGAIN);
                        }
                    }
                    None => return,
                },
                question = asked.recv() => match question {
                    Some(answer) => {
                        let looked = self.look().await.map_err(|error| error.to_string());
                        let found = looked.map(|()| self.seen.values().cloned().collect());
                        // Whoever asked may have gone.
                        answer.send(found).ok();
                    }
                    None => return,
                },
                () = due => {
                    again = self.look().await.is_err().then(|| Instant::now() + LOOK_AGAIN);
                }
            }
        }
    }

    async fn note(&mut self, change: Change) -> Result<(), Error> {
        match change {
            Change::Everything => self.look().await,
            // What was known may still be so, and whoever serves goes on.
            Change::Gone(error) => {
                self.note_engine(Some(error));
                Ok(())
            }
            Change::Container(id) => self.look_at(id).await,
        }
    }

    /// What is known without a question. Its address may be a stranger's in a moment: first out of
    /// the table; the look comes by the other lane.
    async fn note_transition(
        &mut self,
        id: WorkloadId,
        transition: Transition,
    ) -> Result<(), Error> {
        match transition {
            Transition::Signalled(signal) => {
                self.signalled(id, signal).await;
                Ok(())
            }
            Transition::Started => {
                self.doomed.remove(&id);
                Ok(())
            }
            Transition::Ended => {
                self.without(&id, |container| container.state = State::Stopped).await
            }
            Transition::Left(network) => {
                let leave = |container: &mut Container| {
                    container.networks.remove(&network);
                };
                self.without(&id, leave).await
            }
        }
    }

    /// Tells the controller what has gone of a container, without asking the engine.
    async fn without(
        &mut self,
        id: &WorkloadId,
        take: impl FnOnce(&mut Container),
    ) -> Result<(), Error> {
        let Some(container) = self.seen.get_mut(id) else {
            return Ok(());
        };
        take(container);
        info!(container = container.name, "leaves the table");
        self.tell().await
    }

    /// Whether the engine answers, for those who ask and for those who wait for its return.
    fn note_engine(&self, error: Option<String>) {
        let back = self.controller.change_quietly(|state| {
            let was_gone = state.docker_error.is_some() && error.is_none();
            state.docker_error = error;
            was_gone
        });
        if back {
            info!("docker answers again");
            self.returns.send_modify(|returns| *returns += 1);
        }
    }

    /// A container that is told to end leaves the table before its process can have gone.
    async fn signalled(&mut self, id: WorkloadId, signal: Signal) {
        let Some(container) = self.seen.get(&id) else {
            return;
        };
        if !signal.ends(container.stop_signal.as_deref()) {
            return;
        }
        info!(container = container.name, signal = signal.0, "leaves the table");
        let until = Instant::now() + container.stop_grace + BELIEVED;
        self.doomed.insert(id.clone(), until);
        if let Err(error) = self.controller.remove_endpoint(id.as_str()).await {
            warn!(%error, "an endpoint that is about to go is still in the table");
        }
    }

    async fn look_at(&mut self, id: WorkloadId) -> Result<(), Error> {
        let found = self.containers.inspect(id.as_str()).await.map_err(unavailable)?;
        let ours =
            |c: &Container| c.labels.keys().any(|k| k.starts_with(crate::config::labels::PREFIX));
        match found.filter(ours) {
            Some(container) => {
                self.seen.insert(id, container);
            }
            None => {
                if self.seen.remove(&id).is_none() {
                    return Ok(());
                }
                self.gone.insert(id.into());
            }
        }
        self.tell().await
    }

    async fn look(&mut self) -> Result<(), Error> {
        let listed = self.containers.list().await;
        self.note_engine(listed.as_ref().err().map(ToString::to_string));
        let listed = listed.map_err(unavailable)?;
        let own = home::own(&self.containers).await;
        self.home = Some(Home::of(own.as_ref()));
        self.project = own.and_then(|own| own.label(COMPOSE_PROJECT).map(str::to_owned));
        let mut before = std::mem::take(&mut self.seen);
        self.seen = listed.containers.into_iter().map(|c| (c.id.clone(), c)).collect();
        for id in listed.unanswered {
            if let Some(known) = before.remove(&id) {
                self.seen.insert(id, known);
            }
        }
        let gone = before.into_keys().filter(|id| !self.seen.contains_key(id));
        self.gone.extend(gone.map(String::from));
        self.tell().await
    }

    /// Makes what is seen what the controller knows.
    async fn tell(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let seen = &self.seen;
        self.doomed.retain(|id, until| *until > now && seen.contains_key(id));
        let Survey { discovery, rosters } = self.survey();
        for (service, roster) in rosters {
            // A rollout may have noted a container of its own meanwhile: that stays.
            let gone = &self.gone;
            let note = |state: &mut crate::state::service::ServiceState| {
                state.members.take_classified(roster);
                state.members.forget_gone(gone);
            };
            let kept = self.controller.remember(&service, note).await;
            if let Err(error) = kept {
                warn!(%error, %service, "a restart will not know its containers");
            }
        }
        let left_out: BTreeSet<_> = discovery
            .left_out
            .iter()
            .map(|left| (left.container.clone(), left.reason.clone()))
            .collect();
        for (container, reason) in left_out.difference(&self.left_out) {
            warn!(container, reason, "left out");
        }
        self.left_out = left_out;
        match self.controller.set_containers(discovery).await {
            // It goes out with the first table that a proxy takes.
            Err(Error::ProxyUnavailable) => Ok(()),
            told => told,
        }
    }

    fn survey(&self) -> Survey {
        let containers: Vec<_> = self.seen.values().cloned().collect();
        let config = self.controller.config();
        let known = Known {
            services: &config.services,
            home: self.home.as_ref().unwrap_or(&Home::Host),
            project: self.project.as_deref(),
            doomed: self.doomed.keys().collect(),
            of: &|service: &ServiceName| {
                let state = self.controller.service_state(service);
                let active = state.weights.map(crate::state::weights::Weights::active);
                (state.members, active)
            },
        };
        classify::survey(&containers, &known)
    }
}

type Looked = Result<Vec<Container>, String>;

fn unavailable(error: crate::engine::EngineError) -> Error {
    Error::DockerUnavailable(error.to_string())
}

/// Between two looks at an engine that does not answer.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long after its grace a container that was told to end and did not is taken back.
const BELIEVED: Duration = Duration::from_secs(5);
