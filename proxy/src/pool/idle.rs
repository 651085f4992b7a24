//! The connections to an endpoint that no request uses at present.

use std::cell::RefCell;

use crate::upstream::{Connection, Returned};

/// One worker's idle connections to one endpoint, the youngest last.
#[derive(Debug, Default)]
pub(crate) struct IdleConnections(RefCell<Vec<Idle>>);

#[derive(Debug)]
struct Idle {
    connection: Returned,
    /// In ticks.
    since: u64,
}

impl IdleConnections {
    /// The youngest that is fit for use and has been idle since `oldest` at most.
    pub(crate) fn take(&self, oldest: u64) -> Option<Box<Connection>> {
        let mut idle = self.0.borrow_mut();
        while let Some(mut candidate) = idle.pop() {
            if candidate.since < oldest {
                // The rest is older still.
                idle.clear();
            } else if candidate.connection.is_reusable() {
                return Some(candidate.connection.into_connection());
            }
        }
        None
    }

    /// Keeps a connection for the next request. Returns whether there was room for it.
    pub(crate) fn put(&self, connection: Returned, now: u64) -> bool {
        let mut idle = self.0.borrow_mut();
        let has_room = idle.len() < MAX_IDLE;
        if has_room {
            idle.push(Idle { connection, since: now });
        }
        has_room
    }

    /// Closes those that have been idle for longer than since `oldest`.
    pub(crate) fn sweep(&self, oldest: u64) {
        self.0.borrow_mut().retain(|idle| idle.since >= oldest);
    }

    /// Closes all.
    pub(crate) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

/// Idle connections kept per endpoint and worker.
const MAX_IDLE: usize = 512;
