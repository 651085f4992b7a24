//! Who is at the other end of a connection, and what holds for it.

use std::cell::{Cell, OnceCell, Ref, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::message::forwarded::{Peer, Scheme};
use crate::pool::binding::Binding;
use crate::table::{Limits, Policy};
use crate::time::span;
use crate::worker::{Phase, Worker};

/// One client connection, awake or asleep.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) worker: Rc<Worker>,
    pub(crate) peer: Peer,
    /// See [`Exchange::binding`](crate::exchange::Exchange::binding).
    pub(crate) binding: OnceCell<Rc<Binding>>,
    policy: RefCell<Arc<Policy>>,
    /// The tick since which it has been idle.
    idle_since: Cell<u64>,
}

impl Client {
    /// A client that has sent nothing yet.
    pub(crate) fn new(worker: Rc<Worker>, address: SocketAddr) -> Rc<Self> {
        let policy = worker.with_view(|view| Arc::clone(&view.table.policy));
        Rc::new(Self {
            peer: Peer::new(address, Scheme::Http),
            binding: OnceCell::new(),
            policy: RefCell::new(policy),
            idle_since: Cell::new(worker.timers.now()),
            worker,
        })
    }

    /// The limits of the table that was live when the connection last woke.
    pub(crate) fn limits(&self) -> Ref<'_, Limits> {
        Ref::map(self.policy.borrow(), |policy| &policy.limits)
    }

    /// Takes over the policy of the live table.
    pub(crate) fn renew_policy(&self) {
        let policy = self.worker.with_view(|view| Arc::clone(&view.table.policy));
        self.policy.replace(policy);
    }

    /// From now on it is idle.
    pub(crate) fn rests(&self) {
        self.idle_since.set(self.worker.timers.now());
    }

    /// How long an idle connection may stay so; `None` when that is over, or the worker drains.
    pub(crate) fn idle_left(&self) -> Option<Duration> {
        if self.worker.phase() >= Phase::Draining {
            return None;
        }
        self.left(self.idle_since.get(), self.limits().idle_timeout)
    }

    /// Whether it has been idle for so long.
    pub(crate) fn has_rested(&self, time: Duration) -> bool {
        self.left(self.idle_since.get(), time).is_none()
    }

    /// What is left of a time limit since a tick; `None` when it is over. Deadlines are kept in
    /// whole ticks, never early: the first tick was partly over when it was noted.
    pub(crate) fn left(&self, since: u64, limit: Duration) -> Option<Duration> {
        limit.checked_sub(span(self.worker.timers.now().saturating_sub(since)))
    }
}
