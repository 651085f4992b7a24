//! Whether a request may be sent again: what went wrong and what is known, in; a verdict, out.
//!
//! Guarantee 3: what has not been sent may be sent again, whatever it is; what may have been executed
//! is sent again only if it is idempotent (RFC 9110 §9.2.2) and its body is untouched, and once for
//! each endpoint of the pool at most: enough to get past a stale connection and every bad endpoint,
//! and no more, since the request itself may be what kills them.

use crate::message::reason::Reason;
use crate::metrics::counters::{Retry, UpstreamError};

/// How an attempt failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Failed {
    /// The connection broke inside the head of the answer.
    Broken,
    /// The connection was closed without a byte of an answer.
    Closed {
        /// It had served before: most likely an idle timeout that crossed our request.
        reused: bool,
        /// Bytes of the body are gone.
        consumed: bool,
    },
    /// No connection was made in time.
    ConnectTimeout,
    /// A drain deadline, or the client.
    Ended,
    /// The answer is no valid HTTP.
    Malformed,
    /// No connection was made, or a new one was closed before it took anything.
    Refused,
    /// The endpoint left the table while it was being connected to.
    Retired,
    /// A connection that had served before was closed before it took anything.
    Stale,
    /// No answer came in time.
    Timeout,
}

/// What is known of the request and its service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) is_idempotent: bool,
    /// There is no body that a failed attempt could have used up.
    pub(crate) is_bodiless: bool,
    /// Endpoints of the pool.
    pub(crate) endpoints: usize,
    /// Whether one of them is well that has not had this request.
    pub(crate) has_other: bool,
}

/// What the attempts so far mean for the next one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct History {
    /// How often the request was sent again though it may have been executed.
    resent: usize,
    /// How often it was sent again to another endpoint without drawing on the budget.
    free: usize,
    /// Whether another endpoint was asked after one that had the request and gave no usable answer.
    asked_another: bool,
    restart: Restart,
    looks: usize,
}

/// What is known of the app behind endpoints that all have failed a request.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Restart {
    /// Nothing: not all have had it.
    #[default]
    Unseen,
    /// If it is down now, what comes up is a new one.
    Awaited,
    /// It was down.
    Seen,
}

/// Whether to try again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Yes, and it counts as this.
    Again(Retry),
    /// Yes, if the budget of the service has one left.
    AgainIfAffordable(Retry),
    /// No.
    Final,
}

impl Failed {
    /// Whether it counts against the endpoint, which is left out for a while when that repeats.
    pub(crate) fn is_endpoints_fault(self) -> bool {
        match self {
            Self::Ended | Self::Retired | Self::Stale => false,
            Self::Closed { reused, .. } => !reused,
            Self::Broken
            | Self::ConnectTimeout
            | Self::Malformed
            | Self::Refused
            | Self::Timeout => true,
        }
    }

    /// As what it is counted; `None` if the upstream did nothing wrong. A close that a retry makes
    /// good is not counted: every app that stops closes connections.
    pub(crate) fn error(self, is_final: bool) -> Option<UpstreamError> {
        match self {
            Self::Ended | Self::Retired => None,
            Self::Closed { .. } | Self::Stale => is_final.then_some(UpstreamError::Closed),
            Self::Broken => Some(UpstreamError::Closed),
            Self::ConnectTimeout => Some(UpstreamError::ConnectTimeout),
            Self::Malformed => Some(UpstreamError::Malformed),
            Self::Refused => Some(UpstreamError::ConnectFailed),
            Self::Timeout => Some(UpstreamError::Timeout),
        }
    }

    /// What the client is told when nothing else comes of it.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::ConnectTimeout => Reason::ConnectTimeout,
            Self::Ended => Reason::Drained,
            Self::Malformed => Reason::UpstreamMalformed,
            Self::Refused => Reason::ConnectFailed,
            Self::Timeout => Reason::UpstreamTimeout,
            Self::Broken | Self::Closed { .. } | Self::Retired | Self::Stale => {
                Reason::UpstreamClosed
            }
        }
    }
}

impl History {
    /// Judges a failure, and takes note of it.
    pub(crate) fn judge(&mut self, failed: Failed, facts: Facts) -> Verdict {
        match failed {
            Failed::Retired | Failed::Stale => Verdict::Again(Retry::Stale),
            Failed::ConnectTimeout | Failed::Refused => Verdict::Again(Retry::ConnectFailed),
            Failed::Closed { reused, consumed: false } if facts.is_idempotent => {
                self.judge_closed(reused, facts)
            }
            Failed::Closed { .. } | Failed::Ended => Verdict::Final,
            Failed::Broken => self.ask_another(Retry::Closed, facts),
            Failed::Malformed => self.ask_another(Retry::Malformed, facts),
            Failed::Timeout => self.ask_another(Retry::Timeout, facts),
        }
    }

    /// It may have been executed. When every endpoint has had it, only an app that has been down in
    /// between gets it once more: one that is being stopped resets an old connection and then a new
    /// one.
    fn judge_closed(&mut self, reused: bool, facts: Facts) -> Verdict {
        if self.resent >= facts.endpoints {
            if self.restart != Restart::Unseen {
                return Verdict::Final;
            }
            self.restart = Restart::Awaited;
            self.resent += 1;
            return Verdict::Again(Retry::Closed);
        }
        self.resent += 1;
        if reused {
            return Verdict::Again(Retry::Stale);
        }
        // While another endpoint lives, one that fails is no reason for an error. The budget is for
        // those that keep asking the same ones.
        self.free += 1;
        if facts.has_other && self.free <= FREE_RESENDS {
            Verdict::Again(Retry::Closed)
        } else {
            Verdict::AgainIfAffordable(Retry::Closed)
        }
    }

