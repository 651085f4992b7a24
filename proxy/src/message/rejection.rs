//! Why a request was refused before it was routed.

use http::StatusCode;

use crate::metrics::labels::labels;

labels! {
    /// A rule of HTTP or of our limits that a request broke. The word is in `X-Cutover-Reason`, the
    /// access log and `cutover_rejected_requests_total{reason}`: a closed set.
    pub(crate) enum Rejection {
        /// More `Host` fields than one, or none in HTTP/1.1, or not an authority.
        BadHost => "bad_host",
        /// Anything the parser would not take.
        BadRequest => "bad_request",
        /// A target form that the method does not allow, or a fragment.
        BadTarget => "bad_target",
        /// A transfer coding list that is not exactly `chunked`.
        BadTransferCoding => "bad_transfer_coding",
        /// More connections than the limits allow; nothing was read as a request.
        ConnectionLimit => "connection_limit",
        /// An expectation other than `100-continue`.
        Expectation => "expectation",
        /// The head did not arrive within `header_timeout`.
        HeaderTimeout => "header_timeout",
        /// The head has more bytes or fields than the limits allow.
        HeaderTooLarge => "header_too_large",
        /// The authority of an absolute-form target is not that of `Host`.
        HostMismatch => "host_mismatch",
        /// Both `Content-Length` and `Transfer-Encoding`.
        LengthAndCoding => "length_and_coding",
        /// A method that we do not relay.
        Method => "method",
        /// The target is longer than `max_target_bytes`.
        TargetTooLong => "target_too_long",
        /// A transfer coding that we do not know.
        UnknownCoding => "unknown_coding",
        /// A version of HTTP that we do not speak on this connection.
        Version => "version",
    }
}

impl Rejection {
    /// The status the client sees.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::BadHost
            | Self::BadRequest
            | Self::BadTarget
            | Self::BadTransferCoding
            | Self::HostMismatch
            | Self::LengthAndCoding => StatusCode::BAD_REQUEST,
            Self::ConnectionLimit => StatusCode::SERVICE_UNAVAILABLE,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::HeaderTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Method | Self::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        }
    }

    /// Whether the answer carries `Retry-After`: trying again soon is likely to help.
    pub(crate) fn is_passing(self) -> bool {
        self.status() == StatusCode::SERVICE_UNAVAILABLE
    }

    /// One sentence for the person behind the client.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::BadHost => "The request must have exactly one valid Host.",
            Self::BadRequest => "The request is not valid HTTP.",
            Self::BadTarget => "The request target has no form that this method allows.",
            Self::BadTransferCoding => "The only transfer coding of a request is chunked, once.",
            Self::ConnectionLimit => "Too many connections.",
            Self::Expectation => "The only known expectation is 100-continue.",
            Self::HeaderTimeout => "The request head did not arrive in time.",
            Self::HeaderTooLarge => "The request head is too large.",
            Self::HostMismatch => "The request target and Host name different authorities.",
            Self::LengthAndCoding => "Content-Length and Transfer-Encoding exclude each other.",
            Self::Method => "This method is not relayed.",
            Self::TargetTooLong => "The request target is too long.",
            Self::UnknownCoding => "The transfer coding of the request is not known.",
            Self::Version => "This version of HTTP is not spoken here.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::labels::Label;

    #[test]
    fn every_rejection_stands_at_its_index_and_has_its_own_word() {
        let mut words = std::collections::BTreeSet::new();
        for (index, rejection) in Rejection::ALL.iter().enumerate() {
            assert_eq!(rejection.index(), index);
            assert!(words.insert(rejection.as_str()));
            assert!(rejection.status().as_u16() >= 400);
        }
    }
}
