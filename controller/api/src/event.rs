//! What happens: the lines of `GET /v1/events`.

use cutover_proxy::table::{Color, Generation, ServiceName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::line::RolloutEvent;
use crate::weights::{Target, Weights};

/// Something that happened, and when.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Event {
    /// RFC 3339, UTC.
    pub at: String,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// A config was refused; what was before stays.
    ConfigRefused {
        /// Why.
        message: String,
    },
    /// A config is live.
    ConfigReloaded {
        /// The table it made.
        #[schema(value_type = crate::schema::Generation)]
        generation: Generation,
    },
    /// Work of a color that no longer serves is finishing.
    DrainStarted {
        /// The service.
        #[schema(value_type = crate::schema::ServiceName)]
        service: ServiceName,
        /// The color.
        #[schema(value_type = crate::schema::Color)]
        color: Color,
    },
    /// A color that no longer serves has nothing left to do.
    Drained {
        /// The service.
        #[schema(value_type = crate::schema::ServiceName)]
        service: ServiceName,
        /// The color.
        #[schema(value_type = crate::schema::Color)]
        color: Color,
        /// How long that took.
        ms: u64,
        /// Requests that the deadline closed.
        forced_requests: u64,
        /// Streams that the deadline closed.
        forced_streams: u64,
    },
    /// An endpoint stopped answering its probes.
    EndpointDown {
        /// The service.
        #[schema(value_type = crate::schema::ServiceName)]
        service: ServiceName,
        /// The color.
        #[schema(value_type = crate::schema::Color)]
        color: Color,
        /// Its address or container.
        endpoint: String,
        /// The last answer.
        reason: String,
    },
    /// An endpoint answers its probes.
    EndpointUp {
        /// The service.
        #[schema(value_type = crate::schema::ServiceName)]
        service: ServiceName,
        /// The color.
        #[schema(value_type = crate::schema::Color)]
        color: Color,
        /// Its address or container.
        endpoint: String,
    },
    /// What should serve could not, so something else of the service that is ready serves.
    FailedOver {
        /// The service.
        #[schema(value_type = crate::schema::ServiceName)]
        service: ServiceName,
        /// What served.
        from: Target,
        /// What serves.
        to: Target,
        /// Why.
        reason: FailoverReason,
        /// The table that did it.
        #[schema(value_type = crate::schema::Generation)]
        generation: Generation,
    },
    /// Another color serves.
    Flipped {
        /// The service.
        #[schema(value_type = crate::schema::ServiceName)]
        service: ServiceName,
        /// What served.
        from: Target,
        /// What serves.
        to: Target,
        /// The table that did it.
        #[schema(value_type = crate::schema::Generation)]
        generation: Generation,
        /// How long the swap took.
        flip_us: u64,
    },
    /// A journal that could not be read was set aside at the start.
    JournalSetAside {
        /// Which, why, and where it is kept.
        message: String,
    },
    /// The reader was too slow and has lost its place; the last line of its stream.
    Lagged {
        /// Events it has missed.
        missed: u64,
    },
    /// Requests are held.
    Paused {
        /// The service.
        #[schema(value_type = crate::schema::ServiceName)]
        service: ServiceName,
        /// Only methods that are not safe.
        writes_only: bool,
    },
    /// The link to the proxy is up.
    ProxyConnected {
        /// Its process.
        pid: u32,
        /// Its version.
        version: String,
    },
    /// The link to the proxy is down.
    ProxyLost,
    /// Held requests go on.
    Resumed {
        /// The service.
        #[schema(value_type = crate::schema::ServiceName)]
        service: ServiceName,
    },
    /// A rollout has something to tell.
    Rollout {
        /// The service.
        #[schema(value_type = crate::schema::ServiceName)]
        service: ServiceName,
        /// What, as in the stream of `deploy`.
        detail: RolloutEvent,
    },
    /// The shares of the colors have changed.
    WeightsChanged {
        /// The service.
        #[schema(value_type = crate::schema::ServiceName)]
        service: ServiceName,
        /// The new shares.
        weights: Weights,
        /// The table that did it.
        #[schema(value_type = crate::schema::Generation)]
        generation: Generation,
    },
}

/// Why a service failed over.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FailoverReason {
    /// The serving color had no container left at all.
    NoContainer,
    /// The serving color had no endpoint that was up for `rollout.failover`.
    NotUp,
}

impl FailoverReason {
    /// The word for it, also in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoContainer => "no_container",
            Self::NotUp => "not_up",
        }
    }
}
