//! What a rollout says while it goes on: to the client who asked, and to everyone who watches.

use std::sync::{Arc, Mutex, PoisonError};

use cutover_api::{Line, RolloutEvent};
use tokio::sync::mpsc;

use crate::serving::controller::Controller;
use crate::state::events::EventKind;

/// Where a rollout's events go. A client that has gone is not missed. Clones tell the same client.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    controller: Controller,
    client: Arc<Mutex<Option<mpsc::UnboundedSender<Line>>>>,
}

impl Progress {
    /// For one client, or none.
    #[must_use]
    pub(super) fn new(controller: Controller, client: Option<mpsc::UnboundedSender<Line>>) -> Self {
        Self { controller, client: Arc::new(Mutex::new(client)) }
    }

    /// Tells everyone what happens.
    pub(super) fn say(&self, event: RolloutEvent) {
        let (service, detail) = (event.service().clone(), event.clone());
        self.controller.events().send(EventKind::Rollout { service, detail });
        self.send(Line::Event(event));
    }

    /// Sends the client a line that nobody else gets: a report.
    pub(super) fn send(&self, line: Line) {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*client {
            client.send(line).ok();
        }
    }

    /// Ends the client's stream: it has all that it waits for. What follows is for those who watch.
    pub(super) fn part(&self) {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
