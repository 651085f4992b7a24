//! Bringing a release in, and taking it back: the executor of the steps of `cutover_rollout`.

mod auto;
mod begin;
mod clean;
mod copy;
mod janitor;
mod plan;
mod prepare;
mod preparing;
mod progress;
mod prove_drained;
mod pull;
mod ready;
mod recover;
mod report;
pub(crate) mod request;
mod run;
mod steps;
mod tools;
mod watch;
mod way_back;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cutover_api::{Ending, Kind, Line, Report};
use cutover_proxy::table::ServiceName;
use cutover_rollout::{Event, Phase};
use tokio::sync::{SetOnce, mpsc};
use tokio::time::timeout;

use self::begin::Beginning;
use self::plan::Plan;
use self::preparing::Preparing;
use self::progress::Progress;
use self::request::{Deploy, Rollback};
use self::run::{Execution, Handle};
pub(crate) use self::tools::Tools;
use crate::error::Error;
use crate::panics::{background, caught, detached, forever};
use crate::registry::Logins;
use crate::serving::Controller;
use crate::state::lock_owner::LockOwner;
use crate::state::locks::RolloutLock;
use crate::state::rollout::Record;

/// All rollouts: starts them, finds them again, and finishes what a crash has left.
#[derive(Clone, Debug)]
pub(crate) struct Rollouts {
    tools: Tools,
    /// By the rollout's ID. Locked for a look or a change, never across an await.
    running: Arc<Mutex<BTreeMap<String, Handle>>>,
    /// Those that are not under way yet.
    preparing: Preparing,
    /// Whether what the journal held has been taken up: nothing new begins before.
    begun: Arc<SetOnce<()>>,
}

/// The lines that a client reads: events, and the reports last.
pub(crate) type Lines = mpsc::UnboundedReceiver<Line>;

impl Rollouts {
    /// Takes up what the journal says was under way.
    ///
    /// Needs a tokio runtime.
    #[must_use]
    pub(crate) fn start(tools: Tools) -> Self {
        let rollouts = Self {
            tools,
            running: Arc::default(),
            preparing: Preparing::default(),
            begun: Arc::default(),
        };
        let this = rollouts.clone();
        background("tidying up", async move {
            let begun = async {
                this.tools.first_look().await;
                this.take_up();
            };
            caught("taking rollouts up", begun).await;
            // Nobody else sets it.
            this.begun.set(()).ok();
            this.tools.keep_tidy().await;
        });
        let this = rollouts.clone();
        let watch = move || this.clone().watch_for_newcomers();
        tokio::spawn(forever("watching for newcomers", watch));
        rollouts
    }

    /// Whose rollouts they are.
    pub(crate) fn controller(&self) -> &Controller {
        &self.tools.controller
    }

    /// Deploys; the rollout goes on whether anyone reads the lines or not.
    ///
    /// # Errors
    /// [`Error::RolloutInProgress`] when the lock was not to be had in time, and
    /// [`Error::UnknownService`].
    pub(crate) async fn deploy(
        &self,
        service: &ServiceName,
        deploy: Deploy,
        logins: Logins,
    ) -> Result<Lines, Error> {
        self.begun().await;
        let services = services(service, &deploy);
        for service in &services {
            self.tools.known(service)?;
        }
        let wait = Duration::from_millis(deploy.wait_lock_ms);
        let owner = LockOwner::new(Kind::Deploy.as_str(), deploy.by.as_deref());
        let lock = self.tools.controller.locks().take_within(&services, &owner, wait).await?;
        let (client, lines) = mpsc::unbounded_channel();
        let this = self.clone();
        begin_detached(client.clone(), async move {
            this.begin(services, deploy, Beginning { lock, logins, client }).await
        });
        Ok(lines)
    }

    /// Goes back to the release before, or to one of the history.
    ///
    /// While the other color is warm this is a flip. Otherwise the release is started as it was.
    ///
    /// # Errors
    /// As [`Rollouts::deploy`], and [`Error::NotFound`] where there is nothing to go back to.
    pub(crate) async fn rollback(
        &self,
        service: &ServiceName,
        rollback: Rollback,
        logins: Logins,
    ) -> Result<Lines, Error> {
        self.begun().await;
        self.tools.known(service)?;
        if let Some((handle, side)) = self.after_flip(service) {
            return Ok(self.roll_back_from(handle, side, rollback, logins));
        }
        let wait = Duration::from_millis(rollback.wait_lock_ms);
        let services = [service.clone()];
        let owner = LockOwner::new(Kind::Rollback.as_str(), rollback.by.as_deref());
        let lock = self.tools.controller.locks().take_within(&services, &owner, wait).await?;
        let (client, lines) = mpsc::unbounded_channel();
        let by = rollback.by.clone();
        if let Some(record) = self.tools.warm(service, rollback.revision)
            && self.hand_over(&record.id).await
        {
            let back = self.tools.back_to_warm(&record, service, by);
            self.run(back, lock, Logins::default(), Event::Begin, client);
            return Ok(lines);
        }
        let state = self.tools.controller.service_state(service);
        let active = self.tools.controller.state(|state| state.weights(service)).active();
        let current = active.colors().first().and_then(|color| state.members.revision(*color));
        let ways = state.ways_back();
        let wanted = rollback.revision.or_else(|| ways.before(current.unwrap_or(u64::MAX)));
        let found = wanted.and_then(|revision| ways.release(revision).cloned());
        let release = found.ok_or_else(|| match rollback.revision {
            Some(revision) => Error::NotFound(format!("{service} has no revision {revision}")),
            None => Error::NotFound(format!("{service} has no release to go back to")),
        })?;
        let this = self.clone();
        let service = service.clone();
        begin_detached(client.clone(), async move {
            let with = Beginning { lock, logins, client };
            this.begin_again(service, release, rollback, with).await
        });
        Ok(lines)
    }

