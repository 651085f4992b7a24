//! What the controller knows: services, where their colors are, how they are, and who serves; and
//! what the journal keeps of it.
//!
//! Plain data without I/O. `serving::table` turns it into the proxy's table.

pub(crate) mod classify;
pub(crate) mod counted;
pub mod drains;
pub(crate) mod events;
pub(crate) mod failover;
pub mod health;
pub mod history;
pub mod journal;
mod learned;
mod live;
pub(crate) mod lock_owner;
pub mod locks;
pub mod membership;
pub(crate) mod observed;
pub(crate) mod rollout;
pub mod service;
pub mod store;
mod truth;
mod up;
pub(crate) mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use cutover_api::{ConfigStatus, LeftOut, Weights};
use tokio::time::Instant;

use cutover_proxy::table::{Color, EndpointId, Pause, ServiceName, Snapshot, TableSpec};

use self::drains::Drains;
pub use self::drains::{DrainEnd, DrainKey};
use crate::config::{Config, ServiceConfig};
use crate::engine::EngineVersion;
use crate::state::health::Health;
use crate::state::journal::Journal;
use crate::state::locks::Locks;
use crate::state::observed::Observed;

/// What containers there are, as far as they are ours to serve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Discovery {
    /// The live settings of services with labels; a service of the file keeps the file's.
    pub services: BTreeMap<ServiceName, ServiceConfig>,
    /// Where the containers can be reached that get requests when their color serves, by service.
    pub endpoints: Vec<ContainerEndpoint>,
    /// Where those can be reached that get none, and would if nothing else were left. They are
    /// probed as well.
    pub spares: Vec<ContainerEndpoint>,
    /// Where each container stands, whatever its state, by its ID.
    pub placed: BTreeMap<String, Placed>,
    /// How many containers each color has, whatever their state.
    pub present: BTreeMap<(ServiceName, Color), usize>,
    /// Containers that have labels of ours but serve nothing.
    pub left_out: Vec<LeftOut>,
}

/// Where a container stands in its service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Placed {
    /// The service it belongs to.
    pub service: ServiceName,
    /// Its color.
    pub color: Color,
    /// Whether it is of the release that its color serves.
    pub member: bool,
}

impl Discovery {
    /// The endpoints of a service.
    #[must_use]
    pub fn endpoints_of(&self, name: &ServiceName) -> &[ContainerEndpoint] {
        let from = self.endpoints.partition_point(|e| e.service < *name);
        let to = self.endpoints.partition_point(|e| e.service <= *name);
        self.endpoints.get(from..to).unwrap_or_default()
    }
}

/// One address of one container.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerEndpoint {
    /// The service it belongs to.
    pub service: ServiceName,
    /// The color it belongs to.
    pub color: Color,
    /// The container's full ID.
    pub container: String,
    /// The container's name, for people.
    pub name: String,
    /// Where it is.
    pub address: SocketAddr,
    /// The share within its pool.
    pub weight: u32,
    /// What Docker says against it: `unhealthy`, `starting`, `paused`; `None` is well.
    pub unwell: Option<String>,
    /// The key of its release.
    pub release: String,
    /// When the container was created.
    pub created: SystemTime,
    /// Its own settings: by these it is probed.
    pub settings: Arc<ServiceConfig>,
}

impl ContainerEndpoint {
    /// An endpoint of which nothing more is known than where it is.
    #[must_use]
    pub fn at(service: ServiceName, color: Color, container: &str, address: SocketAddr) -> Self {
        Self {
            service,
            color,
            container: container.to_owned(),
            name: container.to_owned(),
            address,
            weight: 1,
            unwell: None,
            release: String::new(),
            created: SystemTime::UNIX_EPOCH,
            settings: Arc::default(),
        }
    }

    /// Its identity: the container's ID and the port, never the address.
    #[must_use]
    pub fn id(&self) -> EndpointId {
        EndpointId(format!("{}:{}", self.container, self.address.port()).into())
    }
}

/// All that the controller believes. Behind one lock that no await holds; only what is in
/// `journal` outlives the process.
#[derive(Debug)]
pub struct State {
    /// The config that is live.
    pub config: Arc<Config>,
    /// How the config file is.
    pub config_status: ConfigStatus,
    /// What Docker has shown us.
    pub(crate) observed: Observed,
    /// What was made of it.
    pub discovery: Discovery,
    /// What the resolver has found, by name; the last good answer or the error.
    pub names: BTreeMap<String, Resolved>,
    /// How each endpoint is.
    pub health: BTreeMap<EndpointKey, Health>,
    /// What is written to the journal: shares, pauses, rollouts, history.
    pub journal: Journal,
    /// Why the journal could not be written the last time.
    pub journal_error: Option<String>,
    /// What was found of the journal at the start, and people should know: what was set aside.
    pub journal_notes: Vec<String>,
    /// Why Docker does not answer.
    pub docker_error: Option<String>,
    /// Which engine it is; of the last look, `None` before the first.
    pub(crate) docker_version: Option<EngineVersion>,
    /// The table that is live, without its generation.
    table: Option<TableSpec>,
    /// The shares in the table that is live.
    pub live: BTreeMap<ServiceName, Weights>,
    /// Since when nothing of a service has been up.
    pub(crate) down_since: BTreeMap<ServiceName, Instant>,
    /// Containers that have served while we looked.
    pub(crate) served: BTreeSet<String>,
    /// What people should know of a service, in words.
    pub notes: BTreeMap<ServiceName, String>,
    /// The endpoints of each pool of the table that is live.
    pub(crate) pools: BTreeMap<(ServiceName, Color), BTreeSet<EndpointId>>,
    /// Colors that served and no longer do.
    pub drains: Drains,
    /// Services whose rollout holds the lock, and whose it is.
    pub locks: Locks,
    /// The last counts.
    pub snapshot: Snapshot,
    /// Until the first table is live, an endpoint that was never probed counts as up: whoever
    /// served before the restart serves at once and is probed after.
    pub booting: bool,
    /// Whether a table of ours has been live.
    pub published: bool,
}

