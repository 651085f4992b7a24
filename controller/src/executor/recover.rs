//! What a crash or a panic has left in the middle is taken up from the journal.

use std::collections::BTreeMap;

use cutover_rollout::Event;
use tracing::info;

use super::Rollouts;
use super::progress::Progress;
use crate::registry::Logins;
use crate::state::lock_owner::LockOwner;
use crate::state::rollout::Record;

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
            let records = state.journal().rollouts();
            records.map(|record| (record.id.clone(), record.clone())).collect()
        })
    }

    /// Finishes or undoes a rollout that ended in the middle; after a panic, so many times more.
    pub(super) fn resume(&self, record: Record, progress: Progress, chances: u8) {
        let flipped = self.is_flipped(&record);
        let phase = record.machine.phase();
        info!(rollout = record.id, %phase, flipped, "taking up a rollout");
        let lock = match record.machine.holds_lock() {
            true => {
                let owner = LockOwner::new(record.kind.as_str(), Some(&record.by));
                self.tools.controller.locks().take(&record.services(), &owner).ok()
            }
            false => None,
        };
        self.spawn(record, progress, lock, Logins::default(), Event::Resumed { flipped }, chances);
    }

    /// Whether the journal has the shares of the last flip that was asked for.
    fn is_flipped(&self, record: &Record) -> bool {
        let flipped = record.machine.flipped();
        let mut asked = record.parts.iter().filter(|part| part.batch < flipped);
        flipped > 0
            && asked.all(|part| {
                let weights = self.tools.controller.state(|state| state.weights(&part.service));
                weights.serves(part.to) && (part.both.is_some() || !weights.serves(part.from))
            })
    }
}
