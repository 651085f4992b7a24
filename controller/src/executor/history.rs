//! The releases of a service: what served, how it came, and how to have it again.

use super::report::Report;
pub(super) use crate::state::history::{Entry, Release};

/// A rollout that has ended, for the history.
#[must_use]
pub(super) fn entry(report: &Report, release: &Release) -> Entry {
    Entry::new(report.clone(), Some(release.clone()))
}
