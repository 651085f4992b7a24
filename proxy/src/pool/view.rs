//! A worker's own side of the live table.

pub(crate) mod context;
pub(crate) mod endpoint;
pub(crate) mod pool;
pub(crate) mod service;

use std::rc::Rc;
use std::sync::Arc;

use self::endpoint::EndpointView;
use self::service::ServiceView;
use crate::pool::compile::Table;
use crate::route::router::Route;
use crate::table::ServiceName;

/// One worker's view of one table.
///
/// It leads to every pool of its table, so nothing holds on to it across an await: the worker lends it
/// to closures only. Requests keep a [`Lease`](crate::pool::lease::Lease) and a
/// [`ServiceContext`](context::ServiceContext), which lead to one pool and to none.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) table: Arc<Table>,
    pub(crate) services: Vec<ServiceView>,
}

impl View {
    /// The view of `table`. Pools and endpoints that were in `previous` already keep their idle
    /// connections; what is gone closes them at once.
    pub(crate) fn new(table: Arc<Table>, previous: Option<&Self>, worker: usize) -> Self {
        let services = table.services.iter().map(|service| {
            let old = previous.and_then(|view| view.service(&service.settings.name));
            ServiceView::new(service, old, worker)
        });
        let view = Self { services: services.collect(), table };
        // All that the old view has are marked, then those that the new one has are not.
        for (view, retired) in previous.into_iter().map(|old| (old, true)).chain([(&view, false)]) {
            view.endpoints().for_each(|endpoint| endpoint.set_retired(retired));
        }
        for endpoint in previous.into_iter().flat_map(Self::endpoints) {
            if endpoint.is_retired() {
                endpoint.idle.clear();
            }
        }
        view
    }

    /// A service by its name.
    pub(crate) fn service(&self, name: &ServiceName) -> Option<&ServiceView> {
        self.services.get(self.table.place(name)?)
    }

    /// The route of a request, and the service it leads to.
    pub(crate) fn route(&self, host: &str, path: &str) -> Option<(&Route, &ServiceView)> {
        let route = self.table.router.find(host, path)?;
        Some((route, self.services.get(route.service)?))
    }

    fn endpoints(&self) -> impl Iterator<Item = &Rc<EndpointView>> {
        self.services.iter().flat_map(ServiceView::endpoints)
    }

    /// The work of each second: closes idle connections that have been so for too long, refills
    /// the retry budgets. `now` is in ticks.
    pub(crate) fn sweep(&self, now: u64) {
        for service in &self.services {
            service.context.retries.refill();
            let oldest = service.context.oldest_idle(now);
            service.endpoints().for_each(|endpoint| endpoint.idle.sweep(oldest));
        }
    }
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
