//! What a deploy would do, and what stands in its way.

use std::borrow::Cow;

use cutover_proxy::table::ServiceName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::phase::Phase;

/// The answer to `POST …/plan`, for several services that flip together.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Plan {
    /// In order.
    pub steps: Vec<Step>,
    /// What must be changed first.
    pub blockers: Vec<Finding>,
    /// What is worth knowing.
    pub warnings: Vec<Finding>,
}

/// One step.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct Step {
    /// The service.
    #[schema(value_type = crate::schema::ServiceName)]
    pub service: ServiceName,
    /// The phase of the rollout.
    pub phase: Phase,
    /// In words.
    pub message: String,
}

/// Something that stands in the way, or nearly.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct Finding {
    /// The service.
    #[schema(value_type = crate::schema::ServiceName)]
    pub service: ServiceName,
    /// A word for programs.
    #[schema(value_type = String, example = "host_port")]
    pub code: Cow<'static, str>,
    /// What it is.
    pub message: String,
    /// What to do about it.
    pub fix: String,
}

impl Finding {
    /// What it is and what to do about it, for a report.
    #[must_use]
    pub fn reason(&self) -> String {
        format!("{} (fix: {})", self.message, self.fix)
    }
}
