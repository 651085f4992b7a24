//! The releases of a service: what served, how it came, and how to have it again.

use std::collections::BTreeMap;

use cutover_proxy::table::Color;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::record::Part;
use super::report::Report;
use crate::engine::Spec;

/// What it takes to have a release again: kept beside its report, never shown.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Release {
    /// The image as it was asked for.
    pub image: String,
    /// What it was pinned to.
    pub digest: Option<String>,
    /// The ID of the image.
    pub image_id: Option<String>,
    /// One per replica.
    pub specs: Vec<Spec>,
    /// The same of each color, where both served.
    #[serde(default)]
    pub both: BTreeMap<Color, Vec<Spec>>,
}

impl Release {
    /// The new release of a rollout.
    #[must_use]
    pub(super) fn of(part: &Part) -> Self {
        Self {
            image: part.image.clone(),
            digest: part.digest.clone(),
            image_id: part.image_id.clone(),
            specs: part.replicas.iter().filter_map(|replica| replica.spec.clone()).collect(),
            both: BTreeMap::new(),
        }
    }

    /// Has a part's containers made as they were.
    pub(super) fn recall(&self, part: &mut Part) {
        let specs = match (self.both.get(&part.to), part.both) {
            (Some(specs), _) => specs,
            (None, None) => &self.specs,
            // It served alone: what the other color was made of is not known.
            (None, Some(_)) => return,
        };
        for (n, replica) in part.replicas.iter_mut().enumerate() {
            replica.spec = specs.get(n).or_else(|| specs.last()).cloned();
        }
    }
}

/// Adds a rollout to the history; only so many are kept.
pub(super) fn add(history: &mut Vec<Value>, report: &Report, release: &Release) {
    let mut entry = json!(report);
    if let Value::Object(fields) = &mut entry {
        fields.insert(RELEASE.into(), json!(release));
    }
    // A rollout that is concluded a second time, after a crash, is still one rollout.
    history.retain(|old| revision(old) != Some(report.revision));
    history.push(entry);
    let more = history.len().saturating_sub(KEPT);
    history.drain(..more);
}

/// The history as it is shown, newest first.
#[must_use]
pub(super) fn shown(history: &[Value]) -> Vec<Value> {
    let mut shown = history.to_vec();
    for entry in shown.iter_mut().filter_map(Value::as_object_mut) {
        entry.remove(RELEASE);
    }
    shown.reverse();
    shown
}

/// A release by its revision.
#[must_use]
pub(super) fn find(history: &[Value], wanted: u64) -> Option<Release> {
    let entry = history.iter().rev().find(|entry| revision(entry) == Some(wanted))?;
    serde_json::from_value(entry.get(RELEASE)?.clone()).ok()
}

/// The revision that served before another.
#[must_use]
pub(super) fn before(history: &[Value], current: u64) -> Option<u64> {
    let done = history.iter().filter(|entry| entry.get("result") == Some(&json!("done")));
    done.filter_map(revision).filter(|revision| *revision < current).max()
}

fn revision(entry: &Value) -> Option<u64> {
    entry.get("revision")?.as_u64()
}

const RELEASE: &str = "release";
/// Enough to see a pattern in; a journal is written whole each time.
const KEPT: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(revision: u64, result: &str) -> Value {
        json!({"revision": revision, "result": result, "release": {"image": format!("app:{revision}"), "specs": []}})
    }

    #[test]
    fn the_one_before_is_the_last_that_served() {
        let history = [entry(1, "done"), entry(2, "refused"), entry(3, "done")];
        assert_eq!(before(&history, 3), Some(1));
        assert_eq!(before(&history, 1), None);
        assert_eq!(find(&history, 1).unwrap().image, "app:1");
        assert!(find(&history, 9).is_none());
    }

    #[test]
    fn what_is_shown_has_no_secrets() {
        let shown = shown(&[entry(1, "done"), entry(2, "done")]);
        assert_eq!(shown[0]["revision"], 2);
        assert!(shown.iter().all(|entry| entry.get("release").is_none()));
    }
}
