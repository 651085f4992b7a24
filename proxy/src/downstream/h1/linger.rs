//! The end of a connection that the client does not know of yet.

use std::io;
use std::mem::MaybeUninit;
use std::rc::Rc;
use std::time::Duration;

use http::Version;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::encoder::{Asked, Encoder};
use crate::exchange::answer::rejected;
use crate::exchange::response_body::Body;
use crate::message::reason::Reason;
use crate::time::Timers;
use crate::worker::Worker;

/// Answers a client whose request was not even parsed, as far as the socket takes it at once.
pub(crate) fn turn_away(worker: &Worker, socket: &TcpStream, rejection: Reason) {
    let (head, text) = rejected(rejection);
    let asked = Asked { head: false, version: Version::HTTP_11, keep_alive: false };
    let mut answer = Vec::new();
    Encoder::begin(&mut answer, &head, &Body::own(text.clone()), asked, &worker.date());
    answer.extend_from_slice(text.as_bytes());
    // A fresh socket has room for it; a client that has filled it does not read anyway.
    if let Err(error) = SockRef::from(socket).send(&answer) {
        tracing::debug!(%error, "a refusal could not be sent");
    }
}

/// Reads and forgets what a client that was turned away has sent so far: closing over it would reset
/// the connection, and the reset may overtake the answer.
pub(crate) fn discard(socket: &TcpStream) {
    for _ in 0..DISCARDS {
        let read =
            |socket: &TcpStream| SockRef::from(socket).recv(&mut [MaybeUninit::uninit(); 4096]);
        if !read(socket).is_ok_and(|read| read > 0) {
            return;
        }
    }
}

/// Closes our side and reads on for a while, so that the client gets to read our last answer.
pub(crate) async fn linger(timers: &Rc<Timers>, mut socket: TcpStream) {
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
    if let Some(Err(error)) = timers.timeout(LINGER, drain).await {
        tracing::debug!(%error, "the client did not wait for the end");
    }
}

/// Reads of 4 KiB: as much as a head and the beginning of a body.
const DISCARDS: usize = 16;

/// How long and how much a client may go on sending after our last answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 16 << 20;
