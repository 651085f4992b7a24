//! Orders from the supervisor, or the signals that stand for them where there is none.

use std::future::pending;
use std::time::Duration;

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::process::handoff::{Handoff, Order};

/// Where a child is told what to do.
#[derive(Debug)]
pub(super) struct Orders {
    handoff: Option<mpsc::UnboundedReceiver<Order>>,
    terminate: Signal,
    interrupt: Signal,
    reopen: Signal,
    /// What a signal allows the requests in flight.
    shutdown_timeout: Duration,
}

impl Orders {
    /// Listens from now on. Needs a tokio runtime.
    pub(super) fn new(handoff: Option<Handoff>, shutdown_timeout: Duration) -> Result<Self> {
        Ok(Self {
            handoff: handoff.map(Handoff::orders).transpose()?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: signal(SignalKind::user_defined1())?,
            shutdown_timeout,
        })
    }

    /// The next order; `None` when the supervisor has gone, and this process is to go at once.
    ///
    /// # Cancel safety
    /// An order that was not taken stays.
    pub(super) async fn next(&mut self) -> Option<Order> {
        let handoff = async {
            match &mut self.handoff {
                Some(handoff) => handoff.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            order = handoff => order,
            Some(()) = self.terminate.recv() => Some(Order::drain(self.shutdown_timeout)),
            Some(()) = self.interrupt.recv() => Some(Order::drain(self.shutdown_timeout)),
            Some(()) = self.reopen.recv() => Some(Order::ReopenLog),
        }
    }
}
