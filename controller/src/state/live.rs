//! Who serves now, and who has just stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover_api::Weights;
use cutover_proxy::table::{Color, EndpointId, Generation, ServiceName, Snapshot, TableSpec};
use tokio::time::Instant;

use super::{ContainerEndpoint, DrainEnd, DrainKey, State};
use crate::config::DrainConfig;

impl State {
    /// Takes note that a table with these shares is live: who has stopped serving drains. Gives the
    /// drains that begin.
    pub fn went_live(
        &mut self,
        live: BTreeMap<ServiceName, Weights>,
        generation: Generation,
        drain: Option<DrainConfig>,
    ) -> Vec<DrainKey> {
        let before = std::mem::replace(&mut self.live, live);
        let pools = self.table.as_ref().map(pools).unwrap_or_default();
        let pools_before = std::mem::replace(&mut self.pools, pools);
        let served = before.iter().flat_map(|(name, weights)| {
            Color::ALL.into_iter().filter(|&c| weights.serves(c)).map(|c| (name.clone(), c))
        });
        let mut begun = Vec::new();
        for (service, color) in served.collect::<Vec<_>>() {
            if self.serves(&service, color) {
                continue;
            }
            let limits = self.drain_limits(&service, drain);
            let pool = (service.clone(), color);
            let endpoints = pools_before.get(&pool).cloned().unwrap_or_default();
            let key = DrainKey { service, color, generation };
            self.drains.begin(key.clone(), limits, endpoints, &self.snapshot, &mut self.journal);
            begun.push(key);
        }
        for ((service, color), endpoints) in &self.pools {
            self.drains.resume(service, *color, endpoints, &mut self.journal);
        }
        for name in self.live.keys().cloned().collect::<Vec<_>>() {
            let weights = self.weights(&name);
            let any = Color::ALL
                .into_iter()
                .any(|c| weights.serves(c) && !self.endpoints(&name, c).is_empty());
            // From here on the journal knows: a restart finds the same color.
            if any {
                self.journal.services.entry(name).or_default().weights.get_or_insert(weights);
            }
        }
        let live = &self.live;
        let serves = |found: &&ContainerEndpoint| {
            live.get(&found.service).is_some_and(|weights| weights.serves(found.color))
        };
        for found in self.discovered.endpoints.iter().filter(serves) {
            if let Some(kept) = self.journal.services.get_mut(&found.service) {
                kept.members.unpark(&found.container);
            }
            self.served.insert(found.container.clone());
        }
        self.journal.generation = self.journal.generation.max(generation);
        self.published = true;
        self.end_boot();
        begun
    }

    /// Whether these shares are what the live table has, and what the journal says.
    #[must_use]
    pub fn is_live(&self, shares: &[(ServiceName, Weights)]) -> bool {
        let live = |(name, weights): &(ServiceName, Weights)| {
            self.live.get(name) == Some(weights) && self.weights(name) == *weights
        };
        self.table.is_some() && shares.iter().all(live)
    }

    /// The start is over once every name has had an answer, or the lack of one.
    pub fn end_boot(&mut self) {
        let resolved = self.host_names().iter().all(|name| self.names.contains_key(name));
        self.booting &= !resolved;
    }

    /// How long the work of a color that stops may go on.
    #[must_use]
    pub fn drain_limits(&self, name: &ServiceName, wanted: Option<DrainConfig>) -> DrainConfig {
        wanted.or_else(|| self.service(name).map(|s| s.drain)).unwrap_or(GONE)
    }

    /// Follows every drain by new counts. Gives those that have ended.
    pub(crate) fn follow_drains(&mut self, snapshot: Snapshot) -> Vec<(DrainKey, DrainEnd)> {
        self.snapshot = snapshot;
        self.adopt_drains();
        self.drains.follow(&self.snapshot, &mut self.journal)
    }

    /// Another deadline for what drains of a color.
    pub(crate) fn limit_drain(&mut self, service: &ServiceName, color: Color, limits: DrainConfig) {
        self.drains.limit(service, color, limits);
    }

    /// Pools that were retired before we started, and that the journal knows nothing of, are drains
    /// like any other from now on.
    fn adopt_drains(&mut self) {
        if !self.published {
            return;
        }
        let now = Instant::now();
        let orphans: Vec<_> = self
            .snapshot
            .pools
            .iter()
            .filter(|pool| pool.retired && !self.serves(&pool.service, pool.color))
            .filter(|pool| self.drains.deadline(pool, now).is_none())
            .map(|pool| (pool.service.clone(), pool.color))
            .collect();
        // The live table is the last that can have retired any; a later one may never come.
        let generation = self.snapshot.generation;
        for (service, color) in orphans.into_iter().collect::<BTreeSet<_>>() {
            let limits = self.drain_limits(&service, None);
            let key = DrainKey { service, color, generation };
            let (drains, journal) = (&mut self.drains, &mut self.journal);
            drains.begin(key, limits, BTreeSet::new(), &self.snapshot, journal);
        }
    }

    /// Whether the live table names a container.
    #[must_use]
    pub fn names_container(&self, service: &ServiceName, id: &str) -> bool {
        let mut pools = self.pools.iter().filter(|((of, _), _)| of == service);
        pools.any(|(_, endpoints)| endpoints.iter().any(|endpoint| is_of(endpoint, id)))
    }

    /// Whether a color gets requests in the live table.
    #[must_use]
    pub fn serves(&self, name: &ServiceName, color: Color) -> bool {
        self.live.get(name).is_some_and(|weights| weights.serves(color))
    }
}

/// Whether an endpoint is a container's: its ID and a port.
pub(super) fn is_of(endpoint: &EndpointId, id: &str) -> bool {
    endpoint.0.strip_prefix(id).is_some_and(|port| port.starts_with(':'))
}

/// The endpoints of each pool of a table.
fn pools(table: &TableSpec) -> BTreeMap<(ServiceName, Color), BTreeSet<EndpointId>> {
    let pools = table.services.iter().flat_map(|service| {
        service.pools.iter().map(move |pool| {
            let endpoints = pool.endpoints.iter().map(|endpoint| endpoint.id.clone()).collect();
            ((service.name.clone(), pool.color), endpoints)
        })
    });
    pools.collect()
}

/// For the work of a service that is no longer configured: what the config's defaults would be.
const GONE: DrainConfig =
    DrainConfig { timeout: Duration::from_secs(30), streams: Duration::from_secs(300) };
