//! Which containers are of which color: what labels alone cannot say.

use std::collections::{BTreeMap, BTreeSet};

use cutover_proxy::table::Color;
use serde::{Deserialize, Serialize};

/// What the journal keeps of a service's containers. IDs are full container IDs; the key of a
/// release is made by the classification.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Membership {
    /// The compose project that the service belongs to, once one of its containers has been seen.
    project: Option<String>,
    /// What each color runs.
    slots: BTreeMap<Color, Slot>,
    /// The color of each release seen, by its key: for containers that name no color.
    releases: BTreeMap<String, Color>,
    /// The color of each container that a rollout has given one.
    assigned: BTreeMap<String, Color>,
    /// Containers that a rollout has put out of their color.
    aside: BTreeSet<String>,
    /// Containers that are to stay stopped: should the host start them again, nobody needs them.
    parked: BTreeSet<String>,
    /// Candidates that failed and are kept to be looked at, until the next rollout.
    abandoned: BTreeSet<String>,
    /// Configurations of which Compose has named containers as some of several.
    scaled: BTreeSet<String>,
    /// Containers that have served, of a service whose newcomers are flipped to by themselves.
    served: BTreeSet<String>,
    /// Labels of the last container that served, for when none is ready.
    live_labels: BTreeMap<String, String>,
    /// The last revision given out.
    last_revision: u64,
}

/// What a color runs.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Slot {
    /// The key of the one release that serves under the color; others of that color are spares.
    pub release: Option<String>,
    /// Its number in the history.
    pub revision: Option<u64>,
}

impl Membership {
    /// The compose project that the service belongs to.
    #[must_use]
    pub fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// Gives the service to a project.
    pub fn set_project(&mut self, project: Option<String>) {
        self.project = project;
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

    /// The key of the release that a color runs.
    #[must_use]
    pub fn release_of(&self, color: Color) -> Option<&str> {
        self.slots.get(&color)?.release.as_deref()
    }

    /// From now on a color runs this release.
    pub fn adopt(&mut self, color: Color, release: &str) {
        self.slots.entry(color).or_default().release = Some(release.to_owned());
    }

    /// Nothing is left of the release that a color ran.
    pub fn vacate(&mut self, color: Color) {
        if let Some(slot) = self.slots.get_mut(&color) {
            slot.release = None;
        }
    }

    /// The number in the history of what a color runs.
    #[must_use]
    pub fn revision(&self, color: Color) -> Option<u64> {
        self.slots.get(&color)?.revision
    }

    /// Notes the number in the history of what a color runs; `None` is unknown.
    pub fn set_revision(&mut self, color: Color, revision: Option<u64>) {
        self.slots.entry(color).or_default().revision = revision;
        self.last_revision = self.last_revision.max(revision.unwrap_or_default());
    }

    /// Notes that a rollout has brought a revision to a color, unless a newer one has since.
    pub fn bring(&mut self, color: Color, revision: u64) {
        self.set_revision(color, self.revision(color).max(Some(revision)));
    }

    /// The last revision that was given out.
    #[must_use]
    pub fn last_revision(&self) -> u64 {
        self.last_revision
    }

    /// Notes that a revision was given out.
    pub fn give_out(&mut self, revision: u64) {
        self.last_revision = self.last_revision.max(revision);
    }

    /// The color of a release that names none. One never seen goes beside the active color, unless
    /// it is the first.
    pub fn place(&mut self, release: &str, active: Color) -> Color {
        if let Some(color) = self.releases.get(release) {
            return *color;
        }
        let first = self.releases.is_empty() && self.assigned.is_empty();
        let color = if first { active } else { active.other() };
        self.releases.insert(release.to_owned(), color);
        self.adopt(color, release);
        color
    }

    /// The color that a release was placed in.
    #[must_use]
    pub fn placed(&self, release: &str) -> Option<Color> {
        self.releases.get(release).copied()
    }

    /// Notes the color of a release whose containers name one, unless it has one: whatever is made
    /// of the same release belongs beside it.
    pub fn note_release(&mut self, release: &str, color: Color) {
        self.releases.entry(release.to_owned()).or_insert(color);
    }

    /// Forgets releases that no container is of any more.
    pub fn retain_releases(&mut self, present: &BTreeSet<&str>) {
        self.releases.retain(|key, _| present.contains(key.as_str()));
        let left = &self.releases;
        for slot in self.slots.values_mut() {
            slot.release.take_if(|key| !left.contains_key(key));
        }
        for (key, color) in left {
            self.slots.entry(*color).or_default().release.get_or_insert_with(|| key.clone());
        }
    }

    /// The color that a rollout has given a container.
    #[must_use]
    pub fn assigned(&self, id: &str) -> Option<Color> {
        self.assigned.get(id).copied()
    }

    /// Whether a container has been given a color or put aside, so that it is no leftover.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.assigned.contains_key(id) || self.aside.contains(id)
    }

