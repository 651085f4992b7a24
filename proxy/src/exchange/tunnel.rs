//! An upgraded connection, with the lease that holds its pool.

mod copy;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use self::copy::End;
use crate::exchange::record::Record;
use crate::time::Sleep;
use crate::upstream::Connection;
use crate::worker::Worker;

/// The upstream's side of an upgraded connection. It waits in the client's connection until the
/// `101` has gone out.
#[derive(Debug)]
pub(crate) struct Tunnel {
    connection: Box<Connection>,
    record: Record,
    bell: Sleep,
}

impl Tunnel {
    /// A tunnel that is about to open.
    pub(crate) fn new(worker: &Worker, connection: Box<Connection>, record: Record) -> Self {
        connection.keep_alive();
        Self { connection, record, bell: worker.timers.sleep(Duration::MAX) }
    }

    /// Carries bytes both ways until both sides are done, one breaks, or a drain deadline comes.
    /// `first` is what the client sent behind its request.
    ///
    /// # Cancel safety
    /// Dropping the future closes both connections.
    pub(crate) async fn run<C: AsyncRead + AsyncWrite + Unpin>(self, client: C, first: Bytes) {
        let Self { connection, mut record, mut bell } = self;
        let hangup = poll_fn(|cx| {
            if record.is_hung_up() {
                record.note_forced();
                return Poll::Ready(());
            }
            Pin::new(&mut bell).poll(cx)
        });
        let carried = copy::tunnel(client, first, connection, hangup).await;
        match carried.end {
            End::Closed => {}
            End::Hangup => record.broken("drained"),
            End::Broken(error) => {
                tracing::debug!(%error, "a tunnel broke");
                record.broken("tunnel_broken");
            }
        }
        record.uploaded(carried.up);
        record.finish(carried.down);
    }
}
