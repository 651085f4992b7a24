//! The live table: a [`TableSpec`] compiled into the objects that requests use.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderValue;

use crate::metrics::counters::{Registry, ServiceCounters};
use crate::pool::pool::Pool;
use crate::route::router::{Router, UnknownService};
use crate::table::{
    Balance, BodyLimit, Color, EndpointSpec, Generation, Limits, Pause, Policy, PoolSpec,
    ServiceName, ServiceSpec, TableSpec, Timeouts,
};

/// All that the proxy knows. Immutable, replaced whole, behind one `ArcSwap`.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) generation: Generation,
    pub(crate) router: Router,
    pub(crate) services: Vec<Service>,
    places: HashMap<ServiceName, usize>,
    pub(crate) policy: Arc<Policy>,
}

/// A table that has been judged whole and is not live yet: nothing has changed so far.
#[derive(Debug)]
pub(crate) struct Draft {
    table: Table,
    /// What the probes found, for the pools that the live table may have too.
    health: Vec<(Arc<Pool>, Vec<EndpointSpec>)>,
}

impl Draft {
    /// Puts the health in force, and gives the table out to be stored at once.
    pub(crate) fn publish(self) -> Table {
        for (pool, endpoints) in &self.health {
            pool.update_health(endpoints);
        }
        self.table
    }
}

/// A service, and the pools that serve it now.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) settings: Arc<Settings>,
    pub(crate) shares: Vec<Share>,
    pub(crate) counters: Arc<ServiceCounters>,
}

/// A pool and its share of the requests.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) weight: u32,
    pub(crate) pool: Arc<Pool>,
}

/// What holds for every request of a service. Requests keep it beyond the table it came with, so it
/// must never lead to a pool.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) name: ServiceName,
    pub(crate) balance: Balance,
    pub(crate) host: Option<HeaderValue>,
    pub(crate) max_body: BodyLimit,
    pub(crate) timeouts: Timeouts,
    pub(crate) pause: Option<Pause>,
}

/// Why a table was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TableError {
    /// A color has two pools in one service.
    #[error("service {service}: two pools are {color}")]
    DoubleColor {
        /// The service.
        service: ServiceName,
        /// The color.
        color: Color,
    },
    /// Two services have one name.
    #[error("two services are named {0}")]
    DoubleService(ServiceName),
    /// The `host` of a service is not a valid header value.
    #[error("service {0}: `host` is not a valid header value")]
    Host(ServiceName),
    /// The table is not newer than the live one.
    #[error("generation {offered} is not newer than {live}")]
    Outdated {
        /// What was sent.
        offered: Generation,
        /// What is live.
        live: Generation,
    },
    /// A route names a service that is not in the table.
    #[error(transparent)]
    Route(#[from] RouteError),
}

/// A route that names no service of its table.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(transparent)]
pub struct RouteError(#[from] UnknownService);

impl Table {
    /// Compiles a table. Pools that did not change are taken over from `previous`, and with them
    /// their idle connections.
    ///
    /// # Errors
    /// A [`TableError`]; nothing has changed then.
    pub(crate) fn compile(
        spec: TableSpec,
        previous: &Self,
        registry: &Registry,
    ) -> Result<Draft, TableError> {
        if spec.generation <= previous.generation {
            let (offered, live) = (spec.generation, previous.generation);
            return Err(TableError::Outdated { offered, live });
        }
        let mut services: Vec<Service> = Vec::with_capacity(spec.services.len());
        let mut places = HashMap::with_capacity(spec.services.len());
        let mut health = Vec::new();
        for mut service in spec.services {
            if places.insert(service.name.clone(), services.len()).is_some() {
                return Err(TableError::DoubleService(service.name));
            }
            let limits = &spec.policy.limits;
            let pools = std::mem::take(&mut service.pools);
            let shares = shares(&service.name, &pools, spec.generation, previous, registry)?;
            let found = shares.iter().zip(pools);
            health.extend(found.map(|(share, spec)| (Arc::clone(&share.pool), spec.endpoints)));
            services.push(Service::compile(service, shares, limits, registry)?);
        }
        let router =
            Router::new(&spec.routes, |name| places.get(name).copied()).map_err(RouteError)?;
        let policy = Arc::new(spec.policy);
        let table = Self { generation: spec.generation, router, services, places, policy };
        Ok(Draft { table, health })
    }

    /// The place of a service in [`Table::services`].
    pub(crate) fn place(&self, name: &ServiceName) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// The pool that serves as one color of a service.
    pub(crate) fn pool(&self, service: &ServiceName, color: Color) -> Option<&Arc<Pool>> {
        let service = self.services.get(self.place(service)?)?;
        service.shares.iter().map(|share| &share.pool).find(|pool| pool.color == color)
    }

    /// The pools that requests may be given.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.services.iter().flat_map(|service| &service.shares).map(|share| &share.pool)
    }
}

