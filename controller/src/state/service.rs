//! What the journal keeps of one service.

use std::collections::BTreeSet;

use cutover_proxy::table::{Color, Pause};
use serde::{Deserialize, Serialize};

use crate::state::history::{Entry, History};
use crate::state::membership::Membership;
use crate::state::weights::Weights;

/// What is remembered of one service.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct ServiceState {
    /// The shares of the colors; `None` while nothing has decided them.
    pub weights: Option<Weights>,
    /// The colors that serve by force until their probes pass.
    pub forced: BTreeSet<Color>,
    /// Requests are held.
    pub pause: Option<Pause>,
    /// Which containers are of which color, and what each color runs.
    pub members: Membership,
    /// What has been released.
    history: History,
}

impl ServiceState {
    /// Reports of former rollouts and failovers.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Adds to the history. What a color runs is never dropped from it.
    pub fn record(&mut self, entry: Entry) {
        let runs: Vec<_> =
            Color::ALL.into_iter().filter_map(|c| self.members.revision(c)).collect();
        self.history.add(entry, &runs);
    }

    /// A history that was written by an older version.
    #[must_use]
    pub(super) fn with_history(mut self, entries: Vec<Entry>) -> Self {
        for entry in entries {
            self.record(entry);
        }
        self
    }
}
