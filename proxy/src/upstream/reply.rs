//! How an exchange with an upstream goes: how far it has come, what comes of it, and how it fails.

use std::cell::Cell;
use std::fmt;
use std::io;

use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderMap;
use http_body::Body;

use super::connection::Connection;
use super::h1::ResponseBody;
use crate::message::decoder::Malformed;

/// The body of a request.
pub(crate) trait RequestBody: Body<Data = Bytes> + Unpin {
    /// Takes back pieces that were not sent: they come again before what is left.
    fn put_back(&mut self, pieces: Vec<Bytes>);
}

/// What the caller sees of an exchange while it runs.
pub(crate) struct Watch<'a> {
    /// How far the request has got.
    pub(crate) progress: &'a Progress,
    /// Called for each interim answer but `100` and `101` (RFC 9110 §15.2), hop-by-hop fields gone.
    pub(crate) interim: &'a mut dyn FnMut(StatusCode, &HeaderMap),
}

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("progress", &self.progress).finish_non_exhaustive()
    }
}

/// How far a request has got, for the deadlines of the caller.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    stage: Cell<Stage>,
    written: Cell<u64>,
    body: Cell<u64>,
}

impl Progress {
    /// Takes note of how far the sending has come.
    pub(super) fn note(&self, stage: Stage, written: u64, body: u64) {
        self.stage.set(stage);
        self.written.set(written);
        self.body.set(body);
    }

    /// What the exchange waits for.
    #[must_use]
    pub(crate) fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Bytes of head and body which the kernel has taken so far, framing included.
    #[must_use]
    pub(crate) fn written(&self) -> u64 {
        self.written.get()
    }

    /// Bytes of the body that have been taken from the client so far.
    #[must_use]
    pub(crate) fn body(&self) -> u64 {
        self.body.get()
    }
}

/// What an exchange waits for before its answer can begin.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Stage {
    /// The next piece of the client's body, or leave to send it.
    #[default]
    Receiving,
    /// The request has been sent whole: only the answer is missing.
    Sent,
    /// Room in the connection: the upstream does not read.
    Writing,
}

/// The final answer to a request.
#[derive(Debug)]
pub(crate) enum Reply<B> {
    /// A response, and where to read its body from.
    Response(http::response::Parts, ResponseBody<B>),
    /// `101` to the upgrade we asked for; the connection holds what came behind it.
    Switching(http::response::Parts, Box<Connection>),
}

/// Why an exchange came to no answer, or an answer to no end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure<E> {
    /// A connection that had served before turned out closed before it took anything: no
    /// application has seen the request, and what was taken of its body has been put back. Any request may be sent
    /// again, there or elsewhere.
    #[error("the connection was closed before the request was sent")]
    Unsent(#[source] io::Error),
    /// A new connection was closed before it took anything: as good as a refused connect. Any
    /// request may be sent again, elsewhere.
    #[error("the new connection was closed before the request was sent")]
    Refused(#[source] io::Error),
    /// The connection closed after (part of) the request was sent and before any byte of an answer:
    /// the application may or may not have acted.
    #[error("the upstream closed the connection without an answer")]
    Closed {
        /// Whether the connection had served a request before: then this is most likely an idle
        /// timeout of the upstream that crossed our request.
        reused: bool,
        /// Whether bytes of the client's body are gone, so that it cannot be sent again.
        consumed: bool,
        /// The reset, if it was one.
        #[source]
        source: Option<io::Error>,
    },
    /// The connection broke inside the answer.
    #[error("the connection broke inside the answer")]
    Io(#[source] io::Error),
    /// The answer breaks the rules of HTTP; the text is for our log, never for a client.
    #[error("malformed answer: {0}")]
    Malformed(&'static str),
    /// The client's body failed before the request had been sent.
    #[error("the request body failed")]
    Downstream(#[source] E),
}

impl<E> Failure<E> {
    pub(super) fn unsent(reused: bool, error: io::Error) -> Self {
        if reused { Self::Unsent(error) } else { Self::Refused(error) }
    }
}

impl<E> From<Malformed> for Failure<E> {
    fn from(Malformed(reason): Malformed) -> Self {
        Self::Malformed(reason)
    }
}
