//! Which container, on which node.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A container on a node: who it is, whatever its name and address. Never used again.
///
/// Kept as one text, so that journals and labels need not change when there is more than one node: a
/// container of the engine that we speak to is its full ID alone, one of another node would be
/// `NODE/ID`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub(crate) struct WorkloadId(pub String);

impl WorkloadId {
    /// A container of the engine that we speak to.
    #[must_use]
    pub(crate) fn local(container: impl Into<String>) -> Self {
        Self(container.into())
    }

    /// The whole of it as text: what the journal keeps, and what the engine is asked by.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<WorkloadId> for String {
    fn from(id: WorkloadId) -> Self {
        id.0
    }
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
