//! What the journal knows of a rollout; the journal's own types.

pub(super) use crate::state::rollout::{Baseline, Found, Kind, Part, Record, Replica};
