//! The zero-drop report: how a rollout went, for people and programs.

use cutover_api::{ByColor, Ending, Kind, Report};
use cutover_proxy::table::Color;

use crate::state::counted::Counted;
use crate::state::rollout::Part;

/// A report on a service's part that says nothing yet but what it was about.
#[must_use]
pub(super) fn about(part: &Part, kind: Kind, result: Ending) -> Report {
    Report {
        image: part.image.clone(),
        digest: part.digest.clone(),
        ..Report::new(&part.service, part.revision, (part.from, part.to), kind, result)
    }
}

/// Puts what was counted into a report.
pub(super) fn fill(report: &mut Report, counted: &Counted) {
    let (blue, green) = (counted.color(Color::Blue), counted.color(Color::Green));
    report.requests = ByColor { blue: blue.requests, green: green.requests };
    report.failed = blue.failed + green.failed + counted.unserved;
    report.retried = counted.retried;
    report.held = counted.held;
}
