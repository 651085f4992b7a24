//! One request and the head of its answer.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Version, header};
use http_body::Body;
use tokio::time::Sleep;

use super::body::{ResponseBody, Upload};
use super::request;
use super::response::{self, Asked, Head};
use super::send::Sender;
use crate::message::decoder::Framing;
use crate::message::headers::{self, Outgoing};
use crate::message::write_buffer::WriteBuffer;
use crate::upstream::connection::Connection;
use crate::upstream::reply::{Failure, Reply, RequestBody, Stage, Watch};

/// Sends one request over `connection` and waits for the head of the final answer.
///
/// `body` is `None` for a request without one. It stays with the caller, so that a request whose
/// body has not been touched can be sent again; only when the answer begins before the body has
/// been sent to its end does the body move into the [`ResponseBody`], which goes on sending it.
///
/// The caller owns every deadline but one: it watches [`Progress`](crate::upstream::Progress) and drops the future. A request
/// with `Expect: 100-continue` keeps its body back until the upstream has asked for it, for at most
/// one second (RFC 9110 §10.1.1).
///
/// # Errors
///
/// See [`Failure`]: it says whether the request may have reached the application. The connection
/// is closed by every error.
///
/// # Cancel safety
///
/// Dropping the future closes the connection; what has been taken from `body` by then is lost.
pub(crate) async fn exchange<B>(
    connection: Box<Connection>,
    parts: &http::request::Parts,
    outgoing: &Outgoing<'_>,
    body: &mut Option<B>,
    watch: Watch<'_>,
) -> Result<Reply<B>, Failure<B::Error>>
where
    B: RequestBody,
{
    let framing = request::framing(parts, body.as_ref());
    if framing == Framing::Empty {
        requeue().await;
    }
    let mut exchange = Exchange::begin(connection, parts, outgoing, framing, watch)?;
    match poll_fn(|cx| exchange.poll(cx, body)).await {
        Ok(head) => exchange.finish(head, body),
        Err(failure) => {
            if let Some(body) = body {
                body.put_back(exchange.sender.take_pieces());
            }
            Err(failure)
        }
    }
}

/// One request under way, from its first byte to the head of its final answer.
struct Exchange<'a, 'w> {
    connection: Box<Connection>,
    sender: Sender,
    asked: Asked<'a>,
    watch: Watch<'w>,
    /// Runs while the body is kept back for a `100`.
    patience: Option<Pin<Box<Sleep>>>,
    interims: u32,
    /// Whether an interim answer has come.
    answered: bool,
    /// Bytes in the buffer in which no whole head was found.
    seen: usize,
}

impl<'a, 'w> Exchange<'a, 'w> {
    fn begin<E>(
        mut connection: Box<Connection>,
        parts: &http::request::Parts,
        outgoing: &Outgoing<'a>,
        framing: Framing,
        watch: Watch<'w>,
    ) -> Result<Self, Failure<E>> {
        // The last look, at the socket itself: a byte or FIN here belongs to no request of ours
        // (RFC 9112 §9.3). What the reactor has told is too old for that on a busy worker.
        let reused = connection.exchanges() > 0;
        if !(if reused { connection.is_silent() } else { connection.is_reusable() }) {
            let closed = io::ErrorKind::ConnectionAborted.into();
            return Err(Failure::unsent(reused, closed));
        }
        // RFC 9110 §10.1.1: an expectation of HTTP/1.0 is ignored.
        let expects = framing != Framing::Empty
            && parts.version > Version::HTTP_10
            && headers::expects_continue(&parts.headers);
        let mut out = WriteBuffer::with_memory(connection.begin());
        let endpoint = connection.address();
        out.gather(|out| request::write_head(out, parts, outgoing, endpoint, framing, expects));
        let mut sender = Sender::new(out, framing, expects);
        sender.send_now(&connection).map_err(|error| Failure::unsent(reused, error))?;
        Ok(Self {
            connection,
            sender,
            asked: Asked {
                head: parts.method == http::Method::HEAD,
                trailers: headers::accepts_trailers(&parts.headers),
                upgrade: outgoing.upgrade,
                binding: parts
                    .headers
                    .get_all(header::AUTHORIZATION)
                    .iter()
                    .any(headers::binds_connection),
            },
            watch,
            patience: expects.then(|| Box::pin(tokio::time::sleep(CONTINUE_WAIT))),
            interims: 0,
            answered: false,
            seen: 0,
        })
    }

