//! What is left once a release is done: what is not retained is removed, and the rest gets its lasting
//! names.

use std::collections::BTreeSet;

use cutover_proxy::table::ServiceName;
use cutover_rollout::StopReason;

use super::Tools;
use super::steps::StepError;
use crate::config::labels::COMPOSE_PROJECT;
use crate::engine::{Container, EngineError, State, base_name};
use crate::state::rollout::Part;

impl Tools {
    /// Removes what is not retained, and gives the new containers their lasting names.
    pub(super) async fn clean(&self, part: &Part) -> Result<(), StepError> {
        let (kept, new) = (self.put_away(part).await?, part.new_ids());
        for id in new {
            self.settle_name(&id).await?;
        }
        // What a rollback leaves is what the next release is copied from, under its lasting name.
        for id in part.old.iter().filter(|_| part.labelled) {
            self.settle_name(id).await?;
        }
        self.remember(&part.service, |state| state.members.displace(&kept)).await;
        let containers = self.discovery.look().await?;
        for id in surplus(&containers, &self.aside(&part.service, &containers), part.retain) {
            self.remove_idle(&part.service, &id).await?;
        }
        Ok(())
    }

    /// Removes the containers that the new ones replace, or keeps them under another name. Gives those
    /// that it keeps. What a flip by hand or a failover has made to serve again is left as it is.
    async fn put_away(&self, part: &Part) -> Result<Vec<String>, StepError> {
        let lone = !part.labelled && part.both.is_none();
        let keep = if lone { self.retained(part).await? } else { Vec::new() };
        // A newer rollout may have taken the place of what drained here.
        let members = self.controller.service_state(&part.service).members;
        let replaced = |id: &&String| lone || members.is_aside(id);
        let gone = part.displaced.iter().chain(part.old.iter().filter(replaced));
        let new = part.new_ids();
        let mut kept = Vec::new();
        for id in gone.filter(|id| !new.contains(id)) {
            if self.serves(&part.service, id) || self.drains_elsewhere(part, id) {
                continue;
            }
            if keep.contains(id) {
                self.retire_name(id, part).await?;
                kept.push(id.clone());
            } else {
                self.remove_idle(&part.service, id).await?;
            }
        }
        Ok(kept)
    }

    /// Whether a container drains for a former rollout, which puts it away after that.
    fn drains_elsewhere(&self, part: &Part, id: &str) -> bool {
        self.controller.state(|state| {
            let mut others = state.journal().rollouts_of(&part.service).map(|(_, other)| other);
            let owned = others.any(|other| {
                other.revision < part.revision && other.old.iter().any(|old| old == id)
            });
            owned && state.drains().has(&part.service, id)
        })
    }

    /// The old containers that are kept. Compose would take a stopped container for one of its own,
    /// and an older one for the right one: where it has a say, the history is what is retained.
    async fn retained(&self, part: &Part) -> Result<Vec<String>, StepError> {
        let mut keep = Vec::new();
        for id in part.old.iter().filter(|_| part.retain > 0) {
            let found = self.containers.inspect(id).await?;
            if found.is_some_and(|c| !c.labels.contains_key(COMPOSE_PROJECT)) {
                keep.push(id.clone());
            }
        }
        Ok(keep)
    }

    /// Which of these containers a rollout has put out of the service's colors.
    fn aside(&self, service: &ServiceName, containers: &[Container]) -> Vec<String> {
        let members = self.controller.service_state(service).members;
        let ids = containers.iter().map(|container| container.id.as_str());
        ids.filter(|id| members.is_aside(id)).map(str::to_owned).collect()
    }

    /// Stops and removes a container, unless requests go to it.
    ///
    /// # Errors
    /// For now, while nothing else is ready.
    pub(super) async fn remove_idle(
        &self,
        service: &ServiceName,
        id: &str,
    ) -> Result<(), StepError> {
        if self.serves(service, id) {
            return Ok(());
        }
        // After a restart of the engine its successor may take a moment longer.
        if self.is_last_ready(service, id) {
            return Err(StepError::passing(format!("nothing else of {service} is ready")));
        }
        let proof = self.prove_drained(service, id, StopReason::Idle).await?;
        self.containers.stop(id, &proof).await?;
        Ok(self.containers.remove(id).await?)
    }

    /// Gives a container its name without a revision, where that is free.
    async fn settle_name(&self, id: &str) -> Result<(), StepError> {
        let Some(container) = self.containers.inspect(id).await? else {
            return Ok(());
        };
        let name = base_name(&container.name);
        if name == container.name || self.containers.inspect(name).await?.is_some() {
            return Ok(());
        }
        let renamed = self.containers.rename(id, name).await;
        Ok(renamed.or_else(EngineError::unless_missing)?)
    }

    /// A container that is kept makes room for the name of the one that follows it.
    async fn retire_name(&self, id: &str, part: &Part) -> Result<(), StepError> {
        let Some(container) = self.containers.inspect(id).await? else {
            return Ok(());
        };
        let name = format!("{}{RETIRED}{}", base_name(&container.name), part.revision);
        if retired_by(&container.name).is_some() {
            return Ok(());
        }
        Ok(self.containers.rename(id, &name).await?)
    }
}

/// Of the stopped containers of former releases, those beyond the newest `retain` releases.
fn surplus(containers: &[Container], aside: &[String], retain: usize) -> Vec<String> {
    let idle = containers.iter().filter(|container| container.state == State::Stopped);
    let ours = idle.filter(|container| aside.iter().any(|id| id == container.id.as_str()));
    let retired: Vec<_> =
        ours.filter_map(|c| Some((retired_by(&c.name)?, c.id.as_str().to_owned()))).collect();
    let revisions: BTreeSet<u64> = retired.iter().map(|(revision, _)| *revision).collect();
    let kept: BTreeSet<u64> = revisions.into_iter().rev().take(retain).collect();
    let gone = retired.into_iter().filter(|(revision, _)| !kept.contains(revision));
    gone.map(|(_, id)| id).collect()
}

/// The revision before which a container served, as the name of one that is kept says.
fn retired_by(name: &str) -> Option<u64> {
    name.rsplit_once(RETIRED)?.1.parse().ok()
}

/// Between the name of a container that is kept and the revision that followed it.
const RETIRED: &str = "-before-r";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::WorkloadId;

    fn stopped(id: &str, name: &str) -> Container {
        Container { state: State::Stopped, ..Container::named(WorkloadId::local(id), name) }
    }

    #[test]
    fn only_the_newest_releases_are_retained() {
        let containers = [
            stopped("a", "app-before-r9"),
            stopped("b", "app-before-r10"),
            stopped("b2", "app-2-before-r10"),
            stopped("c", "app-before-r11"),
            stopped("d", "app"),
            Container { state: State::Running, ..stopped("e", "app-before-r2") },
            stopped("foreign", "theirs-before-r1"),
        ];
        let aside: Vec<String> = ["a", "b", "b2", "c", "d", "e"].map(str::to_owned).to_vec();
        assert_eq!(surplus(&containers, &aside, 1), ["a", "b", "b2"]);
        assert_eq!(surplus(&containers, &aside, 2), ["a"]);
        assert_eq!(surplus(&containers, &aside, 9), Vec::<String>::new());
    }
}
