//! One HTTP/1 connection from its first byte to its close.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Version, response};
use tokio::net::TcpStream;

use super::encoder::{Asked, write_fields, write_status};
use super::head::Head;
use super::linger::{linger, turn_away};
use super::responder::{Responder, Sent};
use super::transport::Transport;
use super::watch::{Cut, Watch};
use crate::downstream::client::Client;
use crate::downstream::socket::Socket;
use crate::exchange::request_body::Source;
use crate::exchange::response_body::Body;
use crate::exchange::tunnel::Tunnel;
use crate::exchange::{Answer, Exchange};
use crate::handle::handle;
use crate::message::headers;
use crate::message::reason::Reason;
use crate::time::TICK;
use crate::worker::Phase;
use crate::worker::panics::caught;

/// Serves a connection until it is closed.
pub(crate) async fn serve(client: Rc<Client>, stream: TcpStream) {
    let mut socket = Socket::new(stream);
    loop {
        // All but sleeping is boxed: a connection that sleeps holds no memory of one that does not.
        let end = Box::pin(awake(&client, socket)).await;
        client.worker.life.freed();
        match end {
            End::Rests(resting) => {
                socket = resting;
                if !asleep(&client, &socket).await {
                    return;
                }
                client.renew_policy();
            }
            End::Switched(socket, rest, tunnel) => {
                return Box::pin(tunnel.run(socket.into_stream(), rest)).await;
            }
            End::Refused(socket, rejection) => {
                client.worker.slot.rejections.count(rejection);
                let stream = socket.into_stream();
                turn_away(&client.worker, &stream, rejection);
                return Box::pin(linger(&client.worker.timers, stream)).await;
            }
            End::Answered(socket) => {
                return Box::pin(linger(&client.worker.timers, socket.into_stream())).await;
            }
            End::Broken(socket) => {
                // What was written has a moment to arrive: the reset takes back what has not.
                if client.worker.phase() < Phase::Over {
                    client.worker.timers.sleep(TICK).await;
                }
                socket.reset_on_close();
                return;
            }
            End::Closed => return,
        }
    }
}

/// What has become of a connection that was awake.
enum End {
    /// The answer has been sent; the client may still be sending.
    Answered(Socket),
    /// An answer was begun that will have no end.
    Broken(Socket),
    /// Nothing is left to be said.
    Closed,
    /// The request could not be read.
    Refused(Socket, Reason),
    /// Idle, with nothing read of a next request.
    Rests(Socket),
    /// Another protocol begins; with what was read of it.
    Switched(Socket, Bytes, Box<Tunnel>),
}

/// How the last exchange of a connection ended, or the wait for the next.
enum Outcome {
    /// The last answer has been sent.
    Answered,
    /// An answer was begun that will have no end.
    Broken,
    /// Nothing is left to be said, or nobody is left to hear it.
    Closed,
    /// The request could not be read.
    Refused(Reason),
    /// Idle for long enough to give the memory back.
    Rests,
    /// Another protocol begins.
    Switched(Box<Tunnel>),
}

impl From<Cut> for Outcome {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Broken => Self::Broken,
            Cut::Gone => Self::Closed,
        }
    }
}

async fn awake(client: &Rc<Client>, socket: Socket) -> End {
    let transport = Transport::new(client, socket, BytesMut::new());
    let connection = Connection(Watch::new(client, &transport));
    let Some(outcome) = caught(connection.run()).await else {
        client.worker.slot.panics.add(1);
        tracing::error!(client = ?client.peer.ip, "a panic has ended a connection");
        return End::Closed;
    };
    let is_read = transport.is_read();
    let Some(transport) = Rc::into_inner(transport) else {
        tracing::error!("a connection has ended before its request");
        return End::Closed;
    };
    let (socket, rest) = transport.into_parts();
    match outcome {
        Outcome::Answered if is_read && rest.is_empty() && !socket.has_more() => End::Closed,
        Outcome::Answered => End::Answered(socket),
        Outcome::Broken => End::Broken(socket),
        Outcome::Closed => End::Closed,
        Outcome::Refused(rejection) => End::Refused(socket, rejection),
        Outcome::Rests => End::Rests(socket),
        Outcome::Switched(tunnel) => End::Switched(socket, rest.freeze(), tunnel),
    }
}