    /// A rollout gives containers a color; what the color had before steps aside.
    pub fn enroll(&mut self, ids: &[String], color: Color, displaced: &[String]) {
        for id in ids {
            self.assigned.insert(id.clone(), color);
            self.aside.remove(id);
        }
        self.displace(displaced);
    }

    /// Undoes [`Membership::enroll`].
    pub fn dismiss(&mut self, ids: &[String], displaced: &[String]) {
        for id in ids {
            self.assigned.remove(id);
        }
        self.take_back(displaced);
    }

    /// Puts containers out of their color.
    pub fn displace(&mut self, ids: &[String]) {
        self.aside.extend(ids.iter().cloned());
    }

    /// Lets containers back into their color.
    pub fn take_back(&mut self, ids: &[String]) {
        self.aside.retain(|id| !ids.contains(id));
    }

    /// Whether a rollout has put a container out of its color.
    #[must_use]
    pub fn is_aside(&self, id: &str) -> bool {
        self.aside.contains(id)
    }

    /// Notes that containers were stopped and are to stay so.
    pub fn park(&mut self, ids: &[String]) {
        self.parked.extend(ids.iter().cloned());
    }

    /// Notes that a container serves again: from then on it is not put away any more.
    pub fn unpark(&mut self, id: &str) {
        self.parked.remove(id);
        self.abandoned.remove(id);
    }

    /// Whether a container was stopped and is to stay so.
    #[must_use]
    pub fn is_parked(&self, id: &str) -> bool {
        self.parked.contains(id)
    }

    /// Candidates that failed stay to be looked at.
    pub fn abandon(&mut self, ids: &[String]) {
        self.abandoned.extend(ids.iter().cloned());
    }

    /// Candidates that failed and are still kept, as far as is known.
    #[must_use]
    pub fn abandoned(&self) -> &BTreeSet<String> {
        &self.abandoned
    }

    /// Takes note of a configuration of which Compose has named a container as one of several: none
    /// of it has a fixed name, whatever it is renamed to.
    pub fn note_scaled(&mut self, config: &str) {
        self.scaled.insert(config.to_owned());
    }

    /// Whether Compose has named a container of a configuration as one of several.
    #[must_use]
    pub fn is_scaled(&self, config: &str) -> bool {
        self.scaled.contains(config)
    }

    /// Forgets configurations of which no container is left.
    pub fn retain_scaled(&mut self, present: &BTreeSet<&str>) {
        self.scaled.retain(|config| present.contains(config.as_str()));
    }

    /// Notes that containers have served.
    pub fn note_served(&mut self, ids: impl IntoIterator<Item = String>) {
        self.served.extend(ids);
    }

    /// Whether a container has served.
    #[must_use]
    pub fn has_served(&self, id: &str) -> bool {
        self.served.contains(id)
    }

    /// Labels of the last container that served.
    #[must_use]
    pub fn live_labels(&self) -> &BTreeMap<String, String> {
        &self.live_labels
    }

    /// Notes the labels of a container that serves.
    pub fn set_live_labels(&mut self, labels: BTreeMap<String, String>) {
        self.live_labels = labels;
    }

    /// Forgets containers that have been removed. One that nobody has seen yet may just have been
    /// made, so this names those that were seen and are no more.
    pub fn forget_gone(&mut self, gone: &BTreeSet<String>) {
        self.assigned.retain(|id, _| !gone.contains(id));
        self.aside.retain(|id| !gone.contains(id));
        self.parked.retain(|id| !gone.contains(id));
        self.abandoned.retain(|id| !gone.contains(id));
        self.served.retain(|id| !gone.contains(id));
    }

