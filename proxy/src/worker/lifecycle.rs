//! The life of a worker, from its first table to its last connection.

use std::cell::Cell;
use std::time::Instant;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::time::TICK;

/// How far a worker's life has come.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Phase {
    /// No table yet: nobody is let in.
    #[default]
    Starting,
    /// Serving.
    Serving,
    /// Connections close after their present request; new ones are still taken.
    LameDuck,
    /// No new connections; what is open finishes.
    Draining,
    /// What has not finished is broken off.
    Over,
}

/// How far a worker has come, and what is open on it.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    phase: Cell<Phase>,
    /// Woken when the view or the phase has changed.
    changed: Notify,
    /// Open client connections; each connection's guard counts itself.
    connections: Cell<usize>,
    /// Whether a connection has given up its memory since the last trim.
    has_freed: Cell<bool>,
}

impl Lifecycle {
    /// How far it has come.
    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Goes on to a phase; never back.
    pub(crate) fn advance(&self, phase: Phase) {
        if self.phase.get() < phase {
            self.phase.set(phase);
            self.notify();
        }
    }

    /// Waits until it has come at least as far as `phase`.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn reached(&self, phase: Phase) {
        while self.phase.get() < phase {
            self.changed.notified().await;
        }
    }

    /// Ready when the view or the phase changes behind this call.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// The view or the phase has changed.
    pub(crate) fn notify(&self) {
        self.changed.notify_waiters();
    }

    /// A client connection has been opened.
    pub(crate) fn opened(&self) {
        self.connections.set(self.connections.get() + 1);
    }

    /// A client connection has been closed.
    pub(crate) fn closed(&self) {
        self.connections.set(self.connections.get() - 1);
    }

    /// A connection has given up its memory.
    pub(crate) fn freed(&self) {
        self.has_freed.set(true);
    }

    /// Whether one has, since the last call.
    pub(crate) fn take_freed(&self) -> bool {
        self.has_freed.take()
    }

    /// Waits until no client connection is open, or the deadline has passed.
    pub(crate) async fn emptied(&self, deadline: Instant) {
        while self.connections.get() > 0 && Instant::now() < deadline {
            tokio::time::sleep(TICK / 4).await;
        }
    }
}
