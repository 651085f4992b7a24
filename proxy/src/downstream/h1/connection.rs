//! One client connection from its first byte to its close.
//!
//! hyper parses and frames HTTP/1; deadlines, the memory of idle connections, what a refused client
//! gets to read, and the end of the socket are ours.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use crate::downstream::h1::socket::{Downstream, PeerDid, Socket};
use crate::exchange::client::{Client, Cut, Phase, RequestEnd, Wait};
use crate::exchange::response_body::{Body, BrokenOff};
use crate::exchange::tunnel::Tunnel;
use crate::handle::handle;
use crate::message::reason::Reason;
use crate::metrics::labels::Label;
use crate::table::Limits;
use crate::time::{Sleep, TICK};

/// Serves a connection until it is closed.
pub(crate) async fn serve(client: Rc<Client>, mut socket: TcpStream) {
    let mut first = Bytes::new();
    loop {
        // All but sleeping is boxed: a connection that sleeps holds no memory of one that does not.
        let end = Box::pin(awake(&client, socket, first)).await;
        client.worker.has_freed.set(true);
        match end {
            End::Rests(resting, rest) => {
                socket = resting;
                first = rest;
                if first.is_empty() {
                    // Though empty, it would hold the whole buffer that was read into.
                    first = Bytes::new();
                    if !asleep(&client, &socket).await {
                        return;
                    }
                }
                client.renew_policy();
            }
            End::Switched(socket, rest, tunnel) => return Box::pin(tunnel.run(socket, rest)).await,
            End::Refused(socket, rejection) => {
                client.worker.slot.rejections.count(rejection);
                turn_away(&socket, rejection);
                return Box::pin(linger(&client, socket)).await;
            }
            End::Answered(socket) => return Box::pin(linger(&client, socket)).await,
            End::Broken(socket) => {
                // A reset, so that nobody takes what has arrived for the whole.
                socket.set_zero_linger().ok();
                return;
            }
            End::Closed => return,
        }
    }
}

/// Answers a client whose request was not even parsed, as far as the socket takes it at once.
pub(crate) fn turn_away(socket: &TcpStream, rejection: Reason) {
    let body = rejection.sentence();
    let again = if rejection.is_passing() { "retry-after: 1\r\n" } else { "" };
    let answer = format!(
        "HTTP/1.1 {}\r\nx-cutover-reason: {}\r\n{again}content-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}\n",
        rejection.status(),
        rejection.as_str(),
        body.len() + 1,
    );
    // A fresh socket has room for it; a client that has filled it does not read anyway.
    let sent = socket2::SockRef::from(socket).send(answer.as_bytes());
    if let Err(error) = sent {
        tracing::debug!(%error, "a refusal could not be sent");
    }
}

/// Reads and forgets what a client that was turned away has sent so far: closing over it would reset
/// the connection, and the reset may overtake the answer.
pub(crate) fn discard(socket: &TcpStream) {
    for _ in 0..DISCARDS {
        let read = |socket: &TcpStream| {
            socket2::SockRef::from(socket).recv(&mut [std::mem::MaybeUninit::uninit(); 4096])
        };
        if !read(socket).is_ok_and(|read| read > 0) {
            return;
        }
    }
}

/// What has become of a connection that was awake.
enum End {
    /// The answer has been sent; the client may still be sending.
    Answered(TcpStream),
    /// An answer was begun that will have no end.
    Broken(TcpStream),
    /// Nothing is left to be said.
    Closed,
    /// The request could not be read.
    Refused(TcpStream, Reason),
    /// Idle; with what was read of the next request, if anything.
    Rests(TcpStream, Bytes),
    /// Another protocol begins.
    Switched(TcpStream, Bytes, Box<Tunnel>),
}

/// How hyper's part ended.
enum Turn {
    Cut(Cut),
    Done(hyper::Result<()>),
    Panicked,
}

async fn awake(client: &Rc<Client>, socket: TcpStream, first: Bytes) -> End {
    let io = TokioIo::new(Downstream::new(socket, first, Rc::clone(client)));
    let service = service_fn(|request| {
        client.begin(&request);
        answer(client, request)
    });
    let mut conn = builder(&client.limits()).serve_connection(io, service);
    let mut alarm = Alarm(client.worker.timers.sleep(TICK));
    let turn = poll_fn(|cx| {
        let poll = || Pin::new(&mut conn).poll(cx);
        match panic::catch_unwind(AssertUnwindSafe(poll)) {
            Err(_) => Poll::Ready(Turn::Panicked),
            Ok(Poll::Ready(result)) => Poll::Ready(Turn::Done(result)),
            Ok(Poll::Pending) => alarm.poll(cx, client).map(Turn::Cut),
        }
    })
    .await;
    if let Turn::Panicked = turn {
        client.worker.slot.panics.add(1);
        tracing::error!(client = %client.address, "a panic has ended a connection");
    }
    // Dropping the request that was in flight runs its destructors, which may panic as well.
    let parts = panic::catch_unwind(AssertUnwindSafe(|| conn.into_parts()));
    let (Ok(parts), false) = (parts, matches!(turn, Turn::Panicked)) else {
        return End::Closed;
    };
    end(client, turn, parts.io.into_inner().into_inner(), parts.read_buf)
}

