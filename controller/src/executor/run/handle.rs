//! How others see a rollout that is under way, and talk to it.

use cutover_proxy::table::{Color, ServiceName};
use cutover_rollout::{Event, Phase};
use tokio::sync::{mpsc, watch};

use super::Message;
use crate::state::rollout::{Part, Record};

/// A way to talk to a rollout that is under way.
#[derive(Clone, Debug)]
pub(in crate::executor) struct Handle {
    send: mpsc::UnboundedSender<Message>,
    standing: watch::Receiver<Standing>,
}

/// Where a rollout stands, for those who would end it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::executor) struct Standing {
    /// The phase.
    pub phase: Phase,
    /// Whether the old colors have been asked to serve again.
    pub reverted: bool,
    /// Whether a newer rollout may begin beside it: it only waits for what its old containers have.
    pub yielded: bool,
    /// Its services.
    pub sides: Vec<Side>,
}

/// The colors of one service in a rollout.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::executor) struct Side {
    /// The service.
    pub service: ServiceName,
    /// The release that is being brought in.
    pub revision: u64,
    /// The color that served before.
    pub from: Color,
    /// The color that is to serve.
    pub to: Color,
    /// Both serve, before and after.
    pub both: bool,
}

impl Handle {
    pub(super) fn new(
        send: mpsc::UnboundedSender<Message>,
        standing: watch::Receiver<Standing>,
    ) -> Self {
        Self { send, standing }
    }

    /// Tells the machine something. One that has ended needs no telling.
    pub(in crate::executor) fn send(&self, event: Event) {
        self.send.send(Message::Event(event)).ok();
    }

    /// Where it stands now.
    pub(in crate::executor) fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Waits until it stands somewhere; `None` when it has ended elsewhere.
    pub(in crate::executor) async fn until(
        &mut self,
        there: impl FnMut(&Standing) -> bool,
    ) -> Option<Standing> {
        let mut there = there;
        let standing = self.standing.wait_for(|standing| there(standing)).await;
        standing.ok().map(|standing| standing.clone())
    }

    /// Waits for the end.
    pub(in crate::executor) async fn ended(&mut self) {
        self.until(|standing| standing.phase == Phase::Ended).await;
    }

    /// Whether it is over.
    pub(in crate::executor) fn is_over(&self) -> bool {
        self.standing.borrow().phase == Phase::Ended || self.send.is_closed()
    }
}

impl Standing {
    /// That of a rollout, as its record has it.
    pub(super) fn of(record: &Record, reverted: bool) -> Self {
        let services = record.services();
        let parts = services.iter().filter_map(|service| record.reached(service));
        let phase = record.machine.phase();
        let yielded = record.machine.has_yielded();
        Self { phase, reverted, yielded, sides: parts.map(Side::of).collect() }
    }

    /// The colors of a service.
    pub(in crate::executor) fn side(&self, service: &ServiceName) -> Option<&Side> {
        self.sides.iter().find(|side| side.service == *service)
    }
}

impl Side {
    fn of(part: &Part) -> Self {
        Self {
            service: part.service.clone(),
            revision: part.revision,
            from: part.from,
            to: part.to,
            both: part.both.is_some(),
        }
    }
}
