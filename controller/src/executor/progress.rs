//! What a rollout says while it goes on: to the client who asked, and to everyone who watches.

use std::sync::{Arc, Mutex, PoisonError};

use cutover_proxy::table::ServiceName;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use crate::serving::controller::Controller;

/// Where a rollout's events go. A client that has gone is not missed. Clones tell the same client.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    controller: Controller,
    client: Arc<Mutex<Option<mpsc::UnboundedSender<Value>>>>,
}

impl Progress {
    /// For one client, or none.
    #[must_use]
    pub(super) fn new(
        controller: Controller,
        client: Option<mpsc::UnboundedSender<Value>>,
    ) -> Self {
        Self { controller, client: Arc::new(Mutex::new(client)) }
    }

    /// Says what happens: `{"event":…,"service":…}` and the fields of `detail`.
    pub(super) fn say(&self, service: &ServiceName, event: &str, detail: Value) {
        let mut fields = Map::new();
        fields.insert("event".into(), json!(event));
        fields.insert("service".into(), json!(service));
        if let Value::Object(detail) = detail {
            fields.extend(detail);
        }
        let line = Value::Object(fields);
        self.controller.rollout_event(service, line.clone());
        self.send(line);
    }

    /// Sends the client a line as it is: a report.
    pub(super) fn send(&self, line: Value) {
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
