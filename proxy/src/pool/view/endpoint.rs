//! A worker's side of an endpoint.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::metrics::counters::Counter;
use crate::pool::endpoint::Endpoint;
use crate::pool::idle::IdleConnections;
use crate::pool::ramp::Ramp;
use crate::upstream::{Home, Returned};

/// One worker's view of one endpoint: its idle connections, and how many new ones there may be.
#[derive(Debug)]
pub(crate) struct EndpointView {
    /// What all workers share.
    pub(crate) shared: Arc<Endpoint>,
    pub(crate) ramp: Rc<Ramp>,
    /// This worker's leases.
    pub(crate) load: Arc<Counter>,
    pub(crate) idle: IdleConnections,
    retired: Cell<bool>,
}

impl EndpointView {
    /// The view of an endpoint that is new to `worker`.
    pub(crate) fn new(shared: &Arc<Endpoint>, worker: usize) -> Self {
        Self {
            shared: Arc::clone(shared),
            ramp: Rc::default(),
            load: shared.load(worker),
            idle: IdleConnections::default(),
            retired: Cell::new(false),
        }
    }

    /// Whether the live table does not name this endpoint any more: then its idle connections have
    /// been closed, and those in use are when they are given back.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// Called by each new view, for what the live table names and what it does not name any more.
    pub(crate) fn set_retired(&self, retired: bool) {
        self.retired.set(retired);
    }
}

impl Home for EndpointView {
    fn address(&self) -> SocketAddr {
        self.shared.address
    }

    fn keep(&self, returned: Returned, now: u64) {
        if !self.is_retired() && self.idle.put(returned, now) {
            self.ramp.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::table::{EndpointId, EndpointSpec};
    use crate::upstream::Connection;

    /// Two containers that have the same address, one after the other.
    async fn same_address() -> (TcpListener, [Rc<EndpointView>; 2]) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let view = |id: &str| {
            let spec = EndpointSpec { id: EndpointId::from(id), address, weight: 1, up: true };
            Rc::new(EndpointView::new(&Arc::new(Endpoint::new(&spec, 1)), 0))
        };
        (listener, ["old", "new"].map(view))
    }

    #[tokio::test]
    async fn a_connection_goes_back_to_the_endpoint_that_it_was_made_for() {
        let (_listener, [old, new]) = same_address().await;
        let connection = Connection::connect_for(&old).await.unwrap();
        connection.give_back(1);
        assert!(new.idle.take(0).is_none());
        let again = old.idle.take(0).expect("it is idle");
        assert!(old.idle.take(0).is_none());
        again.give_back(2);
        assert!(old.idle.take(0).is_some(), "it belongs to the endpoint as long as it lives");
    }

    #[tokio::test]
    async fn a_connection_of_a_retired_endpoint_is_closed_when_it_is_given_back() {
        let (_listener, [old, _]) = same_address().await;
        let connection = Connection::connect_for(&old).await.unwrap();
        old.set_retired(true);
        connection.give_back(1);
        assert!(old.idle.take(0).is_none());
    }

    #[tokio::test]
    async fn a_connection_does_not_keep_its_endpoint_alive() {
        let (_listener, [old, _]) = same_address().await;
        let connection = Connection::connect_for(&old).await.unwrap();
        connection.give_back(1);
        let gone = Rc::downgrade(&old);
        drop(old);
        assert!(gone.upgrade().is_none());
    }
}
