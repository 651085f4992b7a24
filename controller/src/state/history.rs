//! What has been released under a service's name: enough of it to show, and to have it again.

use std::collections::{BTreeMap, BTreeSet};

use cutover_api::{Ending, Kind, Report};
use cutover_proxy::table::Color;
use serde::{Deserialize, Serialize};

use crate::config::labels::COMPOSE_PROJECT;
use crate::engine::Spec;

/// The history of a service, oldest first. It is bounded, and it never loses the way back.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub struct History(Vec<Entry>);

/// One rollout or failover.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Entry {
    /// What is shown of it.
    report: Report,
    /// What it takes to have it again; never shown.
    #[serde(default)]
    release: Option<Release>,
}

/// What it takes to have a release again.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Release {
    /// The image as it was asked for.
    pub image: String,
    /// What it was pinned to.
    pub digest: Option<String>,
    /// The ID of the image.
    pub image_id: Option<String>,
    /// One per replica.
    pub(crate) specs: Vec<Spec>,
    /// The same of each color, where both served.
    #[serde(default)]
    pub(crate) both: BTreeMap<Color, Vec<Spec>>,
}

impl Release {
    /// The compose project that its containers were of.
    fn project(&self) -> Option<&str> {
        self.specs.iter().chain(self.both.values().flatten()).find_map(|s| s.label(COMPOSE_PROJECT))
    }
}

impl Entry {
    /// A report, and what it takes to have its release again. One that did not come to serve keeps
    /// no specs: they hold secrets, and nothing leads back to it.
    #[must_use]
    pub fn new(report: Report, release: Option<Release>) -> Self {
        let mut entry = Self { report, release };
        if !entry.is_done()
            && let Some(release) = &mut entry.release
        {
            release.specs.clear();
            release.both.clear();
        }
        entry
    }

    /// What is shown of it.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Its number, where it brought a release of its own: a failover only changes who serves.
    #[must_use]
    pub fn revision(&self) -> Option<u64> {
        (self.report.kind != Kind::Failover).then_some(self.report.revision)
    }

    /// Whether it is a release that came to serve and stayed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.release.is_some() && self.report.result == Ending::Done
    }

    /// The color that it brought the release to.
    #[must_use]
    pub fn to(&self) -> Color {
        self.report.to
    }

    /// What it takes to have it again.
    #[must_use]
    pub fn release(&self) -> Option<&Release> {
        self.release.as_ref()
    }
}

impl History {
    /// Whether nothing has ever been released.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every entry, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.0.iter()
    }

    /// The entries whose release is of a compose project that `takes` wants; `None` is of none.
    #[must_use]
    pub(super) fn of_whom(&self, takes: impl Fn(Option<&str>) -> bool) -> Self {
        let ours = |entry: &&Entry| takes(entry.release.as_ref().and_then(Release::project));
        Self(self.0.iter().filter(ours).cloned().collect())
    }

    /// The newest entry.
    #[must_use]
    pub fn last(&self) -> Option<&Entry> {
        self.0.last()
    }

    /// A release by its revision.
    #[must_use]
    pub fn release(&self, revision: u64) -> Option<&Release> {
        let mut entries = self.0.iter().rev();
        entries
            .find_map(|entry| entry.release.as_ref().filter(|_| entry.revision() == Some(revision)))
    }

    /// The revision that was done last before another.
    #[must_use]
    pub fn before(&self, revision: u64) -> Option<u64> {
        let done = self.0.iter().filter(|entry| entry.is_done()).filter_map(Entry::revision);
        done.filter(|done| *done < revision).max()
    }

    /// What is shown, newest first.
    #[must_use]
    pub fn shown(&self) -> Vec<Report> {
        self.0.iter().rev().map(|entry| entry.report.clone()).collect()
    }

    /// Adds an entry, in place of one of the same revision: a rollout that is concluded a second
    /// time, after a crash, is still one rollout. The last of each kind are kept, and always the
    /// last releases that were done and those of the revisions that `run`.
    pub(super) fn add(&mut self, entry: Entry, run: &[u64]) {
        // A failover is of a release that has its entry already.
        let revision = entry.revision().filter(|_| entry.release.is_some());
        let same = |old: &Entry| old.release.is_some() && old.revision() == revision;
        match self.0.iter_mut().find(|old| revision.is_some() && same(old)) {
            Some(old) => *old = entry,
            None => self.0.push(entry),
        }
        let mut of_kind: BTreeMap<&str, usize> = BTreeMap::new();
        let mut done = 0;
        let mut kept = BTreeSet::new();
        for (place, entry) in self.0.iter().enumerate().rev() {
            let seen = of_kind.entry(entry.report.kind.as_str()).or_default();
            *seen += 1;
            done += usize::from(entry.is_done());
            let way_back = entry.is_done() && done <= WAYS_BACK;
            let runs = entry.is_done() && entry.revision().is_some_and(|r| run.contains(&r));
            if *seen <= KEPT || way_back || runs {
                kept.insert(place);
            }
        }
        let mut place = 0;
        self.0.retain(|_| {
            place += 1;
            kept.contains(&(place - 1))
        });
    }
}

