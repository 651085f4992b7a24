//! A client's socket: what its connections need of it, whatever is spoken on it.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A client's socket. All of it works on a shared reference: a request's body reads while its
/// answer is written.
#[derive(Debug)]
pub(crate) struct Socket(TcpStream);

impl Socket {
    /// Takes charge of an accepted connection.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// Ready when there is something to read, or the end.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(cx)
    }

    /// Reads once behind what `buffer` holds, about `want` bytes; 0 is the end. Memory is taken
    /// only when there is something to read.
    pub(crate) fn poll_fill(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        want: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            buffer.reserve(want);
            match self.0.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    }

    /// Writes some of `slices`; one slice goes by `send(2)`, which is cheaper than `writev(2)`.
    pub(crate) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            let written = match slices {
                [slice] => self.0.try_write(slice),
                slices => self.0.try_write_vectored(slices),
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    /// Whether the client has reset the connection, as far as the reactor has been told: without a
    /// look at the socket, and with bytes in it that nobody has read.
    pub(crate) fn is_reset(&self, cx: &mut Context<'_>) -> bool {
        let told = pin!(self.0.ready(Interest::READABLE | Interest::WRITABLE)).poll(cx);
        // Our side is closed last, so that only a reset can have closed it.
        matches!(told, Poll::Ready(Ok(told)) if told.is_write_closed())
    }

    /// Whether bytes wait to be read: closing over them resets the connection, and the reset may
    /// overtake the last answer.
    pub(crate) fn has_more(&self) -> bool {
        let peek = || SockRef::from(&self.0).peek(&mut [MaybeUninit::uninit()]);
        self.0.try_io(Interest::READABLE, peek).is_ok_and(|waiting| waiting > 0)
    }

    /// Makes the coming close a reset, so that nobody takes what has arrived for the whole.
    pub(crate) fn reset_on_close(&self) {
        // What fails here is a connection that has been reset already.
        self.0.set_zero_linger().ok();
    }

    /// The stream, for a tunnel or the last words.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.0
    }
}