    /// Forgets every container that is not among these: all that there are, at a moment when no
    /// rollout was making one.
    pub fn retain_containers(&mut self, present: &BTreeSet<String>) {
        self.assigned.retain(|id, _| present.contains(id));
        self.aside.retain(|id| present.contains(id));
        self.parked.retain(|id| present.contains(id));
        self.abandoned.retain(|id| present.contains(id));
        self.served.retain(|id| present.contains(id));
    }

    /// Takes over what the classification has found out: the project, releases and what the colors
    /// run. What rollouts have noted meanwhile stays.
    pub fn take_classified(&mut self, found: Self) {
        self.project = found.project;
        self.releases = found.releases;
        self.scaled = found.scaled;
        for (color, slot) in found.slots {
            self.slots.entry(color).or_default().release = slot.release;
        }
    }

    /// What an older version of the journal held.
    #[must_use]
    pub(super) fn restore(stored: Stored) -> Self {
        let mut slots: BTreeMap<Color, Slot> = BTreeMap::new();
        for (color, release) in stored.current {
            slots.entry(color).or_default().release = Some(release);
        }
        for (color, revision) in stored.revisions {
            slots.entry(color).or_default().revision = Some(revision);
        }
        Self {
            project: stored.project,
            slots,
            releases: stored.releases,
            assigned: stored.ours,
            aside: stored.displaced,
            parked: stored.parked,
            abandoned: BTreeSet::new(),
            scaled: BTreeSet::new(),
            served: stored.served,
            live_labels: BTreeMap::new(),
            last_revision: stored.last_revision,
        }
    }
}

/// The same in version 1 of the journal.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stored {
    project: Option<String>,
    releases: BTreeMap<String, Color>,
    current: BTreeMap<Color, String>,
    ours: BTreeMap<String, Color>,
    displaced: BTreeSet<String>,
    parked: BTreeSet<String>,
    served: BTreeSet<String>,
    revisions: BTreeMap<Color, u64>,
    last_revision: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn what_is_dismissed_is_as_if_it_had_never_been_enrolled() {
        let mut members = Membership::default();
        members.enroll(&ids(&["old"]), Color::Green, &[]);
        let before = members.clone();
        members.enroll(&ids(&["new"]), Color::Green, &ids(&["old"]));
        assert!(members.is_aside("old") && members.assigned("new") == Some(Color::Green));
        members.dismiss(&ids(&["new"]), &ids(&["old"]));
        assert_eq!(members, before);
    }

    #[test]
    fn a_container_that_was_removed_is_forgotten_everywhere() {
        let mut members = Membership::default();
        members.enroll(&ids(&["a"]), Color::Blue, &ids(&["b"]));
        members.park(&ids(&["c"]));
        members.abandon(&ids(&["a"]));
        members.note_served(ids(&["d"]));
        members.forget_gone(&ids(&["a", "b", "c", "d"]).into_iter().collect());
        assert_eq!(members, Membership::default());
    }

    #[test]
    fn the_first_release_is_active_and_the_next_stands_beside_it() {
        let mut members = Membership::default();
        assert_eq!(members.place("r1", Color::Blue), Color::Blue);
        assert_eq!(members.place("r2", Color::Blue), Color::Green);
        assert_eq!(members.place("r1", Color::Green), Color::Blue, "it has its place");
        assert_eq!(members.release_of(Color::Green), Some("r2"));
        members.retain_releases(&["r1"].into());
        assert_eq!(members.release_of(Color::Green), None);
    }

    #[test]
    fn what_the_classification_finds_leaves_revisions_alone() {
        let mut members = Membership::default();
        let mut found = members.clone();
        found.place("r1", Color::Blue);
        members.set_revision(Color::Blue, Some(7));
        members.take_classified(found);
        assert_eq!(members.revision(Color::Blue), Some(7));
        assert_eq!(members.release_of(Color::Blue), Some("r1"));
        assert_eq!(members.last_revision(), 7);
    }
}
