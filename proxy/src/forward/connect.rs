//! A connection to an endpoint: an idle one, or a new one.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::retry::Failed;
use crate::pool::lease::Lease;
use crate::pool::ramp::RampSlot;
use crate::time::TICK;
use crate::upstream::Connection;
use crate::worker::Worker;

/// A connection that a request may be sent on.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) connection: Box<Connection>,
    /// The slot of a new one, until it has answered; an idle one needs none.
    pub(crate) slot: Option<RampSlot>,
}

/// An idle connection of this worker, or a new one.
///
/// # Errors
/// [`Failed::Retired`] also for a connection that stands by then: the address may be another
/// container's, and the kernel sends a SYN again and again, so that what answers the second one need
/// not be whom the first was for.
///
/// # Cancel safety
/// Dropping the future gives up the connection that is being made, and no other.
pub(crate) async fn connect(
    worker: &Worker,
    lease: &Lease,
    fresh_only: bool,
) -> Result<Connected, Failed> {
    let timers = &worker.timers;
    let ramp = &lease.endpoint.ramp;
    let mut patience = None;
    let slot = loop {
        if !fresh_only && let Some(idle) = lease.take_idle(timers.now()) {
            return Ok(Connected { connection: idle, slot: None });
        }
        if let Some(slot) = ramp.begin() {
            break slot;
        }
        if !ramp.wait(patience.get_or_insert_with(|| timers.sleep(TICK))).await {
            if let Some(slot) = ramp.begin_late(timers.now()) {
                break slot;
            }
            patience = Some(timers.sleep(Duration::ZERO));
        }
    };
    let limit = lease.service.settings.timeouts.connect;
    let mut connecting = pin!(timers.timeout(limit, Connection::connect_for(&lease.endpoint)));
    let connected = loop {
        let mut changed = pin!(worker.life.changed());
        let connected = poll_fn(|cx| match connecting.as_mut().poll(cx) {
            Poll::Ready(connected) => Poll::Ready(Some(connected)),
            Poll::Pending => changed.as_mut().poll(cx).map(|()| None),
        })
        .await;
        // A retired endpoint is known as such only once the view is that of the live table.
        worker.renew_view();
        if lease.endpoint.is_retired() {
            return Err(Failed::Retired);
        }
        if let Some(connected) = connected {
            break connected;
        }
    };
    let error = match connected {
        Some(Ok(connection)) => return Ok(Connected { connection, slot: Some(slot) }),
        Some(Err(error)) => {
            tracing::debug!(endpoint = %lease.endpoint.shared.id, %error, "connect");
            Failed::Refused
        }
        None => Failed::ConnectTimeout,
    };
    slot.failed();
    Err(error)
}
