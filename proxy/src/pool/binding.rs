//! Upstream connections that serve one client alone.
//!
//! NTLM and Negotiate authenticate a connection, not a request (RFC 4559 §6): what the next client
//! sent on it would be taken for the first one's.

use std::cell::RefCell;
use std::rc::Rc;

use crate::pool::lease::Lease;
use crate::pool::view::endpoint::EndpointView;
use crate::upstream::Connection;

/// Where a client's connection keeps the upstream connection that is bound to it, between two
/// requests. It closes with the client's.
#[derive(Debug, Default)]
pub(crate) struct Binding(RefCell<Option<Bound>>);

/// A connection that is bound to a client, and the endpoint it leads to.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) endpoint: Rc<EndpointView>,
    pub(crate) connection: Box<Connection>,
}

impl Binding {
    /// Keeps the connection of a lease for the client's next request.
    pub(crate) fn keep(&self, lease: &Lease, connection: Box<Connection>) {
        self.0.replace(Some(Bound { endpoint: Rc::clone(&lease.endpoint), connection }));
    }

    /// The connection, for a request.
    pub(crate) fn take(&self) -> Option<Bound> {
        self.0.take()
    }
}
