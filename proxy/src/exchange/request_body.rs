//! A request's body on its way upstream: bounded in size, and in how slow it may be.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::exchange::client::{Client, RequestEnd};
use crate::message::reason::Reason;
use crate::table::BodyLimit;
use crate::time::{Sleep, TICK, span};

/// The body of a client's request. Trailers are dropped: no application of ours may take one for a
/// field of the head (RFC 9110 §6.5.1).
#[derive(Debug)]
pub(crate) struct RequestBody<B = Incoming> {
    inner: B,
    client: Rc<Client>,
    max: u64,
    idle_timeout: Duration,
    min_rate: u64,
    bytes: u64,
    /// Ticks spent waiting for the client; what the upstream keeps us waiting does not count.
    waited: u64,
    pause: Option<Pause>,
    sleep: Sleep,
}

/// The client keeps us waiting.
#[derive(Clone, Copy, Debug)]
struct Pause {
    since: u64,
}

/// Why a body will not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The client broke off, or sent what is no body.
    #[error("the client broke off the request body")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
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

impl<B> RequestBody<B>
where
    B: Body<Data = Bytes>,
{
    /// Takes charge of a body, if there is one.
    ///
    /// # Errors
    /// [`Reason::BodyTooLarge`] when its announced length says so already.
    pub(crate) fn new(
        inner: B,
        max: BodyLimit,
        client: &Rc<Client>,
    ) -> Result<Option<Self>, Reason> {
        let max = max.bytes();
        if inner.is_end_stream() {
            return Ok(None);
        }
        if inner.size_hint().lower() > max {
            return Err(Reason::BodyTooLarge);
        }
        let limits = client.limits();
        client.note_body(RequestEnd::Unread);
        Ok(Some(Self {
            inner,
            client: Rc::clone(client),
            max,
            idle_timeout: limits.body_idle_timeout,
            min_rate: limits.min_body_rate,
            bytes: 0,
            waited: 0,
            pause: None,
            sleep: client.worker.timers.sleep(TICK),
        }))
    }

    /// The client has nothing for us yet.
    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let now = self.client.worker.timers.now();
        let since = match self.pause {
            Some(pause) => pause.since,
            None => {
                self.pause = Some(Pause { since: now });
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
        waited > self.idle_timeout
            && u128::from(self.bytes) * 1000 < u128::from(self.min_rate) * waited.as_millis()
    }

    fn resume(&mut self) {
        if let Some(pause) = self.pause.take() {
            self.waited += self.client.worker.timers.now().saturating_sub(pause.since);
        }
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
                return this.poll_deadlines(cx).map(|error| Some(Err(error)));
            };
            this.resume();
            let data = match frame {
                None => {
                    this.client.note_body(RequestEnd::Read);
                    return Poll::Ready(None);
                }
                Some(Err(error)) => {
                    return Poll::Ready(Some(Err(BodyError::Client(error.into()))));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(_trailers) => continue,
                },
            };
            this.bytes += data.len() as u64;
            if this.bytes > this.max {
                return Poll::Ready(Some(Err(BodyError::TooLarge)));
            }
            // A drip that never stalls is too slow all the same.
            if this.is_too_slow(this.waited) {
                return Poll::Ready(Some(Err(BodyError::TooSlow)));
            }
            if this.inner.is_end_stream() {
                this.client.note_body(RequestEnd::Read);
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> Drop for RequestBody<B> {
    fn drop(&mut self) {
        // Its connection may be at the next request by now only if this one was read.
        if self.client.body() == RequestEnd::Unread {
            self.client.note_body(RequestEnd::Abandoned);
        }
    }
}

/// How often the rate of a body that keeps us waiting is looked at.
const RATE_CHECK: Duration = Duration::from_secs(1);
