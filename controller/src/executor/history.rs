//! The releases of a service: what served, how it came, and how to have it again.

use std::collections::BTreeMap;

use super::record::Part;
use super::report::Report;
pub(super) use crate::state::history::{Entry, Release};

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
}

/// A rollout that has ended, for the history.
#[must_use]
pub(super) fn entry(report: &Report, release: &Release) -> Entry {
    Entry::new(report.clone(), Some(release.clone()))
}