    /// The endpoint had the whole request: another one is asked, once. The client may have waited for
    /// long by then, and the request may be to blame.
    fn ask_another(&mut self, retry: Retry, facts: Facts) -> Verdict {
        if !facts.is_idempotent || std::mem::replace(&mut self.asked_another, true) {
            return Verdict::Final;
        }
        if facts.has_other && facts.is_bodiless { Verdict::Again(retry) } else { Verdict::Final }
    }

    /// An endpoint took no connection, was gone, or there was none: what comes up is a new app.
    pub(crate) fn note_down(&mut self) {
        if self.restart == Restart::Awaited {
            self.restart = Restart::Seen;
        }
    }

    /// Whether the endpoint that takes connections now may be the app that broke them.
    pub(crate) fn awaits_restart(&self) -> bool {
        self.restart == Restart::Awaited
    }

    /// An app that ends closes its connections one by one, and takes new ones until it closes its
    /// listener: whether to look again after a pause before this request is what is to blame.
    pub(crate) fn may_look_again(&mut self) -> bool {
        self.looks += 1;
        self.looks < LOOKS
    }
}

const FREE_RESENDS: usize = 2;
/// Each after the pause of a retry.
const LOOKS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Facts =
        Facts { is_idempotent: true, is_bodiless: true, endpoints: 2, has_other: true };
    const PUT: Facts = Facts { is_bodiless: false, ..GET };
    const POST: Facts = Facts { is_idempotent: false, is_bodiless: false, ..GET };
    const LONE: Facts = Facts { endpoints: 1, has_other: false, ..GET };

    const CLOSED: Failed = Failed::Closed { reused: false, consumed: false };
    const CROSSED: Failed = Failed::Closed { reused: true, consumed: false };
    const USED_UP: Failed = Failed::Closed { reused: false, consumed: true };

    #[test]
    fn the_first_failure_of_each_kind_has_its_verdict() {
        let again = |retry| Verdict::Again(retry);
        for (failed, facts, verdict) in [
            // Nothing was sent: whatever it is.
            (Failed::Stale, POST, again(Retry::Stale)),
            (Failed::Retired, POST, again(Retry::Stale)),
            (Failed::Refused, POST, again(Retry::ConnectFailed)),
            (Failed::ConnectTimeout, POST, again(Retry::ConnectFailed)),
            (Failed::Stale, LONE, again(Retry::Stale)),
            // It may have been executed: only what is idempotent, with its body whole.
            (CLOSED, GET, again(Retry::Closed)),
            (CLOSED, PUT, again(Retry::Closed)),
            (CLOSED, POST, Verdict::Final),
            (CLOSED, LONE, Verdict::AgainIfAffordable(Retry::Closed)),
            (CROSSED, GET, again(Retry::Stale)),
            (CROSSED, LONE, again(Retry::Stale)),
            (CROSSED, POST, Verdict::Final),
            (USED_UP, PUT, Verdict::Final),
            // It had the whole request: another endpoint, if there is one and no body.
            (Failed::Timeout, GET, again(Retry::Timeout)),
            (Failed::Timeout, PUT, Verdict::Final),
            (Failed::Timeout, POST, Verdict::Final),
            (Failed::Timeout, LONE, Verdict::Final),
            (Failed::Malformed, GET, again(Retry::Malformed)),
            (Failed::Broken, GET, again(Retry::Closed)),
            (Failed::Broken, LONE, Verdict::Final),
            // Nobody waits any more.
            (Failed::Ended, GET, Verdict::Final),
        ] {
            assert_eq!(History::default().judge(failed, facts), verdict, "{failed:?} {facts:?}");
        }
    }

    #[test]
    fn each_endpoint_has_a_request_once_and_a_restarted_app_once_more() {
        let mut history = History::default();
        assert_eq!(history.judge(CROSSED, GET), Verdict::Again(Retry::Stale));
        assert_eq!(history.judge(CLOSED, GET), Verdict::Again(Retry::Closed));
        assert!(!history.awaits_restart());
        assert_eq!(history.judge(CLOSED, GET), Verdict::Again(Retry::Closed));
        assert!(history.awaits_restart());
        history.note_down();
        assert!(!history.awaits_restart());
        assert_eq!(history.judge(CLOSED, GET), Verdict::Final);
    }

    #[test]
    fn an_app_that_never_goes_down_is_looked_at_a_few_times() {
        let mut history = History::default();
        let looks = std::iter::from_fn(|| history.may_look_again().then_some(())).count();
        assert_eq!(looks, LOOKS - 1);
    }

    #[test]
    fn another_endpoint_is_asked_once() {
        let mut history = History::default();
        assert_eq!(history.judge(Failed::Timeout, GET), Verdict::Again(Retry::Timeout));
        assert_eq!(history.judge(Failed::Malformed, GET), Verdict::Final);
    }

    #[test]
    fn resends_to_others_are_free_until_they_repeat() {
        let many = Facts { endpoints: 10, ..GET };
        let mut history = History::default();
        let verdicts: Vec<_> = (0..4).map(|_| history.judge(CLOSED, many)).collect();
        assert_eq!(verdicts[..2], [Verdict::Again(Retry::Closed); 2]);
        assert_eq!(verdicts[2..], [Verdict::AgainIfAffordable(Retry::Closed); 2]);
    }

    #[test]
    fn what_a_retry_made_good_is_no_error_of_an_app_that_stops() {
        assert_eq!(CLOSED.error(false), None);
        assert_eq!(CLOSED.error(true), Some(UpstreamError::Closed));
        assert_eq!(Failed::Ended.error(true), None);
        assert!(!CROSSED.is_endpoints_fault() && CLOSED.is_endpoints_fault());
    }
}
