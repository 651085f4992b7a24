//! The zero-drop report: how a rollout went, for people and programs.

pub(super) use cutover_api::{ByColor, Ending, Forced, Kind, OldNew, PhaseTime, Report};
use cutover_proxy::table::{Color, ServiceName, Snapshot};

use super::record::Part;
use crate::executor::judge::Figures;

/// A report on a service's part that says nothing yet but what it was about.
#[must_use]
pub(super) fn about(part: &Part, kind: Kind, result: Ending) -> Report {
    Report {
        image: part.image.clone(),
        digest: part.digest.clone(),
        ..Report::new(&part.service, part.revision, (part.from, part.to), kind, result)
    }
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
