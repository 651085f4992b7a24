//! What the attempts at one request so far mean for the next one.

use std::rc::Rc;

use http_body::Body;

use crate::exchange::request_body::{BodyError, RequestBody};
use crate::forward::waiting_room::Seeker;
use crate::message::reason::Reason;
use crate::metrics::counters::Retry;
use crate::pool::view::{LocalEndpoint, LocalSettings};
use crate::upstream::Failure;

/// What the attempts so far mean for the next one.
pub(crate) struct Attempts {
    pub(crate) service: Rc<LocalSettings>,
    /// The endpoints that had the request, or took no connection.
    pub(crate) tried: Vec<Rc<LocalEndpoint>>,
    /// Why the last one failed; what the client is told if there is no other.
    pub(crate) last: Reason,
    /// Whether only a new connection will do, because an old one turned out closed.
    pub(crate) fresh_only: bool,
    pub(crate) resends: Resends,
    /// The last endpoint that had the request.
    had: Option<Rc<LocalEndpoint>>,
}

impl Attempts {
    /// Before the first.
    pub(crate) fn new(service: &Rc<LocalSettings>, body: Option<&RequestBody>) -> Self {
        let bodiless = body.is_none_or(Body::is_end_stream);
        Self {
            service: Rc::clone(service),
            tried: Vec::new(),
            last: Reason::NoEndpoint,
            fresh_only: false,
            resends: Resends { bodiless, ..Resends::default() },
            had: None,
        }
    }

    /// This endpoint has had the request, and gave no answer.
    pub(crate) fn had(&mut self, endpoint: &Rc<LocalEndpoint>) {
        self.tried.push(Rc::clone(endpoint));
        self.had = Some(Rc::clone(endpoint));
    }

    /// Whether the endpoint that takes connections now may be the app that broke them: it is another
    /// one only if the endpoint has been down, out of the table or without a connection in between.
    pub(crate) fn awaits_restart(&mut self, seeker: &Seeker) -> bool {
        if seeker.has_met_none() || self.had.as_ref().is_some_and(|had| had.is_retired()) {
            self.resends.note_down();
        }
        self.resends.restart == Restart::Awaited
    }

    /// An app that ends closes its connections one by one, and takes new ones until it closes its
    /// listener: whether to look again after a pause before this request is what is to blame.
    pub(crate) fn look_again(&mut self, endpoint: &Rc<LocalEndpoint>) -> bool {
        self.resends.looks += 1;
        self.tried.push(Rc::clone(endpoint));
        self.resends.looks < LOOKS
    }

    /// The request is sent again after this failure.
    pub(crate) fn again(&mut self, retry: Retry, failure: &Trouble) {
        self.service.slot.retries.count(retry);
        let may_have_run = matches!(failure, Trouble::Failure(Failure::Closed { .. }));
        self.resends.done += usize::from(may_have_run);
        self.last = match retry {
            Retry::Malformed => Reason::UpstreamMalformed,
            Retry::Timeout => Reason::UpstreamTimeout,
            Retry::Closed | Retry::ConnectFailed | Retry::Stale => Reason::UpstreamClosed,
        };
        if retry == Retry::Stale {
            // The same endpoint is fine; only its old connection was not.
            // It has not been sent, so it may also meet another table meanwhile.
            self.fresh_only = true;
            self.tried.pop();
        }
    }
}

/// How often one request may still be sent again without drawing on the budget of its service.
#[derive(Debug, Default)]
pub(crate) struct Resends {
    /// Whether there is no body that a failed attempt could have used up.
    pub(crate) bodiless: bool,
    /// Whether an endpoint is left that has not had this request.
    pub(crate) elsewhere: bool,
    /// Those so far of what may have been executed.
    pub(crate) done: usize,
    restart: Restart,
    looks: usize,
    free: usize,
    asked_another: bool,
}

impl Resends {
    /// While another endpoint lives, one that fails is no reason for an error. The budget is for
    /// those that keep asking the same ones.
    pub(crate) fn is_free(&mut self) -> bool {
        self.free += 1;
        self.elsewhere && self.free <= FREE_RESENDS
    }

    /// Every endpoint has had the request: whether to wait for one to go down and come back.
    pub(crate) fn await_restart(&mut self) -> bool {
        let first = self.restart == Restart::Unseen;
        if first {
            self.restart = Restart::Awaited;
        }
        first
    }

    /// An endpoint takes no connections.
    pub(crate) fn note_down(&mut self) {
        if self.restart == Restart::Awaited {
            self.restart = Restart::Seen;
        }
    }

    /// Once: the client may have waited for long by then, and the request may be to blame.
    pub(crate) fn may_ask_another(&mut self) -> bool {
        let first = !std::mem::replace(&mut self.asked_another, true);
        first && self.elsewhere && self.bodiless
    }
}

const FREE_RESENDS: usize = 2;
/// Each after the pause of a retry.
const LOOKS: usize = 3;

/// What is known of the app behind endpoints that all have failed a request.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Restart {
    /// Nothing: not all have had it.
    #[default]
    Unseen,
    /// If it is down now, what comes up is a new one.
    Awaited,
    /// It was down.
    Seen,
}

/// Why an attempt came to nothing.
#[derive(Debug)]
pub(crate) enum Trouble {
    Drained,
    Failure(Failure<BodyError>),
    Timeout,
}