/// Of each kind. Enough to see a pattern in; a journal is written whole each time.
const KEPT: usize = 20;
/// Releases that were done: the one that serves and the one before it.
const WAYS_BACK: usize = 2;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(revision: u64, kind: Kind, result: Ending) -> Report {
        let colors = (Color::Blue, Color::Green);
        Report::new(&"web".parse().unwrap(), revision, colors, kind, result)
    }

    fn entry(revision: u64, result: Ending) -> Entry {
        let release = Release { image: format!("app:{revision}"), ..Release::default() };
        Entry::new(report(revision, Kind::Deploy, result), Some(release))
    }

    fn history(entries: impl IntoIterator<Item = Entry>) -> History {
        let mut history = History::default();
        entries.into_iter().for_each(|entry| history.add(entry, &[]));
        history
    }

    #[test]
    fn the_one_before_is_the_last_that_served() {
        let history =
            history([entry(1, Ending::Done), entry(2, Ending::Refused), entry(3, Ending::Done)]);
        assert_eq!(history.before(3), Some(1));
        assert_eq!(history.before(1), None);
        assert_eq!(history.release(1).unwrap().image, "app:1");
        assert!(history.release(9).is_none());
    }

    #[test]
    fn what_is_reported_late_stays_before_what_came_after_it() {
        let mut history = history([entry(1, Ending::Done), entry(2, Ending::Done)]);
        history.add(entry(3, Ending::Done), &[]);
        history.add(entry(2, Ending::RolledBack), &[]);
        let shown: Vec<_> = history.shown().iter().map(|r| (r.revision, r.result)).collect();
        let expected = [(3, Ending::Done), (2, Ending::RolledBack), (1, Ending::Done)];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_release_of_another_project_is_no_way_back() {
        let of = |revision, project: &str| {
            let labels = json!({COMPOSE_PROJECT: project});
            let spec = json!({"body": {"Labels": labels}, "networks": []});
            let spec = serde_json::from_value(spec).unwrap();
            let release = Release { specs: vec![spec], ..Release::default() };
            Entry::new(report(revision, Kind::Deploy, Ending::Done), Some(release))
        };
        let all = [entry(1, Ending::Done), of(2, "ours"), of(3, "theirs"), of(4, "ours")];
        let ours = history(all).of_whom(|project| project.is_none_or(|project| project == "ours"));
        assert_eq!(ours.before(4), Some(2));
        assert!(ours.release(3).is_none());
        assert_eq!(ours.before(2), Some(1), "of no project is of no other one");
    }

    #[test]
    fn a_hundred_failed_deploys_leave_the_way_back() {
        let failed = (3..103).map(|revision| entry(revision, Ending::Refused));
        let history =
            history([entry(1, Ending::Done), entry(2, Ending::Done)].into_iter().chain(failed));
        assert_eq!(history.before(103), Some(2));
        assert_eq!(history.before(2), Some(1));
        assert_eq!(history.iter().count(), KEPT + WAYS_BACK);
    }

    #[test]
    fn what_a_color_runs_is_kept_however_old() {
        let mut history = history([entry(1, Ending::Done)]);
        for revision in 2..60 {
            history.add(entry(revision, Ending::Done), &[1]);
        }
        assert_eq!(history.release(1).unwrap().image, "app:1");
        assert_eq!(history.iter().count(), KEPT + 1);
    }

    #[test]
    fn failovers_crowd_nothing_out_and_are_no_way_back() {
        let mut history = history([entry(1, Ending::Done), entry(2, Ending::Done)]);
        for _ in 0..50 {
            history.add(Entry::new(report(2, Kind::Failover, Ending::Done), None), &[]);
        }
        assert_eq!(history.iter().count(), KEPT + 2);
        assert_eq!(history.before(3), Some(2));
    }

    #[test]
    fn what_failed_keeps_no_specs_and_what_is_shown_has_none() {
        let spec: Spec = serde_json::from_value(json!({"body": {}, "networks": []})).unwrap();
        let release = Release { specs: vec![spec], ..Release::default() };
        let of = |result| Entry::new(report(1, Kind::Deploy, result), Some(release.clone()));
        assert_eq!(of(Ending::Refused).release.unwrap().specs, Vec::new());
        assert_eq!(of(Ending::Done).release.unwrap().specs.len(), 1);
        let history = history([entry(1, Ending::Done), entry(2, Ending::Done)]);
        assert_eq!(history.shown()[0].revision, 2);
        assert!(!json!(history.shown()).to_string().contains("app:"));
    }
}
