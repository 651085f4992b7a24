//! What a crash or a panic has left in the middle is taken up from the journal.

use std::collections::BTreeMap;

use serde::Deserialize;
use tracing::{info, warn};

use super::Rollouts;
use super::actions::Event;
use super::phase::Phase;
use super::progress::Progress;
use super::record::Record;
use crate::registry::Logins;
use crate::state::holder::Holder;

impl Rollouts {
    /// Finishes or undoes what was under way when the controller died.
    pub(super) fn take_up(&self) {
        for record in self.journaled().into_values() {
            let progress = Progress::new(self.tools.controller.clone(), None);
            self.resume(record, progress, 1);
        }
    }

    /// What the journal holds of rollouts that have not ended, by their IDs.
    pub(super) fn journaled(&self) -> BTreeMap<String, Record> {
        self.tools.controller.state(|state| {
            let mut records = BTreeMap::new();
            for (id, stored) in state.journal.rollouts() {
                match Record::deserialize(&stored.record) {
                    Ok(record) => drop(records.insert(id.clone(), record)),
                    Err(error) => warn!(%id, %error, "a rollout of the journal is not understood"),
                }
            }
            records
        })
    }

    /// Finishes or undoes a rollout that ended in the middle; after a panic, so many times more.
    pub(super) fn resume(&self, record: Record, progress: Progress, chances: u8) {
        let flipped = record.parts.iter().all(|part| {
            let weights = self.tools.controller.state(|state| state.weights(&part.service));
            weights.serves(part.to) && (part.both.is_some() || !weights.serves(part.from))
        });
        info!(rollout = record.id, phase = %record.phase, flipped, "taking up a rollout");
        let services = record.services();
        let lock = match record.machine.holds_lock() {
            true => {
                let holder = Holder::new(record.kind.as_str(), Some(&record.by));
                self.tools.controller.lock(&services, &holder).ok()
            }
            false => None,
        };
        // The second color of two that serve: nothing of it has been touched yet.
        let first = match record.phase {
            Phase::Plan => Event::Begin,
            _ => Event::Resumed { flipped },
        };
        self.spawn(record, progress, lock, Logins::default(), first, chances);
    }
}