    /// What a deploy would do.
    ///
    /// # Errors
    /// [`Error::UnknownService`], and [`Error::DockerUnavailable`].
    pub(crate) async fn plan(
        &self,
        service: &ServiceName,
        deploy: &Deploy,
        logins: &Logins,
    ) -> Result<Plan, Error> {
        let mut plan = plan::draw(&self.tools, &services(service, deploy), deploy).await?;
        plan.check_images(&self.tools, logins).await?;
        Ok(plan)
    }

    /// Former rollouts, newest first.
    ///
    /// # Errors
    /// [`Error::UnknownService`].
    pub(crate) fn history(&self, service: &ServiceName) -> Result<Vec<Report>, Error> {
        self.tools.known(service)?;
        Ok(self.tools.controller.service_state(service).history().shown())
    }

    fn run(
        &self,
        record: Record,
        lock: RolloutLock,
        logins: Logins,
        first: Event,
        client: mpsc::UnboundedSender<Line>,
    ) {
        let progress = Progress::new(self.tools.controller.clone(), Some(client));
        self.spawn(record, progress, Some(lock), logins, first, 1);
    }

    fn spawn(
        &self,
        record: Record,
        progress: Progress,
        lock: Option<RolloutLock>,
        logins: Logins,
        first: Event,
        chances: u8,
    ) {
        let id = record.id.clone();
        let services = record.services();
        if let (Some(lock), Some(part)) = (&lock, record.parts.first()) {
            lock.number(part.revision);
        }
        let (execution, handle) =
            Execution::new(self.tools.clone(), record, progress.clone(), lock, logins);
        {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.retain(|_, handle| !handle.is_over());
            running.insert(id.clone(), handle);
        }
        let this = self.clone();
        background("what became of a rollout", async move {
            if caught("a rollout", execution.run(first)).await.is_some() {
                return;
            }
            // As after a crash of the whole controller: what was begun is finished or undone.
            match this.journaled().remove(&id) {
                Some(record) if chances > 0 => this.resume(record, progress, chances - 1),
                _ => this.give_up(&services, &progress),
            }
        });
    }

    /// After more panics than can be passed over. What the journal has is for the next start.
    fn give_up(&self, services: &[ServiceName], progress: &Progress) {
        let error = Error::Failed("an internal error ended the rollout; the log says where".into());
        for service in services {
            self.tools.controller.count_rollout(service, Ending::Failed);
        }
        progress.send(Line::Error(error.body()));
    }

    async fn begun(&self) {
        self.begun.wait().await;
    }

    /// The rollouts of a service that have not ended.
    fn of(&self, service: &ServiceName) -> Vec<Handle> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = running.values().filter(|h| !h.is_over() && h.standing().has(service));
        ours.cloned().collect()
    }

    /// Has a rollout leave its warm containers to another. False where it has begun to stop them.
    async fn hand_over(&self, id: &str) -> bool {
        let handle = {
            let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.get(id).cloned()
        };
        let Some(mut handle) = handle else { return true };
        handle.send(Event::Handover);
        let left = handle.until(|standing| standing.phase != Phase::KeepWarm);
        timeout(HANDED_OVER, left).await.ok();
        handle.is_over()
    }
}

/// Has something begun, whether the client waits for it or not; it is told why it was not.
fn begin_detached(
    client: mpsc::UnboundedSender<Line>,
    begin: impl Future<Output = Result<(), Error>> + Send + 'static,
) {
    background("what a client asked for", async move {
        if let Err(error) = detached(begin).await {
            client.send(Line::Error(error.body())).ok();
        }
    });
}

fn services(first: &ServiceName, deploy: &Deploy) -> Vec<ServiceName> {
    let mut services = deploy.services.clone();
    if services.is_empty() {
        services.push(first.clone());
    }
    services.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    services.dedup();
    services
}

/// For a rollout to leave its warm containers: one write of the journal.
const HANDED_OVER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
