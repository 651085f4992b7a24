//! What a rollout tells while it goes on, and the lines of the stream that `deploy` answers with.

use cutover_proxy::table::{Color, ServiceName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::ErrorBody;
use crate::phase::Phase;
use crate::report::Report;

/// One thing that a rollout tells while it goes on.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RolloutEvent {
    /// The old color still has work.
    Drain {
        /// The service.
        #[schema(value_type = crate::schema::ServiceName)]
        service: ServiceName,
        /// Which of the two drains.
        phase: Phase,
        /// The color.
        #[schema(value_type = crate::schema::Color)]
        color: Color,
        /// Requests that go on.
        requests: u64,
        /// Streams that go on.
        streams: u64,
    },
    /// A phase has begun.
    Phase {
        /// The service.
        #[schema(value_type = crate::schema::ServiceName)]
        service: ServiceName,
        /// The phase.
        phase: Phase,
    },
    /// What a candidate answered to its last probe.
    Probe {
        /// The service.
        #[schema(value_type = crate::schema::ServiceName)]
        service: ServiceName,
        /// The phase.
        phase: Phase,
        /// The answer.
        answer: String,
    },
    /// How far a pull is.
    Pull {
        /// The service.
        #[schema(value_type = crate::schema::ServiceName)]
        service: ServiceName,
        /// The phase.
        phase: Phase,
        /// Bytes fetched.
        bytes: u64,
        /// Bytes in all, as far as known.
        total: u64,
        /// What the image was pinned to, once it is here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<String>,
    },
}

impl RolloutEvent {
    /// Whose rollout it is.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        match self {
            Self::Drain { service, .. }
            | Self::Phase { service, .. }
            | Self::Probe { service, .. }
            | Self::Pull { service, .. } => service,
        }
    }
}

/// A line of the answer to `deploy` and `rollback`: progress as it happens, then a report per
/// service, or the error that kept the rollout from beginning.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "one at a time, written to a socket at once")]
pub enum Line {
    /// The rollout has not begun, or nobody knows how it ends.
    Error(ErrorBody),
    /// It goes on.
    Event(RolloutEvent),
    /// How it went.
    Report(Report),
}
