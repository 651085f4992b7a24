//! The pools of the simulated proxy, and what they have in flight.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_harness::Dice;
use cutover_proxy::table::{
    Color, ColorStats, EndpointSpec, EndpointStats, Generation, Hangup, PoolStats, ServiceName,
    ServiceStats, Snapshot, TableSpec,
};

use crate::engine::fake::{Answer, FakeEngine};

/// The endpoints of a color as one table had them, and their work.
#[derive(Debug)]
struct Pool {
    service: ServiceName,
    color: Color,
    generation: Generation,
    endpoints: Vec<EndpointSpec>,
    retired: bool,
    work: Vec<Work>,
}

/// A request or a stream that an endpoint has.
#[derive(Debug)]
struct Work {
    container: String,
    stream: bool,
    /// When it ends by itself, in the engine's time.
    ends: Duration,
}

/// What a proxy process knows: its table, its pools and its counts.
#[derive(Debug, Default)]
pub(super) struct Pools {
    pub(super) table: Option<TableSpec>,
    pools: Vec<Pool>,
    counts: BTreeMap<(ServiceName, Color), ColorStats>,
}

impl Pools {
    /// The number of the live table.
    pub(super) fn generation(&self) -> Generation {
        self.table.as_ref().map_or(Generation(0), |table| table.generation)
    }

    /// Makes a table live: what was there before finishes what it has.
    pub(super) fn apply(&mut self, table: TableSpec) {
        for pool in &mut self.pools {
            pool.retired = true;
        }
        for service in &table.services {
            self.pools.extend(service.pools.iter().map(|pool| Pool {
                service: service.name.clone(),
                color: pool.color,
                generation: table.generation,
                endpoints: pool.endpoints.clone(),
                retired: false,
                work: Vec::new(),
            }));
        }
        self.table = Some(table);
    }

    /// Ends what is over: by itself, or because its container has gone.
    pub(super) fn advance(&mut self, engine: &FakeEngine) {
        let now = engine.now();
        let alive = |container: &str| engine.runs(container);
        for pool in &mut self.pools {
            let counts = self.counts.entry((pool.service.clone(), pool.color)).or_default();
            pool.work.retain(|work| {
                let (over, dead) = (work.ends <= now, !alive(&work.container));
                if over {
                    *counts.requests.entry(200).or_default() += 1;
                } else if dead {
                    *counts.upstream_errors.entry("reset".into()).or_default() += 1;
                }
                !over && !dead
            });
        }
        self.pools.retain(|pool| !pool.retired || !pool.work.is_empty());
    }

    /// Clients ask each service that is routed for something.
    pub(super) fn traffic(&mut self, engine: &FakeEngine, dice: &mut Dice) {
        let now = engine.now();
        for pool in self.pools.iter_mut().filter(|pool| !pool.retired) {
            let up: Vec<_> = pool.endpoints.iter().filter(|endpoint| endpoint.up).collect();
            if up.is_empty() || pool.work.len() >= MOST {
                continue;
            }
            let endpoint = dice.pick(&up);
            let counts = self.counts.entry((pool.service.clone(), pool.color)).or_default();
            match engine.answer(endpoint.address.ip()) {
                Answer::Status { container, status } if is_of(endpoint, &container) => {
                    if status >= 500 {
                        *counts.requests.entry(status).or_default() += 1;
                        continue;
                    }
                    let stream = dice.one_in(12);
                    let longest = match (stream, dice.one_in(8)) {
                        (true, _) => 12_000,
                        (false, true) => 6_000,
                        (false, false) => 300,
                    };
                    let ends = now + Duration::from_millis(dice.below(longest) as u64);
                    pool.work.push(Work { container, stream, ends });
                }
                _ => *counts.upstream_errors.entry("refused".into()).or_default() += 1,
            }
        }
    }

    /// A client begins a stream on a container that serves, and never ends it.
    pub(super) fn hold_stream(&mut self, container: &str) {
        let mut live = self.pools.iter_mut().filter(|pool| !pool.retired);
        let names = |pool: &&mut Pool| pool.endpoints.iter().any(|e| is_of(e, container));
        let pool = live.find(names).expect("it does not serve");
        let container = container.to_owned();
        pool.work.push(Work { container, stream: true, ends: Duration::MAX });
    }

