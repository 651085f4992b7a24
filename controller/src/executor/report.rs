//! The zero-drop report: how a rollout went, for people and programs.

use cutover_proxy::table::{Color, ServiceName, Snapshot};
use serde::{Deserialize, Serialize};

use super::record::Part;
use crate::executor::judge::Figures;

/// The last line of a `deploy` or `rollback`, and an entry of the history.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Report {
    /// The service.
    pub service: ServiceName,
    /// `done`, `refused`, `rolled_back` or `failed`.
    pub result: String,
    /// The number of this release.
    pub revision: u64,
    /// What served before.
    pub from: String,
    /// What was to serve.
    pub to: String,
    /// The image as it was asked for.
    pub image: String,
    /// What it was pinned to: the registry's digest, or the image's ID where it never saw one.
    pub digest: Option<String>,
    /// Requests that ended while the rollout ran.
    pub requests: ByColor,
    /// Requests answered with 500 or above, or not at all.
    pub failed: u64,
    /// Requests sent again.
    pub retried: u64,
    /// Requests that had to wait.
    pub held: u64,
    /// What the drain deadline closed.
    pub forced: Forced,
    /// From the flip to the last byte of the old color.
    pub longest_drained_ms: u64,
    /// Medians.
    pub p50_ms: OldNew,
    /// 99th percentiles.
    pub p99_ms: OldNew,
    /// What each phase took, in order.
    pub phases: Vec<PhaseTime>,
    /// Why, where it did not go well.
    pub reason: Option<String>,
    /// What the last probe of the new color saw.
    pub last_probe: Option<String>,
    /// The last lines of a failed container.
    pub log: Vec<String>,
    /// When it began, RFC 3339.
    pub at: String,
    /// Who asked.
    pub by: String,
    /// `deploy`, `rollback` or `auto`.
    pub kind: String,
    /// From the request to the report.
    pub duration_ms: u64,
}

impl Report {
    /// A report on a service's part that says nothing yet but what it was about.
    #[must_use]
    pub(super) fn of(part: &Part, result: &str) -> Self {
        Self {
            image: part.image.clone(),
            digest: part.digest.clone(),
            ..Self::new(&part.service, part.revision, (part.from, part.to), result)
        }
    }

    /// A report on a release that says nothing yet, not even its image.
    #[must_use]
    pub(super) fn new(
        service: &ServiceName,
        revision: u64,
        (from, to): (Color, Color),
        result: &str,
    ) -> Self {
        Self {
            service: service.clone(),
            result: result.to_owned(),
            revision,
            from: from.as_str().into(),
            to: to.as_str().into(),
            image: String::new(),
            digest: None,
            requests: ByColor::default(),
            failed: 0,
            retried: 0,
            held: 0,
            forced: Forced::default(),
            longest_drained_ms: 0,
            p50_ms: OldNew::default(),
            p99_ms: OldNew::default(),
            phases: Vec::new(),
            reason: None,
            last_probe: None,
            log: Vec::new(),
            at: String::new(),
            by: String::new(),
            kind: String::new(),
            duration_ms: 0,
        }
    }
}

/// A number per color.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct ByColor {
    /// Of blue.
    pub blue: u64,
    /// Of green.
    pub green: u64,
}

/// What was closed by force.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Forced {
    /// Requests.
    pub requests: u64,
    /// Streams.
    pub streams: u64,
}

/// A figure of both releases.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct OldNew {
    /// Before the flip.
    pub old: f64,
    /// After it.
    pub new: f64,
}

/// What a phase took.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct PhaseTime {
    /// Its name.
    pub name: String,
    /// Milliseconds.
    pub ms: u64,
}

/// What a service had counted at some moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counted {
    blue: Figures,
    green: Figures,
    retried: u64,
    held: u64,
    unserved: u64,
}

impl Counted {
    /// Reads a snapshot.
    #[must_use]
    pub(super) fn of(snapshot: &Snapshot, service: &ServiceName) -> Self {
        let stats = snapshot.services.iter().find(|s| s.name == service.as_str());
        Self {
            blue: Figures::of(snapshot, service, Color::Blue),
            green: Figures::of(snapshot, service, Color::Green),
            retried: stats.map_or(0, |s| s.retries.values().sum()),
            held: stats.map_or(0, |s| s.held),
            unserved: stats.map_or(0, |s| s.unserved.values().sum()),
        }
    }

    /// One color's figures.
    #[must_use]
    pub(super) fn color(&self, color: Color) -> &Figures {
        match color {
            Color::Blue => &self.blue,
            Color::Green => &self.green,
        }
    }

    /// What was counted since `before`.
    #[must_use]
    pub(super) fn since(&self, before: &Self) -> Self {
        // A proxy that was restarted in between counts from nothing.
        let since = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        Self {
            blue: self.blue.since(&before.blue),
            green: self.green.since(&before.green),
            retried: since(self.retried, before.retried),
            held: since(self.held, before.held),
            unserved: since(self.unserved, before.unserved),
        }
    }

    /// Puts what was counted into a report.
    pub(super) fn fill(&self, report: &mut Report) {
        report.requests = ByColor { blue: self.blue.requests, green: self.green.requests };
        report.failed = self.blue.failed + self.green.failed + self.unserved;
        report.retried = self.retried;
        report.held = self.held;
    }
}
