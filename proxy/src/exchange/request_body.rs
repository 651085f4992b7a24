//! A request's body on its way upstream: bounded in size, and in how slow it may be.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::message::reason::Reason;
use crate::table::{BodyLimit, Limits};
use crate::time::{Sleep, TICK, Timers, span};
use crate::upstream;

/// Where the body of a request comes from: the connection or stream that its head came on.
pub(crate) trait Source: fmt::Debug {
    /// The next piece, never an empty one; `None` behind the last. Trailers are dropped: no
    /// application of ours may take one for a field of the head (RFC 9110 §6.5.1).
    fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>>;

    /// Bytes that are certain to follow; `None` if nobody knows yet.
    fn remaining(&self) -> Option<u64>;

    /// Whether the last byte has been taken.
    fn is_read(&self) -> bool;
}

/// Whatever broke a body.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a client's request.
#[derive(Debug)]
pub(crate) struct RequestBody {
    source: Rc<dyn Source>,
    /// Taken before and not sent; these come first, the last one first.
    put_back: Vec<Bytes>,
    timers: Rc<Timers>,
    max: u64,
    idle_timeout: Duration,
    min_rate: u64,
    bytes: u64,
    /// Ticks spent waiting for the client; what the upstream keeps us waiting does not count.
    waited: u64,
    /// The tick since which the client keeps us waiting.
    paused: Option<u64>,
    sleep: Sleep,
}

/// Why a body will not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The client broke off, or sent what is no body.
    #[error("the client broke off the request body")]
    Client(#[source] BoxError),
    /// Nothing came for longer than `body_idle_timeout`.
    #[error("the request body stalled")]
    Idle,
    /// There is more than the service takes.
    #[error("the request body is too large")]
    TooLarge,
    /// It comes at less than `min_body_rate`.
    #[error("the request body comes too slowly")]
    TooSlow,
}

impl RequestBody {
    /// Takes charge of a body.
    ///
    /// # Errors
    /// [`Reason::BodyTooLarge`] when its announced length says so already.
    pub(crate) fn new(
        source: Rc<dyn Source>,
        max: BodyLimit,
        limits: &Limits,
        timers: &Rc<Timers>,
    ) -> Result<Self, Reason> {
        let max = max.bytes();
        if source.remaining().is_some_and(|length| length > max) {
            return Err(Reason::BodyTooLarge);
        }
        Ok(Self {
            source,
            put_back: Vec::new(),
            max,
            idle_timeout: limits.body_idle_timeout,
            min_rate: limits.min_body_rate,
            bytes: 0,
            waited: 0,
            paused: None,
            sleep: timers.sleep(TICK),
            timers: Rc::clone(timers),
        })
    }

    /// The client has nothing for us yet.
    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let now = self.timers.now();
        let since = match self.paused {
            Some(since) => since,
            None => {
                self.paused = Some(now);
                self.sleep.reset(self.idle_timeout.min(RATE_CHECK));
                now
            }
        };
        loop {
            ready!(Pin::new(&mut self.sleep).poll(cx));
            let paused = now.saturating_sub(since);
            if span(paused) > self.idle_timeout {
                return Poll::Ready(BodyError::Idle);
            }
            if self.is_too_slow(self.waited + paused) {
                return Poll::Ready(BodyError::TooSlow);
            }
            self.sleep.reset(self.idle_timeout.saturating_sub(span(paused)).min(RATE_CHECK));
        }
    }

    /// The average counts from the first byte we waited for, after a grace of the idle timeout.
    fn is_too_slow(&self, waited: u64) -> bool {
        let waited = span(waited);
        let millis = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        waited > self.idle_timeout
            && self.bytes.saturating_mul(1000) < self.min_rate.saturating_mul(millis)
    }

    fn resume(&mut self) {
        if let Some(since) = self.paused.take() {
            self.waited += self.timers.now().saturating_sub(since);
        }
    }

    /// Judges the next piece.
    fn take(&mut self, piece: Result<Bytes, BoxError>) -> Result<Frame<Bytes>, BodyError> {
        let data = piece.map_err(BodyError::Client)?;
        self.bytes += data.len() as u64;
        if self.bytes > self.max {
            return Err(BodyError::TooLarge);
        }
        // A drip that never stalls is too slow all the same.
        if self.waited > 0 && self.is_too_slow(self.waited) {
            return Err(BodyError::TooSlow);
        }
        Ok(Frame::data(data))
    }
}

impl upstream::RequestBody for RequestBody {
    fn put_back(&mut self, pieces: Vec<Bytes>) {
        self.put_back.extend(pieces.into_iter().rev());
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(piece) = self.put_back.pop() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let Poll::Ready(piece) = self.source.poll_body(cx) else {
            return self.poll_deadlines(cx).map(|error| Some(Err(error)));
        };
        self.resume();
        Poll::Ready(piece.map(|piece| self.take(piece)))
    }

    fn is_end_stream(&self) -> bool {
        self.put_back.is_empty() && self.source.is_read()
    }

    fn size_hint(&self) -> SizeHint {
        let put_back: u64 = self.put_back.iter().map(|piece| piece.len() as u64).sum();
        let left = self.source.remaining();
        left.map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + put_back))
    }
}

/// How often the rate of a body that keeps us waiting is looked at.
const RATE_CHECK: Duration = Duration::from_secs(1);
