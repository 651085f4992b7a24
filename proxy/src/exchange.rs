//! One request and the place for its answer, whatever protocol it came by.

pub(crate) mod answer;
pub(crate) mod record;
pub(crate) mod request_body;
pub(crate) mod response_body;
pub(crate) mod tunnel;

use std::cell::OnceCell;
use std::fmt;
use std::rc::Rc;

use http::{HeaderMap, StatusCode};

pub(crate) use self::answer::Answer;
use crate::message::forwarded::Peer;
use crate::pool::binding::Binding;
use crate::worker::Worker;

/// What a protocol gives to the hall with each request: an HTTP/1 connection for one request at a
/// time, an HTTP/2 connection for each of its streams.
pub(crate) struct Exchange<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) peer: &'a Peer,
    /// Sends an interim answer (RFC 9110 §15.2) ahead of the final one, where the client can take it.
    pub(crate) interim: &'a dyn Fn(StatusCode, &HeaderMap),
    /// Where the upstream connection is that serves this client alone; made when there is one.
    pub(crate) binding: &'a OnceCell<Rc<Binding>>,
}

impl fmt::Debug for Exchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("peer", self.peer).finish_non_exhaustive()
    }
}
