//! Carrying out what the state machine asks for, one function per action. Each can be done twice.

use std::time::Duration;

use cutover_api::Weights;
use cutover_proxy::table::ServiceName;
use cutover_rollout::{Limits, Phase, StopReason};
use tokio::time::{Instant, sleep};

use super::Tools;
use crate::config::DrainConfig;
use crate::config::labels::INTERNAL_PREFIX;
use crate::discovery::classify;
use crate::engine::{EngineError, Spec, State, WorkloadId};
use crate::error::Error;
use crate::serving::edge::Applied;
use crate::serving::ready::Ready;
use crate::state::drains::DrainEnd;
use crate::state::rollout::{Found, Part, Replica};
use crate::state::service::ServiceState;

/// Why a step failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub(super) struct StepError {
    /// For people.
    pub reason: String,
    /// Whether the same may well succeed in a moment.
    pub transient: bool,
}

impl StepError {
    /// Another try would fail as well.
    pub(super) fn lasting(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), transient: false }
    }

    /// Another try may succeed.
    pub(super) fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), transient: true }
    }
}

impl From<EngineError> for StepError {
    fn from(error: EngineError) -> Self {
        Self { transient: error.is_transient(), reason: Error::from(error).to_string() }
    }
}

impl From<Error> for StepError {
    fn from(error: Error) -> Self {
        Self { transient: error.is_transient(), reason: error.to_string() }
    }
}

impl Tools {
    /// Where both serve: lets the color finish, with the other serving alone meanwhile.
    pub(super) async fn take_out(
        &self,
        part: &Part,
        limits: Limits,
    ) -> Result<DrainEnd, StepError> {
        self.can_serve(&[(part.service.clone(), part.from)])?;
        let alone = [(part.service.clone(), Weights::of(part.from.into()))];
        let applied = self.controller.set_weights(&alone, Some(limits.into())).await?;
        let drained = self.controller.drained(&part.service, part.to, applied.generation).await;
        let by_somebody =
            || StepError::lasting(format!("{} was made to serve by somebody else", part.to));
        drained.ok_or_else(by_somebody)
    }

    /// Flips to new containers. A color that nobody has found ready yet is asked now: containers that
    /// run already, or another try.
    pub(super) async fn flip(
        &self,
        parts: &[Part],
        mut ready: Vec<Ready>,
        shares: &[(ServiceName, Weights)],
        drain: Option<DrainConfig>,
    ) -> Result<Applied, StepError> {
        for Part { service, to, .. } in parts {
            if !ready.iter().any(|ready| ready.service() == service && ready.color() == *to) {
                ready.push(self.controller.ready_now(service, *to).await?);
            }
        }
        Ok(self.controller.bring_in(ready, shares, drain).await?)
    }

    /// Makes shares of the way back live. A color that is to serve alone must have somebody to serve;
    /// one that is put back may take a while to be up again.
    pub(super) async fn bring_back(
        &self,
        phase: Phase,
        parts: &[Part],
        shares: &[(ServiceName, Weights)],
        drain: Option<DrainConfig>,
    ) -> Result<Applied, StepError> {
        let parts: Vec<_> =
            parts.iter().filter(|part| phase != Phase::Revert || !self.is_moot(part)).collect();
        let shares: Vec<_> = shares
            .iter()
            .filter(|(service, _)| parts.iter().any(|part| part.service == *service))
            .cloned()
            .collect();
        let side = |part: &Part| if phase == Phase::Revert { part.from } else { part.to };
        let back: Vec<_> = parts.iter().map(|part| (part.service.clone(), side(part))).collect();
        if phase == Phase::Revert {
            self.start_again(&parts).await?;
        }
        let end = Instant::now() + BACK;
        while self.can_serve(&back).is_err() && Instant::now() < end {
            sleep(POLL).await;
        }
        if phase == Phase::Revert {
            self.can_serve(&back)?;
        }
        Ok(self.controller.set_weights(&shares, drain).await?)
    }

    /// Starts the old containers of colors that have nobody up: somebody has stopped them since the
    /// flip, or they ended by themselves.
    async fn start_again(&self, parts: &[&Part]) -> Result<(), StepError> {
        let mut started = false;
        for part in parts.iter().filter(|part| part.both.is_none()) {
            if self.can_serve(&[(part.service.clone(), part.from)]).is_ok() {
                continue;
            }
            for id in &part.old {
                let found = self.containers.inspect(id).await?;
                if let Some(container) = found.filter(|found| found.state == State::Stopped) {
                    self.containers.start(container.id.as_str()).await?;
                    started = true;
                }
            }
        }
        if started {
            self.discovery.look().await?;
        }
        Ok(())
    }

