//! The state brought up to date with what has been seen of containers.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;
use tracing::{info, warn};

use super::State;
use crate::config::labels::Labels;
use crate::state::classify::{Facts, classify};
use crate::state::service::ServiceState;

/// What a classification has changed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Changed {
    /// Endpoints, settings or routes: probes have to follow, and perhaps a table.
    pub discovery: bool,
    /// What the journal is to remember.
    pub journal: bool,
}

impl State {
    /// Makes what has been seen what we go by. Called before every table, so that whatever changes
    /// it (containers, health, shares) is in that same table. Before the first look it does nothing.
    pub(crate) fn reclassify(&mut self, now: Instant) -> Changed {
        if self.observed.network.is_none() {
            return Changed::default();
        }
        let ready = self.ready_containers();
        if self.observed.take_back(now, &ready) {
            info!("a container that was told to stop has outlived it, and is taken back");
        }
        let found = classify(&Facts {
            observed: &self.observed,
            services: &self.config.services,
            ready: &ready,
            journal: &self.journal,
        });
        let mut changed = Changed::default();
        for left in &found.discovered.left_out {
            if !self.discovered.left_out.contains(left) {
                warn!(container = left.container, reason = left.reason, "left out");
            }
        }
        if found.discovered != self.discovered {
            self.discovered = found.discovered;
            self.look_up_literals();
            changed.discovery = true;
        }
        for state in self.gone_services() {
            state.members.set_live_labels(BTreeMap::new());
            state.members.set_project(None);
            changed.journal = true;
        }
        for (service, members) in found.members {
            self.journal.service_mut(&service).members = members;
            changed.journal = true;
        }
        if found.hosts != self.journal.hosts {
            self.journal.hosts = found.hosts;
            changed.journal = true;
        }
        changed
    }

    /// Services of which no container is left, and something to be forgotten: who comes next under
    /// the name begins afresh, but for its history.
    fn gone_services(&mut self) -> impl Iterator<Item = &mut ServiceState> {
        let workloads =
            self.observed.workloads().filter_map(|workload| workload.labels.as_ref().ok());
        let readable = workloads.map(|labels| labels.service.clone());
        let unreadable = self.observed.unreadable().filter_map(|workload| {
            Labels::claim(|name| workload.container.label(name)).map(|(service, _)| service)
        });
        let present: BTreeSet<_> = readable.chain(unreadable).collect();
        let gone =
            self.journal.services.iter_mut().filter(move |(name, _)| !present.contains(*name));
        gone.map(|(_, state)| state).filter(|state| {
            !state.members.live_labels().is_empty() || state.members.project().is_some()
        })
    }

    /// Forgets containers that have been removed, wherever the journal names them.
    pub(crate) fn forget_containers(&mut self, gone: &BTreeSet<String>) {
        if gone.is_empty() {
            return;
        }
        self.served.retain(|id| !gone.contains(id));
        for service in self.journal.services.values_mut() {
            service.members.forget_gone(gone);
        }
    }

    /// Forgets every container that is not there, at a moment when no rollout is making one.
    pub(crate) fn retain_containers(&mut self) {
        let ids = self.observed.workloads().map(|workload| workload.container.id.clone().into());
        let present: BTreeSet<String> = ids.collect();
        for service in self.journal.services.values_mut() {
            service.members.retain_containers(&present);
        }
    }

    /// The containers whose probes pass.
    fn ready_containers(&self) -> BTreeSet<String> {
        let ids = self.passing().filter_map(|(_, _, id)| id.0.rsplit_once(':'));
        ids.map(|(container, _)| container.to_owned()).collect()
    }
}
