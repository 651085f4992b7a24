//! What the state is told by those who do the I/O: about the config file, the engine, the probes,
//! the resolver, the proxy and the disk.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use cutover_api::ConfigStatus;
use cutover_proxy::table::{ServiceName, Snapshot, TableSpec};
use tokio::time::Instant;
use tracing::warn;

use super::{EndpointKey, State};
use crate::config::labels::COMPOSE_PROJECT;
use crate::config::{Config, ProbeConfig};
use crate::engine::{Container, EngineVersion, Transition, WorkloadId};
use crate::state::classify::EdgeNetwork;
use crate::state::health::{Answer, Health};

impl State {
    /// Another config is live. Gives the one before.
    pub(crate) fn configure(
        &mut self,
        config: Arc<Config>,
        status: ConfigStatus,
    ) -> (Arc<Config>, ConfigStatus) {
        let status = std::mem::replace(&mut self.config_status, status);
        let config = std::mem::replace(&mut self.config, config);
        self.observed.reread(&self.config.services);
        self.look_up_literals();
        (config, status)
    }

    /// What is on the disk is no valid config.
    pub(crate) fn refuse_config(&mut self, message: String) {
        self.config_status.ok = false;
        self.config_status.error = Some(message);
    }

    /// The engine has answered, or has not and why. Says whether it has come back with that.
    pub(crate) fn engine_answered(&mut self, error: Option<String>) -> bool {
        let is_back = self.docker_error.is_some() && error.is_none();
        self.docker_error = error;
        is_back
    }

    /// The engine has said which one it is; where it has not, it is the one that it was.
    pub(crate) fn engine_is(&mut self, version: Option<EngineVersion>) {
        self.docker_version = version.or_else(|| self.docker_version.take());
    }

    /// The engine has listed what there is; `begun` is [`Observed::transitions`] of when it was
    /// asked, and `own` the container that we are in.
    ///
    /// [`Observed::transitions`]: super::observed::Observed::transitions
    pub(crate) fn listed(
        &mut self,
        containers: Vec<Container>,
        unanswered: &[WorkloadId],
        own: Option<&Container>,
        begun: u64,
    ) {
        let first = self.observed.network.is_none();
        self.observed.network = Some(EdgeNetwork::of(own));
        self.observed.project = own.and_then(|own| own.label(COMPOSE_PROJECT).map(str::to_owned));
        let gone = self.observed.replace(containers, unanswered, &self.config.services, begun);
        self.forget_containers(&gone);
        if first {
            // What went while we were away; no rollout of ours is making any yet.
            self.retain_containers();
        }
    }

    /// The engine has shown one container, or that it is no more; `begun` as for
    /// [`State::listed`].
    pub(crate) fn inspected(&mut self, id: &WorkloadId, found: Option<Container>, begun: u64) {
        if self.observed.update(id, found, &self.config.services, begun) {
            self.forget_containers(&BTreeSet::from([id.clone().into()]));
        }
    }

    /// Something has happened to a container. Gives its name where it can serve no longer.
    pub(crate) fn happened(
        &mut self,
        id: &WorkloadId,
        transition: &Transition,
        now: Instant,
    ) -> Option<String> {
        self.observed.happened(id, transition, now)
    }

    /// These endpoints are probed from now on, and no others.
    pub(crate) fn probes_follow<T>(&mut self, probes: &HashMap<EndpointKey, T>) {
        self.health.retain(|key, _| probes.contains_key(key));
        for key in probes.keys().filter(|key| !self.health.contains_key(key)).collect::<Vec<_>>() {
            let trusted = self.booting && self.weights(&key.0).serves(key.1);
            self.health.insert(key.clone(), Health::unjudged(trusted));
        }
    }

    /// A probe has been answered, or not. Says whether the endpoint is up now where that has
    /// changed, and how long to wait for the next.
    pub(crate) fn answered(
        &mut self,
        key: &EndpointKey,
        answer: Answer,
        probe: &ProbeConfig,
    ) -> (Option<bool>, Duration) {
        match self.health.get_mut(key) {
            Some(health) => {
                (health.record(answer, probe.rise, probe.fall), health.interval(probe.interval))
            }
            None => (None, probe.interval),
        }
    }

    /// An endpoint has passed as many probes in a row as it takes. Says whether it was down.
    pub(crate) fn found_ready(&mut self, key: &EndpointKey, answer: Answer) -> bool {
        self.health.get_mut(key).is_some_and(|health| health.ready(answer))
    }

    /// The resolver has an answer, or has none and why: the last good one stays then. Says whether
    /// the endpoints may be others now.
    pub(crate) fn resolved(&mut self, name: &str, found: Result<Vec<IpAddr>, String>) -> bool {
        let known = self.names.entry(name.to_owned()).or_default();
        let before = known.clone();
        match found {
            Ok(addresses) => {
                known.addresses = addresses;
                known.error = None;
            }
            Err(error) => known.error = Some(error),
        }
        if let (true, Some(error)) = (known.error != before.error, &known.error) {
            warn!(name, error, "name not resolved");
        }
        known.addresses != before.addresses || self.booting
    }

    /// What was set aside of the journal at the start, in words.
    pub(crate) fn journal_found(&mut self, notes: Vec<String>) {
        self.journal_notes = notes;
    }

    /// The journal has been written, or not and why. Gives why it was not the time before.
    pub(crate) fn journal_written(&mut self, error: Option<String>) -> Option<String> {
        std::mem::replace(&mut self.journal_error, error)
    }

    /// The proxy has counted.
    pub(crate) fn counted(&mut self, snapshot: Snapshot) {
        self.snapshot = snapshot;
    }

    /// The proxy has been sent a table: it is live, or nobody knows what is.
    pub(crate) fn sent(&mut self, live: Option<TableSpec>) {
        self.table = live;
    }

    /// Whether this is the table that is live.
    pub(crate) fn has_live(&self, table: &TableSpec) -> bool {
        self.table.as_ref() == Some(table)
    }

    /// What people should know of a service, in words; a command makes it a thing of the past.
    pub(crate) fn forget_note(&mut self, service: &ServiceName) {
        self.notes.remove(service);
    }
}