/// What is known of a host name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Resolved {
    /// The last good answer, sorted.
    pub addresses: Vec<IpAddr>,
    /// Why there is no newer one.
    pub error: Option<String>,
}

/// Which endpoint of which color of which service.
pub type EndpointKey = (ServiceName, Color, EndpointId);

/// An endpoint as the state sees it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Who.
    pub id: EndpointId,
    /// Where; `None` while a name is not resolved.
    pub address: Option<SocketAddr>,
    /// What the config calls it.
    pub label: String,
    /// The container's name.
    pub container: Option<String>,
    /// The share within its pool.
    pub weight: u32,
    /// Why it may not get requests, whatever the probes say.
    pub unwell: Option<String>,
    /// The settings of its container; `None` has the service's.
    pub settings: Option<Arc<ServiceConfig>>,
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
            discovery: Discovery::default(),
            names: BTreeMap::new(),
            health: BTreeMap::new(),
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

    /// Every service with its config: those of the file, with what the labels of their containers
    /// add, then those of labels alone.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceName, &ServiceConfig)> {
        let merged = &self.discovery.services;
        let file = &self.config.services;
        let of_file = file.iter().map(|(name, own)| (name, merged.get(name).unwrap_or(own)));
        of_file.chain(merged.iter().filter(|(name, _)| !file.contains_key(*name)))
    }

    /// The config of one service.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&ServiceConfig> {
        self.discovery.services.get(name).or_else(|| self.config.services.get(name))
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
            Color::ALL.iter().any(|c| self.discovery.present.contains_key(&(name.clone(), *c)));
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

    /// The endpoints of a color: those of the config in its order, then containers.
    #[must_use]
    pub fn endpoints(&self, name: &ServiceName, color: Color) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        for fixed in self.service(name).map(|s| s.endpoints(color)).unwrap_or_default() {
            let label = authority(&fixed.host, fixed.port);
            let addresses = self.names.get(&fixed.host).map(|n| n.addresses.as_slice());
            let addresses = addresses.unwrap_or_default();
            let endpoint = |id: EndpointId, address, unwell| Endpoint {
                id,
                address,
                label: label.clone(),
                container: None,
                weight: fixed.weight,
                unwell,
                settings: None,
            };
            if addresses.is_empty() {
                let error = self.names.get(&fixed.host).and_then(|n| n.error.clone());
                let unwell = error.unwrap_or_else(|| "its name is being resolved".into());
                endpoints.push(endpoint(label.as_str().into(), None, Some(unwell)));
            }
            for &ip in addresses {
                // A name that moves is another container: its connections must not be kept.
                let id = match literal(&fixed.host) {
                    Some(_) => EndpointId(label.as_str().into()),
                    None => EndpointId(format!("{label}#{ip}").into()),
                };
                endpoints.push(endpoint(id, Some(SocketAddr::new(ip, fixed.port)), None));
            }
        }
        let ours = self.discovery.endpoints_of(name).iter().filter(|e| e.color == color);
        endpoints.extend(ours.map(Endpoint::from));
        endpoints
    }

    /// Every host name that has to be resolved.
    #[must_use]
    pub fn host_names(&self) -> BTreeSet<String> {
        let fixed =
            self.services().flat_map(|(_, service)| service.blue.iter().chain(&service.green));
        fixed.map(|e| e.host.clone()).filter(|host| literal(host).is_none()).collect()
    }

    /// Puts addresses that are written as such where the resolver puts its answers.
    pub fn look_up_literals(&mut self) {
        let hosts = self.services().flat_map(|(_, s)| s.blue.iter().chain(&s.green));
        let literals: Vec<_> =
            hosts.filter_map(|e| literal(&e.host).map(|ip| (e.host.clone(), ip))).collect();
        for (host, ip) in literals {
            self.names.insert(host, Resolved { addresses: vec![ip], error: None });
        }
    }

    /// Names of the services, for a message.
    #[must_use]
    pub fn known(&self) -> String {
        let names: Vec<_> = self.services().map(|(name, _)| name.as_str()).collect();
        names.join(", ")
    }
}

impl From<&ContainerEndpoint> for Endpoint {
    fn from(found: &ContainerEndpoint) -> Self {
        Self {
            id: found.id(),
            address: Some(found.address),
            label: found.address.to_string(),
            container: Some(found.name.clone()),
            weight: found.weight,
            unwell: found.unwell.clone(),
            settings: Some(Arc::clone(&found.settings)),
        }
    }
}

/// `host:port`, with brackets around an IPv6 address.
#[must_use]
pub fn authority(host: &str, port: u16) -> String {
    match literal(host) {
        Some(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

/// The address, where a host is one: `10.0.0.1`, `::1`, `[::1]`.
#[must_use]
pub fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}
