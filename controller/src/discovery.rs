//! Containers in: what the engine shows and tells becomes what the controller goes by.
//!
//! Two tasks. One follows what has happened to containers and needs no question; it waits for nobody,
//! so that an endpoint that is about to go is out of the table at once. The other looks at the engine,
//! when told to and when asked. What is made of it is in [`classify`], without I/O.

pub(crate) mod own_container;

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use crate::engine::{Change, Container, Containers, EngineError, Listing, Transition, WorkloadId};
use crate::error::Error;
use crate::panics::caught;
use crate::serving::controller::Controller;
use crate::state::State;
pub(crate) use crate::state::classify;

/// Asks the task that looks at the engine. Clones ask the same one.
#[derive(Clone, Debug)]
pub(crate) struct Discovery {
    ask: mpsc::Sender<oneshot::Sender<Looked>>,
    returned: watch::Receiver<u64>,
}

/// What there is, or why the engine could not be looked at.
type Looked = Result<Vec<Container>, Error>;

impl Discovery {
    /// Starts to look; ends with the last handle. `own` is what our own container may be called.
    ///
    /// Needs a tokio runtime.
    #[must_use]
    pub(crate) fn start(controller: Controller, containers: Containers, own: Vec<String>) -> Self {
        let (ask, asked) = mpsc::channel(16);
        let (returns, returned) = watch::channel(0);
        let watcher = Watcher { controller, containers, own, returns };
        tokio::spawn(watcher.run(asked));
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
        looked.map_err(|error| Error::DockerUnavailable(error.to_string()))
    }
}

/// The task that looks.
struct Watcher {
    controller: Controller,
    containers: Containers,
    /// What our own container may be called.
    own: Vec<String>,
    /// How often the engine has come back.
    returns: watch::Sender<u64>,
}

impl Watcher {
    async fn run(self, mut asked: mpsc::Receiver<oneshot::Sender<Looked>>) {
        while caught("discovery", self.watch(&mut asked)).await.is_none() {
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Looks when something has changed, when asked, and again where a look has failed. Ends when
    /// nobody will ask again.
    async fn watch(&self, asked: &mut mpsc::Receiver<oneshot::Sender<Looked>>) {
        let mut changes = self.containers.changes();
        let mut transitions = changes.transitions;
        let facts = self.controller.clone();
        let following = tokio::spawn(async move {
            while let Some((id, transition)) = transitions.recv().await {
                caught("a transition", record_transition(&facts, id, transition)).await;
            }
        });
        let _following = AbortOnDrop(following.abort_handle());
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
                question = asked.recv() => {
                    let Some(answer) = question else { return };
                    let found = self.look().await.map(|()| self.controller.state(containers));
                    // Whoever asked may have gone.
                    answer.send(found).ok();
                }
                () = due => {
                    again = self.look().await.is_err().then(|| Instant::now() + LOOK_AGAIN);
                }
                change = changes.looks.recv() => {
                    let Some(change) = change else { return };
                    if self.note_change(change).await.is_err() {
                        // The first of several failures sets the time: no change puts it off.
                        again.get_or_insert_with(|| Instant::now() + LOOK_AGAIN);
                    }
                }
            }
        }
    }

    async fn note_change(&self, change: Change) -> Result<(), Error> {
        match change {
            Change::Everything => self.look().await,
            Change::Container(id) => self.look_at(id).await,
            // What was known may still be so, and whoever serves goes on.
            Change::Gone(error) => {
                self.note_engine(Some(error));
                Ok(())
            }
        }
    }

    /// Whether the engine answers, for those who ask and for those who wait for its return.
    fn note_engine(&self, error: Option<String>) {
        if self.controller.change_quietly(|state| state.engine_answered(error)) {
            info!("docker answers again");
            self.returns.send_modify(|returns| *returns += 1);
        }
    }

    async fn look_at(&self, id: WorkloadId) -> Result<(), Error> {
        for _ in 0..TRIES {
            let begun = self.controller.state(|state| state.observed().transitions());
            let found = self.containers.inspect(id.as_str()).await.map_err(unavailable)?;
            // This may be the very look that what has happened meanwhile has asked for.
            if self.controller.state(|state| state.observed().has_moved(&id, begun)) {
                continue;
            }
            return self.controller.observe(move |state| state.inspected(&id, found, begun)).await;
        }
        Err(Error::DockerUnavailable(format!("{id} changes all the time")))
    }

    async fn look(&self) -> Result<(), Error> {
        let begun = self.controller.state(|state| state.observed().transitions());
        let listed = self.containers.list().await;
        self.note_engine(listed.as_ref().err().map(ToString::to_string));
        let Listing { containers, unanswered } = listed.map_err(unavailable)?;
        let own = own_container::find(&self.containers, &self.own).await;
        // For people alone: what serves does not wait for it.
        let version = timeout(VERSION, self.containers.version()).await.ok().and_then(Result::ok);
        let seen = self.controller.observe(move |state| {
            state.engine_is(version);
            state.listed(containers, &unanswered, own.as_ref(), begun);
        });
        seen.await
    }
}

/// Writes down what has happened to a container, without asking the engine.
async fn record_transition(controller: &Controller, id: WorkloadId, transition: Transition) {
    let recorded = controller.observe(move |state| {
        if let Some(name) = state.happened(&id, &transition, Instant::now()) {
            info!(container = name, ?transition, "leaves the table");
        }
    });
    if let Err(error) = recorded.await {
        warn!(%error, "an endpoint that is about to go is still in the table");
    }
}

/// Every container of ours.
fn containers(state: &State) -> Vec<Container> {
    state.observed().workloads().map(|workload| workload.container.clone()).collect()
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn unavailable(error: EngineError) -> Error {
    Error::DockerUnavailable(error.to_string())
}

/// How often a container is looked at that changes meanwhile, before it is left for later.
const TRIES: u8 = 4;
/// Between two looks at an engine that does not answer.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// For the engine to say which one it is.
const VERSION: Duration = Duration::from_secs(1);
