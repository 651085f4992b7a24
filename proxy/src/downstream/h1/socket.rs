//! The client's socket as hyper sees it.
//!
//! Between hyper and the kernel this keeps what deadlines need, sends small answers with one plain
//! `send(2)` (a vectored write costs more), puts interim responses ahead of final ones, and notices a
//! client that has gone.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::exchange::client::{Client, Phase};

/// A socket that can tell what its peer does without reading.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Ready when the peer has sent something, or will send no more.
    fn poll_peer(&self, cx: &mut Context<'_>) -> Poll<io::Result<PeerDid>>;

    /// Whether the peer has reset the connection, as far as the reactor has been told: without a
    /// look at the socket, and with bytes in it that nobody has read.
    fn is_reset(&self, cx: &mut Context<'_>) -> bool;
}

/// What the peer did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PeerDid {
    /// It closed its side.
    HalfClose,
    /// It sent something that waits to be read.
    Send,
}

impl Socket for TcpStream {
    fn poll_peer(&self, cx: &mut Context<'_>) -> Poll<io::Result<PeerDid>> {
        let mut byte = [0];
        let peeked = ready!(self.poll_peek(cx, &mut ReadBuf::new(&mut byte)))?;
        Poll::Ready(Ok(if peeked == 0 { PeerDid::HalfClose } else { PeerDid::Send }))
    }

    fn is_reset(&self, cx: &mut Context<'_>) -> bool {
        let told = pin!(self.ready(Interest::READABLE | Interest::WRITABLE)).poll(cx);
        // Our side is closed last, so that only a reset can have closed it.
        matches!(told, Poll::Ready(Ok(told)) if told.is_write_closed())
    }
}

/// The client's side of a connection.
#[derive(Debug)]
pub(crate) struct Downstream<S> {
    socket: S,
    client: Rc<Client>,
    /// Read before, and to be read again.
    first: Bytes,
    watch: Watch,
}

/// Whether a wake-up by the peer is on its way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Watch {
    /// It is to be asked for.
    Ask,
    /// The peer has sent the next request ahead: nothing can be known before that is read.
    Blind,
}

impl<S: Socket> Downstream<S> {
    /// Wraps a socket; `first` is read before anything else.
    pub(crate) fn new(socket: S, first: Bytes, client: Rc<Client>) -> Self {
        Self { socket, client, first, watch: Watch::Ask }
    }

    /// The bare socket.
    pub(crate) fn into_inner(self) -> S {
        self.socket
    }

    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut interim = self.client.waiting_interim().borrow_mut();
        while !interim.is_empty() {
            match Pin::new(&mut self.socket).poll_write(cx, &interim) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    interim.drain(..written);
                    self.client.wrote(written, interim.is_empty());
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.client.write_blocked();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Registers for the client's going away while its request is served.
    fn watch(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.watch == Watch::Ask && self.client.awaits_hangup() {
            match self.socket.poll_peer(cx) {
                Poll::Ready(Ok(PeerDid::HalfClose)) => self.client.half_closed(),
                Poll::Ready(Ok(PeerDid::Send)) => self.watch = Watch::Blind,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {}
            }
        }
        // While nobody reads the body nothing wakes us: `Client::wait` does, now and then. An end in
        // good order stands behind the body, and may be that of a client that waits.
        if self.client.awaits_reader() && self.socket.is_reset(cx) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }

    fn note(&self, written: Poll<io::Result<usize>>, of: usize) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(written)) => self.client.wrote(written, written == of),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.client.write_blocked(),
        }
        written
    }
}

impl<S: Socket> AsyncRead for Downstream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let taken = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first.split_to(taken));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        self.watch = Watch::Ask;
        let read = buf.filled().get(before..).unwrap_or_default();
        if !read.is_empty() && matches!(self.client.phase(), Phase::Idle | Phase::Head) {
            self.client.read_head(head_of(read));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Socket> AsyncWrite for Downstream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.client.intercepts(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_interim(cx))?;
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.note(written, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total = slices.iter().map(|slice| slice.len()).sum();
        if let [one] = slices {
            return self.poll_write(cx, one);
        }
        if total <= MAX_COALESCED_BYTES {
            return SCRATCH.with_borrow_mut(|scratch| {
                scratch.clear();
                for slice in slices {
                    scratch.extend_from_slice(slice);
                }
                self.poll_write(cx, scratch)
            });
        }
        ready!(self.poll_interim(cx))?;
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.note(written, total)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes at the end of every turn in which it has nothing left to write.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_interim(cx))?;
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        self.client.flushed();
        Poll::Ready(self.watch(cx))
    }

    /// The end of the connection is not hyper's affair: see `conn`.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Up to here, copying is cheaper than a vectored write.
const MAX_COALESCED_BYTES: usize = 16 << 10;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The part of a read that is worth keeping: small reads whole, since requests may follow each other
/// in them; of a large one only the head, since what follows that is a body.
fn head_of(bytes: &[u8]) -> &[u8] {
    if bytes.len() <= SMALL_READ_BYTES {
        return bytes;
    }
    let end = memchr::memmem::find(bytes, b"\r\n\r\n").map_or(bytes.len(), |start| start + 4);
    bytes.get(..end).unwrap_or(bytes)
}

const SMALL_READ_BYTES: usize = 4 << 10;
