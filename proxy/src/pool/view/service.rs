//! A worker's side of a service.

use std::rc::Rc;
use std::sync::Arc;

use super::context::ServiceContext;
use super::endpoint::EndpointView;
use super::pool::PoolView;
use crate::pool::compile::{Service, Share};
use crate::table::Color;

/// One worker's view of one service.
#[derive(Debug)]
pub(crate) struct ServiceView {
    pub(crate) context: Rc<ServiceContext>,
    pub(crate) shares: Vec<ShareView>,
}

/// A pool and its share of the requests.
#[derive(Debug)]
pub(crate) struct ShareView {
    pub(crate) weight: u32,
    pub(crate) pool: Rc<PoolView>,
}

impl ServiceView {
    /// The view of `service`. Pools and endpoints that `old` has too are taken over.
    pub(crate) fn new(service: &Service, old: Option<&Self>, worker: usize) -> Self {
        let share = |share: &Share| {
            let old = old.and_then(|old| old.pool(share.pool.color));
            let pool = match old {
                Some(old) if Arc::ptr_eq(&old.shared, &share.pool) => Rc::clone(old),
                old => {
                    let old = old.map(AsRef::as_ref);
                    Rc::new(PoolView::new(&share.pool, &service.counters, old, worker))
                }
            };
            ShareView { weight: share.weight, pool }
        };
        let shares = service.shares.iter().map(share).collect();
        Self { context: Rc::new(ServiceContext::new(service, worker)), shares }
    }

    /// The endpoints of all its pools.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Rc<EndpointView>> {
        self.shares.iter().flat_map(|share| &share.pool.endpoints)
    }

    fn pool(&self, color: Color) -> Option<&Rc<PoolView>> {
        let mut pools = self.shares.iter().map(|share| &share.pool);
        pools.find(|pool| pool.shared.color == color)
    }
}