    /// Ends work of retired pools by force.
    pub(super) fn hang_up(
        &mut self,
        service: &ServiceName,
        color: Color,
        before: Generation,
        what: Hangup,
    ) {
        let ours = |pool: &&mut Pool| {
            pool.retired
                && pool.service == *service
                && pool.color == color
                && pool.generation < before
        };
        let counts = self.counts.entry((service.clone(), color)).or_default();
        for pool in self.pools.iter_mut().filter(ours) {
            pool.work.retain(|work| {
                let ends = what == Hangup::Everything || !work.stream;
                if ends {
                    let kind = if work.stream { "stream" } else { "request" };
                    *counts.forced.entry(kind.into()).or_default() += 1;
                }
                !ends
            });
        }
        self.pools.retain(|pool| !pool.retired || !pool.work.is_empty());
    }

    /// How much a container has in flight.
    pub(super) fn in_flight(&self, container: &str) -> usize {
        let work = self.pools.iter().flat_map(|pool| &pool.work);
        work.filter(|work| work.container == container).count()
    }

    /// Whether the live table names a container.
    pub(super) fn names(&self, container: &str) -> bool {
        let live = self.pools.iter().filter(|pool| !pool.retired);
        live.flat_map(|pool| &pool.endpoints).any(|endpoint| is_of(endpoint, container))
    }

    /// The colors of a service in the live table.
    pub(super) fn colors(&self, service: &ServiceName) -> Vec<Color> {
        let live = self.pools.iter().filter(|pool| !pool.retired && pool.service == *service);
        live.map(|pool| pool.color).collect()
    }

    /// Containers that requests of a service can go to now, and that answer: with their colors.
    pub(super) fn serving(
        &self,
        engine: &FakeEngine,
        service: &ServiceName,
    ) -> Vec<(Color, String)> {
        let routes = self.table.iter().flat_map(|table| &table.routes);
        if !routes.into_iter().any(|route| route.service == *service) {
            return Vec::new();
        }
        let live = self.pools.iter().filter(|pool| !pool.retired && pool.service == *service);
        let up = live.flat_map(|pool| {
            pool.endpoints.iter().filter(|endpoint| endpoint.up).map(|e| (pool.color, e))
        });
        let answers =
            up.filter_map(|(color, endpoint)| match engine.answer(endpoint.address.ip()) {
                Answer::Status { container, status: 0..=399 } if is_of(endpoint, &container) => {
                    Some((color, container))
                }
                _ => None,
            });
        answers.collect()
    }

    /// What the proxy says of itself.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut services: BTreeMap<&ServiceName, ServiceStats> = BTreeMap::new();
        for ((service, color), counts) in &self.counts {
            let stats = services.entry(service).or_default();
            stats.name = service.to_string();
            stats.colors.push(ColorStats { color: color.as_str().into(), ..counts.clone() });
        }
        Snapshot {
            generation: self.generation(),
            services: services.into_values().collect(),
            pools: self.pools.iter().map(Pool::stats).collect(),
            ..Snapshot::default()
        }
    }
}

impl Pool {
    fn stats(&self) -> PoolStats {
        let streams = self.work.iter().filter(|work| work.stream).count() as u64;
        let endpoints = self.endpoints.iter().map(|endpoint| EndpointStats {
            id: endpoint.id.clone(),
            address: endpoint.address,
            ejected: false,
            in_flight: self.work.iter().filter(|work| is_of(endpoint, &work.container)).count()
                as u64,
        });
        PoolStats {
            service: self.service.clone(),
            color: self.color,
            generation: self.generation,
            retired: self.retired,
            requests: self.work.len() as u64 - streams,
            streams,
            endpoints: endpoints.collect(),
        }
    }
}

/// Whether an endpoint is a container's.
fn is_of(endpoint: &EndpointSpec, container: &str) -> bool {
    endpoint.id.0.strip_prefix(container).is_some_and(|port| port.starts_with(':'))
}

/// How much one pool has in flight at most.
const MOST: usize = 12;