    /// Sends and listens at once, until the final head is here.
    fn poll<B>(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Option<B>,
    ) -> Poll<Result<Head, Failure<B::Error>>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        loop {
            if let Some(patience) = &mut self.patience
                && patience.as_mut().poll(cx).is_ready()
            {
                self.release();
            }
            self.poll_send(cx, body)?;
            let head = ready!(self.poll_head(cx))?;
            let status = head.parts.status;
            if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                return Poll::Ready(Ok(head));
            }
            // It may have released the body: once more from the top.
            self.hear(&head)?;
        }
    }

    fn poll_send<B>(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Option<B>,
    ) -> Result<(), Failure<B::Error>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let sent = self.sender.poll(cx, &mut self.connection, body);
        let stage = match sent {
            Poll::Ready(_) => Stage::Sent,
            Poll::Pending if self.sender.is_blocked() => Stage::Writing,
            Poll::Pending => Stage::Receiving,
        };
        let written = self.sender.written();
        let body = if written > 0 { self.sender.taken() } else { 0 };
        self.watch.progress.note(stage, written, body);
        match sent {
            Poll::Ready(Err(error)) => Err(error),
            // A broken send is no end: the answer (413, say) may be here already.
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    /// The next head, interim or final.
    fn poll_head<E>(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure<E>>> {
        loop {
            if let Some(head) = response::parse(self.connection.buffer(), self.seen, &self.asked)? {
                self.answered = true;
                self.seen = 0;
                return Poll::Ready(Ok(head));
            }
            self.seen = self.connection.buffer().len();
            match ready!(self.connection.poll_fill(cx, HEAD_READ)) {
                Ok(0) => return Poll::Ready(Err(self.closed(None))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(self.closed(Some(error)))),
            }
        }
    }

    /// Takes an interim answer.
    fn hear<E>(&mut self, head: &Head) -> Result<(), Failure<E>> {
        self.interims += 1;
        if self.interims > MAX_INTERIMS {
            return Err(Failure::Malformed("too many interim answers"));
        }
        if head.parts.status == StatusCode::CONTINUE {
            self.release();
        } else {
            (self.watch.interim)(head.parts.status, &head.parts.headers);
        }
        Ok(())
    }

    /// Lets the body go that was kept back for a `100`.
    fn release(&mut self) {
        self.patience = None;
        self.sender.release();
    }

    /// What the end of the connection means before the final head.
    fn closed<E>(&mut self, source: Option<io::Error>) -> Failure<E> {
        if self.answered || !self.connection.buffer().is_empty() {
            return Failure::Io(source.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()));
        }
        let source = source.or_else(|| self.sender.take_error());
        let reused = self.connection.exchanges() > 1;
        if self.sender.written() == 0 {
            let closed = || io::ErrorKind::ConnectionAborted.into();
            return Failure::unsent(reused, source.unwrap_or_else(closed));
        }
        Failure::Closed { reused, consumed: self.sender.has_consumed(), source }
    }

    /// Parts with the connection: to a tunnel, or to the body of the answer.
    fn finish<B>(mut self, head: Head, body: &mut Option<B>) -> Result<Reply<B>, Failure<B::Error>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let Head { parts, framing, keep_alive, binds_connection } = head;
        if binds_connection {
            self.connection.bind();
        }
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            // RFC 9110 §7.8: the protocol changes behind the request, which must be whole by then.
            if !self.sender.is_sent() {
                return Err(Failure::Malformed("101 before the request had been sent"));
            }
            self.sender.give_back(&mut self.connection);
            return Ok(Reply::Switching(parts, self.connection));
        }
        let unsent = !self.sender.is_sent();
        self.sender.give_back(&mut self.connection);
        // RFC 9112 §9.5: an answer that refuses the rest and closes ends the sending; after any
        // other early answer the application may well go on reading.
        let refused =
            !keep_alive && (parts.status.is_client_error() || parts.status.is_server_error());
        let upload = (unsent && !refused && self.sender.can_go_on())
            .then(|| body.take())
            .flatten()
            .map(|body| Box::new(Upload { sender: self.sender, body: Some(body) }));
        let body = ResponseBody::new(
            self.connection,
            framing,
            self.asked.trailers,
            keep_alive && (!unsent || upload.is_some()),
            upload,
        );
        Ok(Reply::Response(parts, body))
    }
}

/// Goes once to the back of this thread's run queue.
///
/// The clients that one turn of the reactor reported are then all parsed before the first of their
/// requests is sent: the sends happen together, the upstream wakes up once per batch instead of once
/// per request. Measured at about 9 % of all CPU time for small kept-alive requests.
async fn requeue() {
    let mut queued = false;
    poll_fn(|cx| {
        if queued {
            return Poll::Ready(());
        }
        queued = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// How long a body is kept back for a `100 Continue` that does not come.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);
/// Interim answers that are listened to before the final one.
const MAX_INTERIMS: u32 = 16;
/// What is read at once while waiting for a head, in bytes.
const HEAD_READ: usize = 8 * 1024;
