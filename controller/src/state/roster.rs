//! Which containers are of which color: what labels alone cannot say.

use std::collections::{BTreeMap, BTreeSet};

use cutover_proxy::table::Color;
use serde::{Deserialize, Serialize};

/// What the journal keeps of a service's containers.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Roster {
    /// The compose project that the service belongs to, once one of its containers has been seen.
    pub project: Option<String>,
    /// The color of each release seen, by its key: for containers that name no color.
    pub releases: BTreeMap<String, Color>,
    /// The release of each color that serves under it; others of that color are superseded.
    pub current: BTreeMap<Color, String>,
    /// The color of each container that we made, by its ID. One that we made and that is not here
    /// is the leftover of a rollout.
    pub ours: BTreeMap<String, Color>,
    /// Containers that a rollout has put out of their color, by ID.
    pub displaced: BTreeSet<String>,
    /// Containers that a rollout has stopped: should the host start them again, nobody needs them.
    pub parked: BTreeSet<String>,
    /// Containers that have served, of a service whose newcomers are flipped to by themselves.
    pub served: BTreeSet<String>,
    /// The revision that each color runs.
    pub revisions: BTreeMap<Color, u64>,
    /// The last revision given out.
    pub last_revision: u64,
}

impl Roster {
    /// The color of a release that names none. One never seen goes beside the active color, unless
    /// it is the first.
    pub fn place(&mut self, release: &str, active: Color) -> Color {
        if let Some(color) = self.releases.get(release) {
            return *color;
        }
        let first = self.releases.is_empty() && self.ours.is_empty();
        let color = if first { active } else { active.other() };
        self.releases.insert(release.to_owned(), color);
        self.current.insert(color, release.to_owned());
        color
    }

    /// Whether a container of this project may be one of the service. One that Compose has nothing
    /// to do with may.
    #[must_use]
    pub fn takes(&self, project: Option<&str>) -> bool {
        match (&self.project, project) {
            (Some(own), Some(project)) => own == project,
            (None, _) | (_, None) => true,
        }
    }

    /// Forgets containers that have gone. One that nobody has seen yet may just have been made.
    pub fn forget(&mut self, gone: &BTreeSet<String>) {
        self.ours.retain(|id, _| !gone.contains(id));
        self.displaced.retain(|id| !gone.contains(id));
        self.served.retain(|id| !gone.contains(id));
    }

    /// Forgets releases that are not there any more.
    pub fn prune(&mut self, releases: &BTreeSet<&str>) {
        self.releases.retain(|key, _| releases.contains(key.as_str()));
        let left = &self.releases;
        self.current.retain(|_, key| left.contains_key(key));
        for (key, color) in left {
            self.current.entry(*color).or_insert_with(|| key.clone());
        }
    }
}
