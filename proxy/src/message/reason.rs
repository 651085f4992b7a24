//! Why Cutover answered a request itself, and the one table of what each reason comes to.

use http::StatusCode;

use crate::metrics::labels::labels;

/// Declares [`Reason`]: each variant with its word, status and sentence.
macro_rules! reasons {
    (
        $(#[$about:meta])*
        pub(crate) enum $name:ident {
            rejected {
                $($(#[$rejected_doc:meta])*
                $rejected:ident => $rejected_word:literal, $rejected_status:ident, $rejected_sentence:literal;)+
            }
            unserved {
                $($(#[$unserved_doc:meta])*
                $unserved:ident => $unserved_word:literal, $unserved_status:ident, $unserved_sentence:literal;)+
            }
        }
    ) => {
        labels! {
            $(#[$about])*
            pub(crate) enum $name {
                $($(#[$rejected_doc])* $rejected => $rejected_word,)+
                $($(#[$unserved_doc])* $unserved => $unserved_word,)+
            }
        }

        impl $name {
            /// The status the client sees.
            pub(crate) fn status(self) -> StatusCode {
                match self {
                    $(Self::$rejected => StatusCode::$rejected_status,)+
                    $(Self::$unserved => StatusCode::$unserved_status,)+
                }
            }

            /// One sentence for the person behind the client; it names nothing of ours.
            pub(crate) fn sentence(self) -> &'static str {
                match self {
                    $(Self::$rejected => $rejected_sentence,)+
                    $(Self::$unserved => $unserved_sentence,)+
                }
            }

            /// Whether the request broke a rule of HTTP or of our limits: the connection closes with
            /// the answer.
            pub(crate) fn is_rejection(self) -> bool {
                match self {
                    $(Self::$rejected => true,)+
                    $(Self::$unserved => false,)+
                }
            }
        }
    };
}

reasons! {
    /// Why Cutover answered itself. The word is in `X-Cutover-Reason`, the access log and the
    /// metrics: a closed set.
    pub(crate) enum Reason {
        rejected {
            /// More `Host` fields than one, or none in HTTP/1.1, or not an authority.
            BadHost => "bad_host", BAD_REQUEST,
                "The request must have exactly one valid Host.";
            /// Anything the parser would not take.
            BadRequest => "bad_request", BAD_REQUEST,
                "The request is not valid HTTP.";
            /// A target form that the method does not allow, or a fragment.
            BadTarget => "bad_target", BAD_REQUEST,
                "The request target has no form that this method allows.";
            /// A transfer coding list that is not exactly `chunked`.
            BadTransferCoding => "bad_transfer_coding", BAD_REQUEST,
                "The only transfer coding of a request is chunked, once.";
            /// More connections than the limits allow; nothing was read as a request.
            ConnectionLimit => "connection_limit", SERVICE_UNAVAILABLE,
                "Too many connections.";
            /// An expectation other than `100-continue`.
            Expectation => "expectation", EXPECTATION_FAILED,
                "The only known expectation is 100-continue.";
            /// The head did not arrive within `header_timeout`.
            HeaderTimeout => "header_timeout", REQUEST_TIMEOUT,
                "The request head did not arrive in time.";
            /// The head has more bytes or fields than the limits allow.
            HeaderTooLarge => "header_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE,
                "The request head is too large.";
            /// The authority of an absolute-form target is not that of `Host`.
            HostMismatch => "host_mismatch", BAD_REQUEST,
                "The request target and Host name different authorities.";
            /// Both `Content-Length` and `Transfer-Encoding`.
            LengthAndCoding => "length_and_coding", BAD_REQUEST,
                "Content-Length and Transfer-Encoding exclude each other.";
            /// A method that we do not relay.
            Method => "method", NOT_IMPLEMENTED,
                "This method is not relayed.";
            /// The target is longer than `max_target_bytes`.
            TargetTooLong => "target_too_long", URI_TOO_LONG,
                "The request target is too long.";
            /// A transfer coding that we do not know.
            UnknownCoding => "unknown_coding", NOT_IMPLEMENTED,
                "The transfer coding of the request is not known.";
            /// A version of HTTP that we do not speak on this connection.
            Version => "version", HTTP_VERSION_NOT_SUPPORTED,
                "This version of HTTP is not spoken here.";
        }
        unserved {
            /// The body stalled for longer than `body_idle_timeout`, or fell below `min_body_rate`.
            BodyTimeout => "body_timeout", REQUEST_TIMEOUT,
                "The request body did not arrive in time.";
            /// The body is larger than the service takes.
            BodyTooLarge => "body_too_large", PAYLOAD_TOO_LARGE,
                "The request body is larger than this service takes.";
            /// The client broke off or sent a malformed body.
            ClientBody => "client_body", BAD_REQUEST,
                "The request body is malformed or incomplete.";
            /// No connection to any endpoint could be made.
            ConnectFailed => "connect_failed", SERVICE_UNAVAILABLE,
                "The service could not be reached.";
            /// The connection attempt took longer than `timeouts.connect`.
            ConnectTimeout => "connect_timeout", GATEWAY_TIMEOUT,
                "The service could not be reached in time.";
            /// A drain deadline ended the request.
            Drained => "drained", SERVICE_UNAVAILABLE,
                "The release that served this request was shut down.";
            /// The waiting room is full.
            HoldFull => "hold_full", SERVICE_UNAVAILABLE,
                "Too many requests are waiting for this service.";
            /// The service has no endpoint that is up, and none came within `timeouts.hold`.
            NoEndpoint => "no_endpoint", SERVICE_UNAVAILABLE,
                "The service has nothing running right now.";
            /// No route for this host and path.
            NoRoute => "no_route", NOT_FOUND,
                "No service is configured for this host and path.";
            /// The service is paused, and was not resumed in time.
            Paused => "paused", SERVICE_UNAVAILABLE,
                "The service is paused.";
            /// The upstream closed or reset the connection before it answered.
            UpstreamClosed => "upstream_closed", BAD_GATEWAY,
                "The service closed the connection before it answered.";
            /// The upstream's answer is not valid HTTP.
            UpstreamMalformed => "upstream_malformed", BAD_GATEWAY,
                "The service sent an answer that is not valid HTTP.";
            /// The upstream did not answer within `timeouts.response_header`.
            UpstreamTimeout => "upstream_timeout", GATEWAY_TIMEOUT,
                "The service did not answer in time.";
        }
    }
}

impl Reason {
    /// Whether the answer carries `Retry-After`: trying again soon is likely to help.
    pub(crate) fn is_passing(self) -> bool {
        self.status() == StatusCode::SERVICE_UNAVAILABLE
    }

    /// Whether `cutover_rejected_requests_total{reason}` counts it: no service has the request in
    /// its own figures.
    pub(crate) fn is_unrouted(self) -> bool {
        self.is_rejection() || self == Self::NoRoute
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::metrics::counters::Counts;
    use crate::metrics::labels::Label;

    #[test]
    fn every_reason_stands_at_its_index_and_has_its_own_word() {
        let mut words = BTreeSet::new();
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert!(words.insert(reason.as_str()));
            assert!(reason.status().as_u16() >= 400);
        }
    }

    #[test]
    fn every_reason_has_the_status_that_the_readme_names() {
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
        let readme = fs::read_to_string(readme).unwrap();
        let (_, tables) = readme.split_once("\n## When Cutover answers itself\n").unwrap();
        let (tables, _) = tables.split_once("\n## ").unwrap();
        let (unserved, rejected) = tables.split_once("refused before they are routed").unwrap();
        let mut told = BTreeMap::new();
        for (table, is_rejection) in [(unserved, false), (rejected, true)] {
            for row in table.lines().filter(|line| line.starts_with("| `")) {
                let mut cells = row.split('|').skip(1).map(str::trim);
                let (words, status) = (cells.next().unwrap(), cells.next().unwrap());
                for word in words.split(", ").map(|word| word.trim_matches('`')) {
                    told.insert(word, (status.parse().unwrap(), is_rejection));
                }
            }
        }
        let known = Reason::ALL
            .iter()
            .map(|reason| (reason.as_str(), (reason.status().as_u16(), reason.is_rejection())));
        assert_eq!(told, known.collect());
    }

    #[test]
    fn only_what_no_service_counts_is_among_the_rejected_requests() {
        let counts = Counts::<Reason>::default();
        counts.count(Reason::BadHost);
        counts.count(Reason::NoRoute);
        let mut rejected = BTreeMap::new();
        counts.add_some_to(&mut rejected, Reason::is_unrouted);
        let words: BTreeSet<_> = rejected.keys().map(String::as_str).collect();
        let unrouted = Reason::ALL.iter().filter(|reason| reason.is_unrouted());
        assert_eq!(words, unrouted.map(|reason| reason.as_str()).collect());
        assert_eq!(words.len(), 15);
        assert_eq!(rejected.values().sum::<u64>(), 2);
        assert_eq!((rejected["bad_host"], rejected["no_route"]), (1, 1));
    }
}