/// Waits until the socket is readable. `false`: it is to be closed.
async fn asleep(client: &Client, socket: &Socket) -> bool {
    let mut sleep = client.worker.timers.sleep(client.idle_left().unwrap_or_default());
    poll_fn(|cx| {
        if let Poll::Ready(readable) = socket.poll_readable(cx) {
            return Poll::Ready(readable.is_ok());
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

/// A connection that is awake.
struct Connection<'a>(Watch<'a>);

impl Connection<'_> {
    /// One exchange after the other.
    async fn run(mut self) -> Outcome {
        loop {
            let ended = match self.next().await {
                Ok(head) => self.exchange(head).await,
                Err(outcome) => Some(outcome),
            };
            if let Some(outcome) = ended {
                return outcome;
            }
        }
    }

    /// The head of the next request.
    async fn next(&mut self) -> Result<Head, Outcome> {
        let mut begun = None;
        let (client, transport) = (self.0.client, self.0.transport);
        poll_fn(|cx| {
            if let Poll::Ready(head) = transport.poll_head(cx) {
                return Poll::Ready(match head {
                    Ok(Some(head)) => Ok(head),
                    Ok(None) => Err(Outcome::Closed),
                    Err(rejection) => Err(Outcome::Refused(rejection)),
                });
            }
            let left = if transport.has_begun() {
                let since = *begun.get_or_insert_with(|| client.worker.timers.now());
                let left = client.left(since, client.limits().header_timeout);
                left.ok_or(Outcome::Refused(Reason::HeaderTimeout))
            } else {
                self.idle_left()
            };
            match left {
                Ok(left) => self.0.arm(cx, left),
                Err(outcome) => return Poll::Ready(Err(outcome)),
            }
            Poll::Pending
        })
        .await
    }

    /// How long an idle connection stays awake.
    fn idle_left(&self) -> Result<Duration, Outcome> {
        match self.0.client.idle_left() {
            None => Err(Outcome::Closed),
            Some(_) if self.0.client.has_rested(TICK) => Err(Outcome::Rests),
            Some(left) => Ok(left.min(TICK)),
        }
    }

    /// One request and its answer. `None`: another may follow.
    async fn exchange(&mut self, head: Head) -> Option<Outcome> {
        let Head { parts, keep_alive, .. } = head;
        let (client, transport) = (self.0.client, self.0.transport);
        let asked = Asked::new(&parts.method, parts.version, keep_alive);
        let has_body = !transport.is_read();
        transport.expect_continue(
            has_body
                && parts.version == Version::HTTP_11
                && headers::expects_continue(&parts.headers),
        );
        let interim = |status, headers: &_| {
            if asked.version == Version::HTTP_11 {
                transport.interim(status, headers);
            }
        };
        let exchange = Exchange {
            worker: &client.worker,
            peer: &client.peer,
            interim: &interim,
            binding: &client.binding,
        };
        let body = has_body.then(|| Rc::clone(transport) as Rc<dyn Source>);
        let answer = {
            let mut handling = std::pin::pin!(handle(&exchange, parts, body));
            poll_fn(|cx| {
                if let Poll::Ready(answer) = handling.as_mut().poll(cx) {
                    return Poll::Ready(Ok(answer));
                }
                self.0.poll_client(cx).map(|cut| Err(cut.into()))
            })
            .await
        };
        transport.expect_continue(false);
        let ended = match answer {
            Ok(Answer::Response(head, body)) => self.respond(&head, body, asked).await,
            Ok(Answer::Switching(head, tunnel)) => Some(self.switch(&head, tunnel).await),
            Err(outcome) => Some(outcome),
        };
        client.rests();
        ended
    }

    /// Sends an answer.
    async fn respond(
        &mut self,
        head: &response::Parts,
        body: Body,
        asked: Asked,
    ) -> Option<Outcome> {
        // A request that nobody reads to its end leaves bytes that must never be read as the next.
        let will_be_read =
            self.0.transport.is_read() || body.is_uploading() || self.0.transport.skip_body();
        let is_last = !asked.keep_alive
            || !will_be_read
            || headers::says_close(&head.headers)
            || self.0.client.worker.phase() >= Phase::LameDuck;
        let asked = Asked { keep_alive: !is_last, ..asked };
        let mut responder =
            Responder::begin(self.0.transport, &self.0.client.worker, head, body, asked);
        let sent = poll_fn(|cx| responder.poll(cx, &mut self.0)).await;
        self.0.transport.end_delivery();
        let is_last = is_last || responder.ends_with_connection();
        match sent {
            Sent::Gone => Some(Outcome::Closed),
            Sent::Broken => Some(Outcome::Broken),
            Sent::Truncated => Some(Outcome::Answered),
            Sent::Whole if is_last || !self.0.transport.is_read() => Some(Outcome::Answered),
            Sent::Whole => None,
        }
    }

    /// Sends a `101`.
    async fn switch(&mut self, head: &response::Parts, tunnel: Box<Tunnel>) -> Outcome {
        self.0.transport.write(|out| {
            out.gather(|out| {
                write_status(out, Version::HTTP_11, head.status, head.extensions.get());
                write_fields(out, &head.headers);
                out.extend_from_slice(b"\r\n");
            });
        });
        poll_fn(|cx| match self.0.transport.poll_flush(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(None),
            Poll::Ready(Err(_)) => Poll::Ready(Some(Outcome::Closed)),
            Poll::Pending => self.0.poll_blocked(cx).map(|cut| Some(cut.into())),
        })
        .await
        .unwrap_or(Outcome::Switched(tunnel))
    }
}

#[cfg(test)]
mod tests;
