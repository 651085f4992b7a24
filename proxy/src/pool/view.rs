//! A worker's own side of the live table: its pools, their idle connections, and the leases.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::metrics::counters::{ColorSlot, Counter, ServiceCounters, ServiceSlot, Work};
use crate::pool::compile::{Service, Settings, Table};
use crate::pool::ramp::Trials;
use crate::pool::{Endpoint, InFlight, Pool};
use crate::route::router::Route;
use crate::table::{Color, ServiceName};
use crate::upstream::Connection;

/// One worker's view of one table.
///
/// Nothing may hold on to a `View` across an await: it leads to every pool of its table. Requests
/// keep a [`Lease`] and a [`LocalSettings`], which lead to one pool and to none.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) table: Arc<Table>,
    pub(crate) services: Vec<LocalService>,
}

impl View {
    /// The view of `table`. Pools and endpoints that were in `previous` already keep their idle
    /// connections; what is gone closes them at once.
    pub(crate) fn new(table: Arc<Table>, previous: Option<&Self>, worker: usize) -> Self {
        let services = table.services.iter();
        let services =
            services.map(|service| LocalService::new(service, previous, worker)).collect();
        let view = Self { table, services };
        // All that the old view has are marked, then those that the new one has are not.
        for (view, retired) in previous.into_iter().map(|old| (old, true)).chain([(&view, false)]) {
            view.endpoints().for_each(|endpoint| endpoint.retired.set(retired));
        }
        for endpoint in previous.into_iter().flat_map(Self::endpoints) {
            if endpoint.is_retired() {
                endpoint.idle.borrow_mut().clear();
            }
        }
        view
    }

    /// A service by its name.
    pub(crate) fn service(&self, name: &ServiceName) -> Option<&LocalService> {
        self.services.get(self.table.place(name)?)
    }

    /// The route of a request, and the service it leads to.
    pub(crate) fn route(&self, host: &str, path: &str) -> Option<(&Route, &LocalService)> {
        let route = self.table.router.find(host, path)?;
        Some((route, self.services.get(route.service)?))
    }

    fn pool(&self, service: &ServiceName, color: Color) -> Option<&Rc<LocalPool>> {
        let pools = self.service(service)?.pools.iter();
        pools.map(|share| &share.pool).find(|pool| pool.pool.color == color)
    }

    fn endpoints(&self) -> impl Iterator<Item = &Rc<LocalEndpoint>> {
        let pools = self.services.iter().flat_map(|service| &service.pools);
        pools.flat_map(|share| &share.pool.endpoints)
    }

    /// The work of each second: closes idle connections that have been so for too long, refills
    /// the retry budgets. `now` is in ticks.
    pub(crate) fn sweep(&self, now: u64) {
        for service in &self.services {
            service.settings.refill(RETRY_COST * RETRY_BURST);
            let oldest = now.saturating_sub(idle_ticks(&service.settings.settings));
            for share in &service.pools {
                for endpoint in &share.pool.endpoints {
                    endpoint.idle.borrow_mut().retain(|idle| idle.since >= oldest);
                }
            }
        }
    }
}

/// A service as one worker sees it.
#[derive(Debug)]
pub(crate) struct LocalService {
    pub(crate) settings: Rc<LocalSettings>,
    pub(crate) pools: Vec<LocalShare>,
}

/// What a request keeps of its service: settings and counters, no pools.
#[derive(Debug)]
pub(crate) struct LocalSettings {
    pub(crate) settings: Arc<Settings>,
    pub(crate) counters: Arc<ServiceCounters>,
    pub(crate) slot: Arc<ServiceSlot>,
    retry_budget: Cell<u32>,
}

impl LocalSettings {
    /// Earns part of a retry: a fifth of the requests may be sent twice, on top of a hundred a second.
    pub(crate) fn earn_retry(&self) {
        self.refill(RETRY_COST / 5);
    }

    /// Takes a retry out of the budget; `false` when it is used up, so that a failing upstream does
    /// not get its load multiplied.
    pub(crate) fn spend_retry(&self) -> bool {
        let rest = self.retry_budget.get().checked_sub(RETRY_COST);
        rest.inspect(|rest| self.retry_budget.set(*rest)).is_some()
    }

    fn refill(&self, tokens: u32) {
        self.retry_budget.set((self.retry_budget.get() + tokens).min(RETRY_COST * RETRY_BURST));
    }
}

/// Tokens of one retry.
const RETRY_COST: u32 = 10;
/// Retries that an idle service has saved up, and earns each second: what is in flight on one worker
/// when a lone app is killed.
const RETRY_BURST: u32 = 100;

/// A pool and its share of the requests.
#[derive(Debug)]
pub(crate) struct LocalShare {
    pub(crate) weight: u32,
    pub(crate) pool: Rc<LocalPool>,
}

impl LocalService {
    fn new(service: &Service, previous: Option<&View>, worker: usize) -> Self {
        let settings = Rc::new(LocalSettings {
            settings: Arc::clone(&service.settings),
            counters: Arc::clone(&service.counters),
            slot: service.counters.slot(worker),
            retry_budget: Cell::new(RETRY_COST * RETRY_BURST),
        });
        let pools = service.shares.iter().map(|share| {
            let old = previous.and_then(|view| view.pool(&share.pool.service, share.pool.color));
            let pool = match old {
                Some(old) if Arc::ptr_eq(&old.pool, &share.pool) => Rc::clone(old),
                old => Rc::new(LocalPool::new(
                    Arc::clone(&share.pool),
                    &service.counters,
                    old.map(AsRef::as_ref),
                    worker,
                )),
            };
            LocalShare { weight: share.weight, pool }
        });
        Self { pools: pools.collect(), settings }
    }
}

