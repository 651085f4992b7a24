//! What the controller knows: services, where their colors are, how they are, and who serves; and
//! what the journal keeps of it.
//!
//! Plain data without I/O. `serving::table` turns it into the proxy's table.

pub(crate) mod classify;
pub(crate) mod counted;
mod discovered;
pub mod drains;
mod endpoint;
pub(crate) mod events;
pub(crate) mod failover;
pub mod health;
pub mod history;
pub mod journal;
mod live;
pub(crate) mod lock_owner;
pub mod locks;
pub mod membership;
pub(crate) mod observed;
pub(crate) mod rollout;
pub mod service;
pub mod store;
mod told;
mod truth;
mod up;
pub(crate) mod writer;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cutover_api::{ConfigStatus, Weights};
use tokio::time::Instant;

use cutover_proxy::table::{Color, EndpointId, Pause, ServiceName, Snapshot, TableSpec};

pub(crate) use self::discovered::{ContainerEndpoint, Discovered, Placed};
use self::drains::Drains;
pub use self::drains::{DrainEnd, DrainKey};
use self::endpoint::Resolved;
pub(crate) use self::endpoint::{Endpoint, EndpointKey, authority};
use crate::config::{Config, ServiceConfig};
use crate::engine::EngineVersion;
use crate::state::health::Health;
use crate::state::journal::Journal;
use crate::state::locks::Locks;
use crate::state::observed::Observed;

/// All that the controller believes. Behind one lock that no await holds; only what is in
/// `journal` outlives the process. It changes by what it is told ([`told`]) and by what goes live
/// ([`live`]).
#[derive(Debug)]
pub struct State {
    /// The config that is live.
    config: Arc<Config>,
    /// How the config file is.
    config_status: ConfigStatus,
    /// What Docker has shown us.
    observed: Observed,
    /// What was made of it.
    discovered: Discovered,
    /// What the resolver has found, by name; the last good answer or the error.
    names: BTreeMap<String, Resolved>,
    /// How each endpoint is.
    health: HashMap<EndpointKey, Health>,
    /// What is written to the journal: shares, pauses, rollouts, history.
    journal: Journal,
    /// Why the journal could not be written the last time.
    journal_error: Option<String>,
    /// What was found of the journal at the start, and people should know: what was set aside.
    journal_notes: Vec<String>,
    /// Why Docker does not answer.
    docker_error: Option<String>,
    /// Which engine it is; of the last look, `None` before the first.
    docker_version: Option<EngineVersion>,
    /// The table that is live, without its generation.
    table: Option<TableSpec>,
    /// The shares in the table that is live.
    live: BTreeMap<ServiceName, Weights>,
    /// Since when nothing of a service has been up.
    down_since: BTreeMap<ServiceName, Instant>,
    /// Containers that have served while we looked.
    served: BTreeSet<String>,
    /// What people should know of a service, in words.
    notes: BTreeMap<ServiceName, String>,
    /// The endpoints of each pool of the table that is live.
    pools: BTreeMap<(ServiceName, Color), BTreeSet<EndpointId>>,
    /// Colors that served and no longer do.
    drains: Drains,
    /// Services whose rollout holds the lock, and whose it is.
    locks: Locks,
    /// The last counts.
    snapshot: Snapshot,
    /// Until the first table is live, an endpoint that was never probed counts as up: whoever
    /// served before the restart serves at once and is probed after.
    booting: bool,
    /// Whether a table of ours has been live.
    published: bool,
}

impl State {
    /// A state that has just been read from config and journal.
    #[must_use]
    pub fn new(config: Config, config_status: ConfigStatus, mut journal: Journal) -> Self {
        journal.settle();
        // A share that no command of ours could have written is no decision.
        for service in journal.services.values_mut() {
            service.weights = service.weights.filter(|w| w.blue > 0 || w.green > 0);
        }
        let mut state = Self {
            config: config.into(),
            config_status,
            observed: Observed::default(),
            discovered: Discovered::default(),
            names: BTreeMap::new(),
            health: HashMap::new(),
            journal,
            journal_error: None,
            journal_notes: Vec::new(),
            docker_error: None,
            docker_version: None,
            table: None,
            live: BTreeMap::new(),
            down_since: BTreeMap::new(),
            served: BTreeSet::new(),
            notes: BTreeMap::new(),
            pools: BTreeMap::new(),
            drains: Drains::default(),
            locks: Locks::default(),
            snapshot: Snapshot::default(),
            booting: true,
            published: false,
        };
        state.drains = Drains::restore(&state.journal);
        state.look_up_literals();
        state
    }