impl Service {
    fn compile(
        spec: ServiceSpec,
        shares: Vec<Share>,
        limits: &Limits,
        registry: &Registry,
    ) -> Result<Self, TableError> {
        let host = match spec.host.as_deref().map(HeaderValue::from_str) {
            None => None,
            Some(Ok(host)) => Some(host),
            Some(Err(_)) => return Err(TableError::Host(spec.name)),
        };
        Ok(Self {
            counters: registry.service(&spec.name),
            shares,
            settings: Arc::new(Settings {
                name: spec.name,
                balance: spec.balance,
                host,
                max_body: spec.max_body.unwrap_or(limits.max_body),
                timeouts: spec.timeouts,
                pause: spec.pause,
            }),
        })
    }
}

fn shares(
    service: &ServiceName,
    pools: &[PoolSpec],
    generation: Generation,
    previous: &Table,
    registry: &Registry,
) -> Result<Vec<Share>, TableError> {
    let mut shares: Vec<Share> = Vec::with_capacity(pools.len());
    for spec in pools {
        if shares.iter().any(|share| share.pool.color == spec.color) {
            return Err(TableError::DoubleColor { service: service.clone(), color: spec.color });
        }
        let pool = share_pool(service, spec, generation, previous, registry);
        shares.push(Share { weight: spec.weight.max(1), pool });
    }
    Ok(shares)
}

/// The pool of the live table where nothing but health has changed, or a new one.
fn share_pool(
    service: &ServiceName,
    spec: &PoolSpec,
    generation: Generation,
    previous: &Table,
    registry: &Registry,
) -> Arc<Pool> {
    match previous.pool(service, spec.color) {
        Some(old) if old.matches(&spec.endpoints) => Arc::clone(old),
        Some(old) => Arc::new(old.successor(spec, generation)),
        None => Arc::new(Pool::new(service, spec, generation, registry.workers())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{EndpointId, HostPattern, RouteSpec};

    fn spec(generation: u64, color: Color, up: bool) -> TableSpec {
        TableSpec {
            generation: Generation(generation),
            routes: vec![RouteSpec {
                host: HostPattern::Any,
                path: "/".into(),
                strip_prefix: false,
                service: "web".parse().unwrap(),
            }],
            services: vec![ServiceSpec {
                name: "web".parse().unwrap(),
                pools: vec![PoolSpec {
                    color,
                    weight: 1,
                    endpoints: vec![EndpointSpec {
                        id: EndpointId::from("c1"),
                        address: "127.0.0.1:1".parse().unwrap(),
                        weight: 1,
                        up,
                    }],
                }],
                balance: Balance::P2c,
                host: None,
                max_body: None,
                timeouts: Timeouts::default(),
                pause: None,
            }],
            policy: Policy::default(),
        }
    }

    /// Compiles a table over another, and publishes it.
    fn next(spec: TableSpec, live: &Table, registry: &Registry) -> Table {
        Table::compile(spec, live, registry).unwrap().publish()
    }

    fn only_pool(table: &Table) -> Arc<Pool> {
        Arc::clone(table.pools().next().unwrap())
    }

    #[test]
    fn a_pool_that_did_not_change_is_the_same_object_in_the_next_table() {
        let registry = Registry::new(1);
        let first = next(spec(1, Color::Blue, true), &Table::default(), &registry);
        let second = next(spec(2, Color::Blue, false), &first, &registry);
        assert!(Arc::ptr_eq(&only_pool(&first), &only_pool(&second)));
        assert!(!only_pool(&first).endpoints[0].is_up(), "health changes in place");
    }

    #[test]
    fn a_refused_table_has_changed_nothing() {
        let registry = Registry::new(1);
        let live = next(spec(1, Color::Blue, true), &Table::default(), &registry);
        let bad_host = ServiceSpec {
            name: "api".parse().unwrap(),
            host: Some("a\nb".to_owned()),
            ..spec(2, Color::Blue, false).services.remove(0)
        };
        let mut later_service = spec(2, Color::Blue, false);
        later_service.services.push(bad_host);
        let mut route = spec(2, Color::Blue, false);
        route.routes[0].service = "other".parse().unwrap();
        for refused in [later_service, route] {
            assert!(Table::compile(refused, &live, &registry).is_err());
            assert!(only_pool(&live).endpoints[0].is_up());
        }
    }

    #[test]
    fn a_color_that_comes_back_is_a_new_pool() {
        let registry = Registry::new(1);
        let blue = next(spec(1, Color::Blue, true), &Table::default(), &registry);
        let green = next(spec(2, Color::Green, true), &blue, &registry);
        let again = next(spec(3, Color::Blue, true), &green, &registry);
        assert!(!Arc::ptr_eq(&only_pool(&blue), &only_pool(&again)));
    }

    #[test]
    fn an_older_table_is_refused() {
        let registry = Registry::new(1);
        let live = next(spec(5, Color::Blue, true), &Table::default(), &registry);
        let refused = Table::compile(spec(5, Color::Green, true), &live, &registry).unwrap_err();
        assert_eq!(refused.to_string(), "generation 5 is not newer than 5");
    }

    #[test]
    fn a_route_to_nowhere_is_refused() {
        let mut spec = spec(1, Color::Blue, true);
        spec.services.clear();
        let refused = Table::compile(spec, &Table::default(), &Registry::new(1)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the route */ names the service web, which is not in the table"
        );
    }
}