/// A worker's hold on a pool. It ends with the view that names it, or with its last lease.
#[derive(Debug)]
pub(crate) struct LocalPool {
    pub(crate) pool: Arc<Pool>,
    pub(crate) endpoints: Vec<Rc<LocalEndpoint>>,
    /// Where `round_robin` goes on.
    pub(crate) cursor: Cell<usize>,
    /// What `weighted` owes each endpoint.
    pub(crate) credits: RefCell<Vec<i64>>,
    pub(crate) slot: Arc<ColorSlot>,
    in_flight: Arc<InFlight>,
}

impl LocalPool {
    fn new(pool: Arc<Pool>, counters: &ServiceCounters, old: Option<&Self>, worker: usize) -> Self {
        let old = old.into_iter().flat_map(|old| &old.endpoints);
        let known: HashMap<_, _> = old.map(|old| (Arc::as_ptr(&old.endpoint), old)).collect();
        let local = |endpoint| match known.get(&Arc::as_ptr(endpoint)) {
            Some(known) => Rc::clone(known),
            None => Rc::new(LocalEndpoint::new(endpoint, worker)),
        };
        let endpoints: Vec<_> = pool.endpoints.iter().map(local).collect();
        Self {
            credits: RefCell::new(vec![0; endpoints.len()]),
            cursor: Cell::new(worker),
            slot: counters.color_slot(pool.color, worker),
            in_flight: pool.in_flight(worker),
            endpoints,
            pool,
        }
    }
}

/// A worker's side of an endpoint: the idle connections to it.
#[derive(Debug)]
pub(crate) struct LocalEndpoint {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) trials: Rc<Trials>,
    load: Arc<Counter>,
    idle: RefCell<Vec<Idle>>,
    retired: Cell<bool>,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    since: u64,
}

impl LocalEndpoint {
    fn new(endpoint: &Arc<Endpoint>, worker: usize) -> Self {
        Self {
            endpoint: Arc::clone(endpoint),
            trials: Rc::default(),
            load: endpoint.load(worker),
            idle: RefCell::default(),
            retired: Cell::new(false),
        }
    }

    /// Whether the live table does not name this endpoint any more: then its idle connections have
    /// been closed, and those in use are when they are given back.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.get()
    }
}

/// A request's hold on a pool and an endpoint of it, until its last byte.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) pool: Rc<LocalPool>,
    pub(crate) endpoint: Rc<LocalEndpoint>,
    pub(crate) service: Rc<LocalSettings>,
    work: Cell<Work>,
}

impl Lease {
    /// Takes hold.
    pub(crate) fn new(
        service: &Rc<LocalSettings>,
        pool: &Rc<LocalPool>,
        endpoint: Rc<LocalEndpoint>,
    ) -> Self {
        pool.in_flight.of(Work::Request).add(1);
        endpoint.load.add(1);
        Self {
            pool: Rc::clone(pool),
            endpoint,
            service: Rc::clone(service),
            work: Cell::new(Work::Request),
        }
    }

    /// From now on a stream, with the deadline of streams.
    pub(crate) fn become_stream(&self) {
        if self.work.replace(Work::Stream) == Work::Request {
            self.pool.in_flight.of(Work::Request).sub(1);
            self.pool.in_flight.of(Work::Stream).add(1);
        }
    }

    /// Whether a drain deadline wants this lease to end now.
    pub(crate) fn is_hung_up(&self) -> bool {
        self.pool.pool.is_hung_up(self.work.get())
    }

    /// Counts this lease as ended by force.
    pub(crate) fn note_forced(&self) {
        self.pool.slot.forced.count(self.work.get());
    }

    /// An idle connection that is fit for use, the youngest first. `now` is in ticks.
    pub(crate) fn take_idle(&self, now: u64) -> Option<Box<Connection>> {
        let mut idle = self.endpoint.idle.borrow_mut();
        let oldest = now.saturating_sub(idle_ticks(&self.service.settings));
        while let Some(mut candidate) = idle.pop() {
            if candidate.since < oldest {
                // The rest is older still.
                idle.clear();
            } else if candidate.connection.is_reusable() {
                return Some(candidate.connection);
            }
        }
        None
    }

    /// Gives a connection back for the next request.
    pub(crate) fn give_back(&self, connection: Box<Connection>, now: u64) {
        let mut idle = self.endpoint.idle.borrow_mut();
        if !self.endpoint.retired.get() && idle.len() < MAX_IDLE {
            idle.push(Idle { connection, since: now });
            self.endpoint.trials.wake();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.in_flight.of(self.work.get()).sub(1);
        self.endpoint.load.sub(1);
    }
}

/// Idle connections kept per endpoint and worker.
const MAX_IDLE: usize = 512;

fn idle_ticks(settings: &Settings) -> u64 {
    crate::time::ticks(settings.timeouts.upstream_idle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::counters::Registry;
    use crate::pool::scale::tables;

    #[test]
    fn only_endpoints_that_the_live_table_does_not_name_are_retired() {
        let [first, second, third] = tables(&Registry::new(1), 2);
        let first = View::new(first, None, 0);
        let second = View::new(second, Some(&first), 0);
        let third = View::new(third, Some(&second), 0);
        let retired = |view: &View| view.endpoints().map(|it| it.is_retired()).collect::<Vec<_>>();
        assert_eq!(retired(&first), [true, true, false, false].repeat(2));
        assert_eq!(retired(&second), [false; 8]);
        let kept = |a: &View, b: &View| {
            a.endpoints().zip(b.endpoints()).map(|(a, b)| Rc::ptr_eq(a, b)).collect::<Vec<_>>()
        };
        assert_eq!(kept(&first, &second), [false, false, true, true].repeat(2));
        assert_eq!(kept(&second, &third), [true; 8]);
    }
}
