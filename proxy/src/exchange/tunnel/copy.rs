//! Tunnels: what an upgraded connection carries, byte for byte (RFC 9110 §7.8).

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use crate::upstream::Connection;

#[cfg(test)]
mod tests;

/// What a tunnel carried, and how it ended.
#[derive(Debug)]
pub(crate) struct Carried {
    /// Bytes from the client to the upstream.
    pub(crate) up: u64,
    /// Bytes from the upstream to the client.
    pub(crate) down: u64,
    /// Why it is over.
    pub(crate) end: End,
}

/// Why a tunnel is over.
#[derive(Debug)]
pub(crate) enum End {
    /// Both sides have said that they are done, and all has been delivered.
    Closed,
    /// We were told to close it.
    Hangup,
    /// One side broke, and with it the whole.
    Broken(io::Error),
}

/// Carries bytes both ways until both sides have closed, one breaks, or `hangup` is ready.
///
/// `client_first` is what the client sent behind its request; what the upstream sent behind its
/// `101` is in `upstream`. Both are delivered first. The end of one direction is passed on as such
/// (a half-close) while the other goes on. There is no idle limit: the protocol inside has its own.
///
/// However it ends, both connections are closed when it returns, in the plain TCP way.
///
/// # Cancel safety
///
/// Dropping the future closes both connections and loses the counts.
pub(crate) async fn tunnel<C>(
    mut client: C,
    client_first: Bytes,
    upstream: Box<Connection>,
    hangup: impl Future<Output = ()>,
) -> Carried
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let (mut server, server_first) = upstream.into_stream();
    let mut up = Flow::new(client_first.into());
    let mut down = Flow::new(server_first);
    let mut hangup = pin!(hangup);
    let end = poll_fn(|cx| {
        if hangup.as_mut().poll(cx).is_ready() {
            return Poll::Ready(End::Hangup);
        }
        let up = up.poll(cx, &mut client, &mut server);
        let down = down.poll(cx, &mut server, &mut client);
        match (up, down) {
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => {
                Poll::Ready(End::Broken(error))
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(End::Closed),
            (Poll::Pending, _) | (_, Poll::Pending) => Poll::Pending,
        }
    })
    .await;
    Carried { up: up.carried, down: down.carried, end }
}

/// One direction of a tunnel.
struct Flow {
    /// Read and not yet written. No memory is held while there is nothing to carry.
    pending: BytesMut,
    stage: Stage,
    carried: u64,
}

enum Stage {
    Open,
    /// The reader has ended; what is pending and the end itself are to be passed on.
    Ending,
    Ended,
}

impl Flow {
    fn new(first: BytesMut) -> Self {
        Self { pending: first, stage: Stage::Open, carried: 0 }
    }

    /// Carries what can be carried; ready once the end has been passed on.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while !self.pending.is_empty() {
                let written = ready!(Pin::new(&mut *writer).poll_write(cx, &self.pending))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.pending.advance(written);
                self.carried += written as u64;
            }
            match self.stage {
                Stage::Open => {
                    self.pending.reserve(READ);
                    let read = pin!(reader.read_buf(&mut self.pending)).poll(cx);
                    if read.is_pending() {
                        self.pending = BytesMut::new();
                        // A writer may keep bytes back (TLS does): now is the time to let them go.
                        ready!(Pin::new(&mut *writer).poll_flush(cx))?;
                    }
                    if ready!(read)? == 0 {
                        self.stage = Stage::Ending;
                    }
                }
                Stage::Ending => {
                    ready!(Pin::new(&mut *writer).poll_shutdown(cx))?;
                    self.stage = Stage::Ended;
                }
                Stage::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// What is read at once, in bytes.
const READ: usize = 16 * 1024;