/// Judges how hyper's part ended.
fn end(client: &Client, turn: Turn, socket: TcpStream, rest: Bytes) -> End {
    match turn {
        Turn::Panicked | Turn::Cut(Cut::Gone | Cut::Idle) => End::Closed,
        Turn::Cut(Cut::Drained | Cut::WriteTimeout) => End::Broken(socket),
        Turn::Cut(Cut::HeaderTimeout) => End::Refused(socket, Reason::HeaderTimeout),
        Turn::Cut(Cut::Hibernate) => {
            if !rest.is_empty() {
                client.read_on();
            }
            End::Rests(socket, rest)
        }
        Turn::Done(result) => {
            if let (Ok(()), Some(tunnel)) = (&result, client.tunnel()) {
                return End::Switched(socket, rest, Box::new(tunnel));
            }
            if let Some(rejection) = client.refused() {
                return End::Refused(socket, rejection);
            }
            match (result, client.phase()) {
                (Err(error), Phase::Idle | Phase::Head) if error.is_parse() => {
                    let rejection = if error.is_parse_version_h2() {
                        Reason::Version
                    } else {
                        Reason::BadRequest
                    };
                    End::Refused(socket, rejection)
                }
                // RFC 9112 §8: only a close delimits this body, and a close would make it whole.
                (Err(_), Phase::Answering | Phase::Flushing)
                    if client.version() < Version::HTTP_11 =>
                {
                    End::Broken(socket)
                }
                (Err(_), Phase::Idle | Phase::Head | Phase::Serving) => End::Closed,
                _ if client.body() == RequestEnd::Read && rest.is_empty() && !has_more(&socket) => {
                    End::Closed
                }
                _ => End::Answered(socket),
            }
        }
    }
}

/// Whether bytes wait to be read: closing over them resets the connection, and the reset may
/// overtake the answer.
fn has_more(socket: &TcpStream) -> bool {
    let peek = |socket: &TcpStream| {
        socket2::SockRef::from(socket).peek(&mut [std::mem::MaybeUninit::uninit()])
    };
    socket.try_io(Interest::READABLE, || peek(socket)).is_ok_and(|waiting| waiting > 0)
}

/// Waits until the socket is readable. `false`: it is to be closed.
async fn asleep(client: &Client, socket: &TcpStream) -> bool {
    let mut sleep = client.worker.timers.sleep(client.idle_left().unwrap_or_default());
    poll_fn(|cx| {
        if let Poll::Ready(peer) = socket.poll_peer(cx) {
            return Poll::Ready(matches!(peer, Ok(PeerDid::Send)));
        }
        loop {
            let Some(left) = client.idle_left() else {
                return Poll::Ready(false);
            };
            ready!(Pin::new(&mut sleep).poll(cx));
            sleep.reset(left);
        }
    })
    .await
}

/// Closes our side and reads on for a while, so that the client gets to read our last answer.
async fn linger(client: &Client, mut socket: TcpStream) {
    let drain = async {
        socket.shutdown().await?;
        let mut budget = LINGER_BYTES;
        while budget > 0 {
            socket.readable().await?;
            let mut sink = [0; 4096];
            match socket.try_read(&mut sink) {
                Ok(0) => break,
                Ok(read) => budget = budget.saturating_sub(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    if let Some(Err(error)) = client.worker.timers.timeout(LINGER, drain).await {
        tracing::debug!(%error, "the client did not wait for the end");
    }
}

/// The connection's one deadline, whatever it is for at the time.
struct Alarm(Sleep);

impl Alarm {
    /// Ready when the connection has waited long enough for whatever it waits.
    fn poll(&mut self, cx: &mut Context<'_>, client: &Client) -> Poll<Cut> {
        loop {
            let left = match client.wait() {
                Wait::Over(cut) => return Poll::Ready(cut),
                Wait::AtMost(left) => left,
            };
            self.0.reset(left);
            ready!(Pin::new(&mut self.0).poll(cx));
        }
    }
}

async fn answer(
    client: &Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    #[cfg(test)]
    assert_ne!(request.uri().path(), "/panic", "injected");
    let mut response = handle(client, request).await;
    client.answering();
    if client.is_last() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| Answer { body, client: Rc::clone(client) }))
}

/// A response body that tells the connection when hyper has done with it.
struct Answer {
    body: Body,
    client: Rc<Client>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.client.answered();
    }
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // A half-closed client may still read: see `Client::wait`.
        .half_close(true)
        .header_read_timeout(None)
        .max_header_size(limits.max_header_bytes)
        .max_buf_size(limits.max_header_bytes.max(BUFFER_BYTES));
    if limits.max_headers != HYPER_MAX_HEADERS {
        builder.max_headers(limits.max_headers);
    }
    builder
}

/// What hyper holds of a body on its way, in each direction: a slow reader costs us no more.
const BUFFER_BYTES: usize = 128 << 10;

/// hyper's default needs no allocation.
const HYPER_MAX_HEADERS: usize = 100;

/// Reads of 4 KiB: as much as a head and the beginning of a body.
const DISCARDS: usize = 16;

/// How long and how much a client may go on sending after our last answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests;