    /// Whether there is nothing to go back from, and nothing to go back to: somebody has removed the
    /// containers of both sides. What serves then, if anything, is not this rollout's business.
    fn is_moot(&self, part: &Part) -> bool {
        let new = part.new_ids();
        let gone = self.controller.state(|state| {
            !new.is_empty() && !new.iter().any(|id| state.discovered().placed.contains_key(id))
        });
        gone && self.is_empty(&part.service, part.from)
    }

    /// Creates one replica, or finds that it is there.
    pub(super) async fn create(
        &self,
        part: &Part,
        replica: &Replica,
        rollout: &str,
    ) -> Result<(WorkloadId, Spec), StepError> {
        let edge = self.controller.state(|state| state.journal().edge.clone());
        let unknown = || StepError::lasting("what the new container is made of is not known");
        let mut spec = part.finished(replica, rollout, &edge).ok_or_else(unknown)?;
        // The tag may be another image's by now, or nobody's: what was pinned is what is to run.
        if let Some(pinned) = &part.image_id {
            let tagged = self.containers.image(&part.image).await?;
            if tagged.is_none_or(|image| image.id != *pinned) {
                spec.body.image = Some(pinned.clone());
            }
        }
        let id = self.containers.create(&replica.candidate, spec.clone()).await?;
        Ok((id, spec))
    }

    /// Takes the new containers for ours, or forgets them.
    pub(super) async fn enroll(&self, part: &Part, ours: bool) -> Result<(), StepError> {
        // What a rollback has found running is what it was before.
        if !made_here(part) {
            return Ok(());
        }
        let enroll = |state: &mut ServiceState| match ours {
            true => state.members.enroll(&part.new_ids(), part.to, &part.displaced),
            false => state.members.dismiss(&part.new_ids(), &part.displaced),
        };
        if ours {
            return Ok(self.controller.remember(&part.service, enroll).await?);
        }
        self.remember(&part.service, enroll).await;
        Ok(())
    }

    /// Starts the new containers and shows them to the controller, which begins to probe them.
    pub(super) async fn start(&self, part: &Part) -> Result<(), StepError> {
        for id in part.new_ids() {
            self.containers.start(&id).await?;
        }
        self.discovery.look().await?;
        Ok(())
    }

    /// Stops and removes or keeps what failed; gives its last words.
    pub(super) async fn abandon(
        &self,
        part: &Part,
        reason: StopReason,
    ) -> Result<Vec<String>, StepError> {
        let mut words = Vec::new();
        let mut kept = Vec::new();
        let mut serves = false;
        for replica in &part.replicas {
            let Some(id) = self.candidate(part, replica).await? else { continue };
            let id = id.as_str();
            // A failover has brought it back since.
            if self.serves_live(&part.service, id) {
                serves = true;
                continue;
            }
            if words.is_empty() {
                words = self.containers.last_words(id).await.unwrap_or_default();
            }
            let proof = self.prove_drained(&part.service, id, reason).await?;
            self.containers.stop(id, &proof).await?;
            match part.keep_failed {
                true => kept.push(id.to_owned()),
                false => self.containers.remove(id).await?,
            }
        }
        if made_here(part) && !kept.is_empty() {
            self.remember(&part.service, |state| state.members.abandon(&kept)).await;
        }
        if !serves {
            self.enroll(part, false).await?;
        }
        self.discovery.look().await?;
        Ok(words)
    }

    /// The container of a replica, as far as there is one and it is the rollout's to put away.
    async fn candidate(
        &self,
        part: &Part,
        replica: &Replica,
    ) -> Result<Option<WorkloadId>, StepError> {
        let id = replica.id.as_deref().unwrap_or(&replica.candidate);
        let found = self.containers.inspect(id).await?;
        // Its name may be another's by now; what we made says so.
        let ours = found.filter(|container| {
            let made = container.labels.contains_key(&classify::rollout_label());
            made || part.found == Some(Found::Stopped)
        });
        Ok(ours.map(|container| container.id))
    }

    /// Stops containers that have drained, but for those that have been made to serve since.
    pub(super) async fn stop(
        &self,
        service: &ServiceName,
        ids: &[String],
        reason: StopReason,
    ) -> Result<(), StepError> {
        let mut stopped = Vec::new();
        for id in ids.iter().filter(|id| !self.serves(service, id)) {
            if self.is_last_ready(service, id) {
                return Err(StepError::passing(format!("nothing else of {service} is ready")));
            }
            let proof = self.prove_drained(service, id, reason).await?;
            self.containers.stop(id, &proof).await?;
            stopped.push(id.clone());
        }
        self.remember(service, |state| state.members.park(&stopped)).await;
        Ok(())
    }
}

/// The label that says which edge has made a container: others leave it alone.
pub(super) fn edge_label() -> String {
    format!("{INTERNAL_PREFIX}edge")
}

/// Whether a rollout has made its new containers, or found them.
fn made_here(part: &Part) -> bool {
    part.replicas.iter().any(|replica| !replica.candidate.is_empty())
}

/// For what was there before to be probed again.
const BACK: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);
