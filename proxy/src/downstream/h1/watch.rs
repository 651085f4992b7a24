//! What the client does while we wait for others, and how long we wait for the client.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::transport::Transport;
use crate::downstream::client::Client;
use crate::time::{Sleep, TICK};
use crate::worker::Phase;

/// Watches the client of a connection that is awake.
pub(super) struct Watch<'a> {
    pub(super) client: &'a Rc<Client>,
    pub(super) transport: &'a Rc<Transport>,
    /// The one deadline, whatever it is for at the time.
    alarm: Sleep,
}

/// Why there is no use in waiting on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cut {
    /// What was begun is to be broken off.
    Broken,
    /// The client has gone.
    Gone,
}

impl<'a> Watch<'a> {
    /// Begins to watch.
    pub(super) fn new(client: &'a Rc<Client>, transport: &'a Rc<Transport>) -> Self {
        Self { client, transport, alarm: client.worker.timers.sleep(TICK) }
    }

    /// What the client does while we wait for others: ready when there is no use in waiting on.
    /// Interim answers are sent.
    pub(super) fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Cut> {
        if self.client.worker.phase() >= Phase::Over {
            return Poll::Ready(Cut::Broken);
        }
        if let Poll::Ready(Err(_)) = self.transport.poll_flush(cx) {
            return Poll::Ready(Cut::Gone);
        }
        if self.transport.read_ahead(cx).is_err() {
            return Poll::Ready(Cut::Gone);
        }
        if self.transport.delivery.is_blocked() {
            return self.poll_blocked(cx);
        }
        // What has not been read hides an end, but not a reset: nobody tells us, so we look.
        if self.transport.is_blind() {
            if self.transport.socket.is_reset(cx) {
                return Poll::Ready(Cut::Gone);
            }
            self.arm(cx, BLIND_CHECK);
        }
        Poll::Pending
    }

    /// The client takes nothing: ready when it has had its time.
    pub(super) fn poll_blocked(&mut self, cx: &mut Context<'_>) -> Poll<Cut> {
        if self.client.worker.phase() >= Phase::Over {
            return Poll::Ready(Cut::Broken);
        }
        let now = self.client.worker.timers.now();
        let Some(left) = self.transport.delivery.left(now, &self.client.limits()) else {
            return Poll::Ready(Cut::Broken);
        };
        self.arm(cx, left);
        Poll::Pending
    }

    /// Has the connection looked at again after `left` at the latest.
    pub(super) fn arm(&mut self, cx: &mut Context<'_>, left: Duration) {
        self.alarm.reset(left);
        // Never ready, since it begins now: this is for the waker.
        let _pending = Pin::new(&mut self.alarm).poll(cx);
    }
}

/// How often a connection whose end would wake nobody is looked at.
const BLIND_CHECK: Duration = Duration::from_secs(1);