    /// The config that is live.
    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// How the config file is.
    pub(crate) fn config_status(&self) -> &ConfigStatus {
        &self.config_status
    }

    /// What Docker has shown us.
    pub(crate) fn observed(&self) -> &Observed {
        &self.observed
    }

    /// What was made of it.
    pub(crate) fn discovered(&self) -> &Discovered {
        &self.discovered
    }

    /// How an endpoint is; `None` while nobody has asked it.
    pub(crate) fn health(&self, key: &EndpointKey) -> Option<&Health> {
        self.health.get(key)
    }

    /// What is remembered.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// For a change of what is remembered. It goes out with the next write, which the caller asks for.
    pub(crate) fn journal_mut(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// Why the journal could not be written the last time.
    pub(crate) fn journal_error(&self) -> Option<&String> {
        self.journal_error.as_ref()
    }

    /// What was set aside of the journal at the start, in words.
    pub(crate) fn journal_notes(&self) -> &[String] {
        &self.journal_notes
    }

    /// Why Docker does not answer.
    pub(crate) fn docker_error(&self) -> Option<&String> {
        self.docker_error.as_ref()
    }

    /// Which engine it is; `None` before the first look.
    pub(crate) fn docker_version(&self) -> Option<&EngineVersion> {
        self.docker_version.as_ref()
    }

    /// The shares of a service in the live table.
    pub(crate) fn live_weights(&self, name: &ServiceName) -> Option<Weights> {
        self.live.get(name).copied()
    }

    /// Colors that served and no longer do.
    pub(crate) fn drains(&self) -> &Drains {
        &self.drains
    }

    /// The locks of the services. Clones are the same ones.
    pub(crate) fn locks(&self) -> &Locks {
        &self.locks
    }

    /// The last counts.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Whether a table of ours has been live.
    pub(crate) fn is_published(&self) -> bool {
        self.published
    }

    /// Every service with its config: those of the file, with what the labels of their containers
    /// add, then those of labels alone.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceName, &ServiceConfig)> {
        let merged = &self.discovered.services;
        let file = &self.config.services;
        let of_file = file.iter().map(|(name, own)| (name, merged.get(name).unwrap_or(own)));
        of_file.chain(merged.iter().filter(|(name, _)| !file.contains_key(*name)))
    }

    /// The config of one service.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&ServiceConfig> {
        self.discovered.services.get(name).or_else(|| self.config.services.get(name))
    }

    /// Whether a release that came after this revision serves.
    pub(crate) fn serves_newer(&self, name: &ServiceName, revision: u64) -> bool {
        let weights = self.weights(name);
        let members = self.journal.services.get(name).map(|service| &service.members);
        let newer = |color| members.and_then(|m| m.revision(color)) > Some(revision);
        Color::ALL.into_iter().any(|color| weights.serves(color) && newer(color))
    }

    /// The shares of a service: what the journal knows, else what the config says. Where only the
    /// other color has static endpoints, that one; containers come one by one, so that for them the
    /// failover decides.
    #[must_use]
    pub fn weights(&self, name: &ServiceName) -> Weights {
        if let Some(weights) = self.journal.services.get(name).and_then(|s| s.weights) {
            return weights;
        }
        let weights = Weights::from(self.service(name).map(|s| s.active).unwrap_or_default());
        let can = |color| !self.endpoints(name, color).is_empty();
        let contained =
            Color::ALL.iter().any(|c| self.discovered.present.contains_key(&(name.clone(), *c)));
        match Color::ALL.into_iter().find(|&color| !weights.serves(color)) {
            Some(idle) if !contained && can(idle) && !can(idle.other()) => Weights::of(idle.into()),
            _ => weights,
        }
    }

    /// The shares of every service.
    #[must_use]
    pub fn shares(&self) -> BTreeMap<ServiceName, Weights> {
        self.services().map(|(name, _)| (name.clone(), self.weights(name))).collect()
    }

    /// Whether requests of a service are held.
    #[must_use]
    pub fn pause(&self, name: &ServiceName) -> Option<Pause> {
        self.journal.services.get(name).and_then(|s| s.pause)
    }

    /// Names of the services, for a message.
    #[must_use]
    pub fn known(&self) -> String {
        let names: Vec<_> = self.services().map(|(name, _)| name.as_str()).collect();
        names.join(", ")
    }
}
