//! What is left once a release is done: what is not retained is removed, and the rest gets its lasting
//! names.

use std::collections::BTreeSet;

use cutover_proxy::table::ServiceName;
use cutover_rollout::Rest;

use super::Tools;
use super::record::Part;
use super::steps::StepError;
use crate::config::labels::COMPOSE_PROJECT;
use crate::engine::{Container, EngineError, State, base_name};

impl Tools {
    /// Removes what is not retained, and gives the new containers their lasting names.
    pub(super) async fn clean(&self, part: &Part) -> Result<(), StepError> {
        let lone = !part.labelled && part.both.is_none();
        let keep = if lone { self.retained(part).await? } else { Vec::new() };
        let gone = part.displaced.iter().chain(part.old.iter().filter(|_| lone));
        // What serves elsewhere now (a flip by hand) is nobody's to remove.
        let new = part.new_ids();
        for id in gone.filter(|id| !new.contains(id)) {
            match keep.contains(id) {
                true => self.retire_name(id, part).await?,
                false => self.remove_idle(&part.service, id).await?,
            }
        }
        for id in new {
            self.settle_name(&id).await?;
        }
        // What a rollback leaves is what the next release is copied from, under its lasting name.
        for id in part.old.iter().filter(|_| part.labelled) {
            self.settle_name(id).await?;
        }
        self.note(&part.service, |state| state.members.displace(&keep)).await;
        let containers = self.discovery.look().await?;
        for id in surplus(&containers, &self.aside(&part.service, &containers), part.retain) {
            self.remove_idle(&part.service, &id).await?;
        }
        Ok(())
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

    /// Stops and removes a container, unless requests go to it or nothing else is ready.
    pub(super) async fn remove_idle(
        &self,
        service: &ServiceName,
        id: &str,
    ) -> Result<(), StepError> {
        if self.serves(service, id) || self.is_last_ready(service, id) {
            return Ok(());
        }
        let proof = self.at_rest(service, id, Rest::Idle)?;
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
