//! An answer on its way to the client.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, response};
use http_body::Body as _;

use super::encoder::{Asked, Encoder};
use super::transport::Transport;
use super::watch::{Cut, Watch};
use crate::exchange::response_body::Body;
use crate::worker::Worker;

/// Writes one answer, and sends the rest of the request upstream where the answer came early.
///
/// Of the body it takes as much as may wait, then writes all of it at once. How much may wait grows
/// while the client takes everything, and shrinks when it does not: a slow reader costs us little.
pub(super) struct Responder {
    body: Body,
    encoder: Encoder,
    /// What may wait to be written, in bytes.
    room: usize,
    end: End,
}

/// How far the body has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Open,
    /// The upstream broke off: what came before is written, and no end.
    Truncated,
    Whole,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sent {
    /// It has no end, and must not look as if it had.
    Broken,
    /// The client has gone.
    Gone,
    /// All that came of it was sent, and its framing shows that there should be more.
    Truncated,
    Whole,
}

impl Responder {
    /// Has the head wait to be written.
    pub(super) fn begin(
        transport: &Transport,
        worker: &Rc<Worker>,
        head: &response::Parts,
        body: Body,
        asked: Asked,
    ) -> Self {
        let encoder = transport
            .write(|out| out.gather(|out| Encoder::begin(out, head, &body, asked, &worker.date())));
        let end = if encoder.has_body() { End::Open } else { End::Whole };
        Self { body, encoder, room: MIN_ROOM, end }
    }

    /// Whether only the end of the connection is the end of the answer.
    pub(super) fn ends_with_connection(&self) -> bool {
        self.encoder.ends_with_connection()
    }

    /// Sends what can be sent; ready once there is no more to send, and the request is at its end too.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, watch: &mut Watch<'_>) -> Poll<Sent> {
        let mut turn = MAX_TURN;
        loop {
            self.take(cx, watch.transport);
            let waiting = watch.transport.output().len();
            if waiting == 0 {
                return self.poll_end(cx, watch);
            }
            match watch.transport.poll_write(cx) {
                Poll::Ready(Ok(written)) => {
                    self.adapt(written, waiting);
                    turn = turn.saturating_sub(written);
                }
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "the client has gone");
                    return Poll::Ready(Sent::Gone);
                }
                Poll::Pending => return self.poll_blocked(cx, watch),
            }
            if turn == 0 {
                // Others have waited for long enough.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Takes of the body what is there and has room.
    fn take(&mut self, cx: &mut Context<'_>, transport: &Transport) {
        while self.end == End::Open && transport.output().len() < self.room {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        transport.write(|out| self.encoder.data(out, data));
                        if self.body.is_end_stream() {
                            self.finish(transport, None);
                        }
                    }
                    Err(frame) => self.finish(transport, frame.into_trailers().ok().as_ref()),
                },
                Poll::Ready(None) => self.finish(transport, None),
                Poll::Ready(Some(Err(_))) => self.end = End::Truncated,
                Poll::Pending => return,
            }
        }
    }

    fn finish(&mut self, transport: &Transport, trailers: Option<&HeaderMap>) {
        transport.write(|out| self.encoder.end(out, trailers));
        self.end = End::Whole;
    }

    fn adapt(&mut self, written: usize, waiting: usize) {
        if written < waiting {
            self.room = (self.room / 2).max(MIN_ROOM);
        } else if waiting >= self.room {
            self.room = (self.room * 2).min(MAX_ROOM);
        }
    }

    /// Nothing waits: for the body, for the end of the request, or for nobody.
    fn poll_end(&mut self, cx: &mut Context<'_>, watch: &mut Watch<'_>) -> Poll<Sent> {
        let sent = match self.end {
            End::Open => None,
            End::Truncated if self.ends_with_connection() => Some(Sent::Broken),
            End::Truncated => Some(Sent::Truncated),
            End::Whole => self.body.poll_upload(cx).is_ready().then_some(Sent::Whole),
        };
        if let Some(sent) = sent {
            return Poll::Ready(sent);
        }
        if let Poll::Ready(cut) = watch.poll_client(cx) {
            return Poll::Ready(Self::cut(cut));
        }
        // A drain deadline wakes whoever is asleep, and the body sees it.
        watch.arm(cx, BODY_CHECK);
        Poll::Pending
    }

    /// The client takes nothing. Nobody asks the body meanwhile, so we see to it here.
    fn poll_blocked(&mut self, cx: &mut Context<'_>, watch: &mut Watch<'_>) -> Poll<Sent> {
        if self.body.is_hung_up() {
            return Poll::Ready(Sent::Broken);
        }
        let _sending = self.body.poll_upload(cx);
        watch.poll_blocked(cx).map(Self::cut)
    }

    fn cut(cut: Cut) -> Sent {
        match cut {
            Cut::Broken => Sent::Broken,
            Cut::Gone => Sent::Gone,
        }
    }
}

/// What may wait of an answer at first, and for a slow reader.
const MIN_ROOM: usize = 64 << 10;
/// What may wait for a client that takes everything at once.
const MAX_ROOM: usize = 512 << 10;
/// What is written in one turn before other connections have theirs.
const MAX_TURN: usize = 1 << 20;
/// How often a connection that waits for an upstream's body is looked at: never in earnest.
const BODY_CHECK: Duration = Duration::from_secs(3600);
