//! Why a request was not served, and the one place where that becomes a status.

use http::StatusCode;

use crate::metrics::labels::labels;

labels! {
    /// Why Cutover answered itself: the word in `X-Cutover-Reason`, the access log and the metrics.
    pub(crate) enum Reason {
        /// The body stalled for longer than `body_idle_timeout`, or fell below `min_body_rate`.
        BodyTimeout => "body_timeout",
        /// The body is larger than the service takes.
        BodyTooLarge => "body_too_large",
        /// The client broke off or sent a malformed body.
        ClientBody => "client_body",
        /// No connection to any endpoint could be made.
        ConnectFailed => "connect_failed",
        /// The connection attempt took longer than `timeouts.connect`.
        ConnectTimeout => "connect_timeout",
        /// A drain deadline ended the request.
        Drained => "drained",
        /// The waiting room is full.
        HoldFull => "hold_full",
        /// The service has no endpoint that is up, and none came within `timeouts.hold`.
        NoEndpoint => "no_endpoint",
        /// No route for this host and path.
        NoRoute => "no_route",
        /// The service is paused, and was not resumed in time.
        Paused => "paused",
        /// The upstream closed or reset the connection before it answered.
        UpstreamClosed => "upstream_closed",
        /// The upstream's answer is not valid HTTP.
        UpstreamMalformed => "upstream_malformed",
        /// The upstream did not answer within `timeouts.response_header`.
        UpstreamTimeout => "upstream_timeout",
    }
}

impl Reason {
    /// The status the client sees.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ClientBody => StatusCode::BAD_REQUEST,
            Self::UpstreamClosed | Self::UpstreamMalformed => StatusCode::BAD_GATEWAY,
            Self::ConnectFailed
            | Self::Drained
            | Self::HoldFull
            | Self::NoEndpoint
            | Self::Paused => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::ConnectTimeout | Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// One sentence for the person behind the client; it names nothing of ours.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::BodyTimeout => "The request body did not arrive in time.",
            Self::BodyTooLarge => "The request body is larger than this service takes.",
            Self::ClientBody => "The request body is malformed or incomplete.",
            Self::ConnectFailed => "The service could not be reached.",
            Self::ConnectTimeout => "The service could not be reached in time.",
            Self::Drained => "The release that served this request was shut down.",
            Self::HoldFull => "Too many requests are waiting for this service.",
            Self::NoEndpoint => "The service has nothing running right now.",
            Self::NoRoute => "No service is configured for this host and path.",
            Self::Paused => "The service is paused.",
            Self::UpstreamClosed => "The service closed the connection before it answered.",
            Self::UpstreamMalformed => "The service sent an answer that is not valid HTTP.",
            Self::UpstreamTimeout => "The service did not answer in time.",
        }
    }

    /// Whether the answer carries `Retry-After`: trying again soon is likely to help.
    pub(crate) fn is_passing(self) -> bool {
        self.status() == StatusCode::SERVICE_UNAVAILABLE
    }
}
