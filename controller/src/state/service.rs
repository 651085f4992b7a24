//! What the journal keeps of one service.

use std::collections::BTreeSet;

use cutover_api::Weights;
use cutover_proxy::table::{Color, Pause};
use serde::{Deserialize, Serialize};

use crate::state::history::{Entry, History};
use crate::state::membership::Membership;

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

    /// Of the history what may serve again. A release that another project had under the service's
    /// name is not one: it holds that one's settings and secrets.
    #[must_use]
    pub(crate) fn ways_back(&self) -> History {
        self.history.of_whom(|project| self.members.takes(project))
    }

    /// Gives the colors these shares. Those that serve then do so whatever their probes say, if this
    /// is by force or they did before.
    pub fn serve(&mut self, weights: Weights, force: bool) {
        self.weights = Some(weights);
        let forced =
            |color: &Color| weights.serves(*color) && (force || self.forced.contains(color));
        self.forced = Color::ALL.into_iter().filter(forced).collect();
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
