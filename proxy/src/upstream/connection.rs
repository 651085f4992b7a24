//! One TCP connection to one endpoint.

use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

/// One TCP connection to one endpoint, with what has been read from it and not been used.
///
/// It serves one exchange at a time. It belongs to the endpoint it was made for, its [`Home`], never
/// to an address: it can be given back to that endpoint only.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    home: Option<Weak<dyn Home>>,
    address: SocketAddr,
    /// Read and not yet used. Its memory is taken over by body frames and reclaimed after them.
    buffer: BytesMut,
    /// The memory in which heads are written, kept from exchange to exchange.
    out: Vec<u8>,
    exchanges: u32,
    /// Whether it serves one client alone from now on.
    bound: bool,
    /// Whether the memory behind `buffer` has grown beyond what an idle connection may keep.
    grown: bool,
}

/// What a connection is made for, and what keeps it while no request uses it: an endpoint.
pub(crate) trait Home: fmt::Debug {
    /// Where connections are made to.
    fn address(&self) -> SocketAddr;

    /// Keeps a connection for the next request, or closes it. `now` is in ticks.
    fn keep(&self, returned: Returned, now: u64);
}

/// A connection that has been given back to its home. Only [`Connection::give_back`] makes one, so
/// that a home cannot be made to keep a connection of another.
#[derive(Debug)]
pub(crate) struct Returned(Box<Connection>);

impl Returned {
    /// The connection, for the next request.
    pub(crate) fn into_connection(self) -> Box<Connection> {
        self.0
    }

    /// [`Connection::is_reusable`].
    pub(crate) fn is_reusable(&mut self) -> bool {
        self.0.is_reusable()
    }
}

impl Connection {
    /// Connects to the address of `home`, which the connection then belongs to. The caller owns the
    /// deadline.
    ///
    /// # Errors
    ///
    /// Those of `connect(2)`; nothing has been sent then.
    pub(crate) async fn connect_for<H: Home + 'static>(home: &Rc<H>) -> io::Result<Box<Self>> {
        let mut connection = Self::connect(home.address()).await?;
        let home: Weak<H> = Rc::downgrade(home);
        connection.home = Some(home);
        Ok(connection)
    }

    /// Binds the connection to the client that it serves: it is authenticated now.
    pub(super) fn bind(&mut self) {
        self.bound = true;
    }

    /// Whether it serves one client alone.
    pub(crate) fn is_bound(&self) -> bool {
        self.bound
    }

    /// Gives the connection back to its home for the next request of anybody; without one, or bound
    /// to a client, it closes.
    pub(crate) fn give_back(self: Box<Self>, now: u64) {
        if self.bound {
            return;
        }
        if let Some(home) = self.home.as_ref().and_then(Weak::upgrade) {
            home.keep(Returned(self), now);
        }
    }

    /// Connects to `address`, for one use only, without Nagle's delay. The caller owns the deadline.
    ///
    /// # Errors
    ///
    /// Those of `connect(2)`; nothing has been sent then.
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Box<Self>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(Self {
            stream,
            home: None,
            address,
            buffer: BytesMut::new(),
            out: Vec::new(),
            exchanges: 0,
            bound: false,
            grown: false,
        }))
    }

    /// Whether a new request may be sent: false once a byte, FIN or RST has come in unasked.
    ///
    /// Costs a system call only when the reactor has reported something.
    #[must_use]
    pub(crate) fn is_reusable(&mut self) -> bool {
        let mut byte = [0];
        self.buffer.is_empty()
            && matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Asks the socket itself whether nothing has come in, not the last report of the reactor.
    pub(super) fn is_silent(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = SockRef::from(&self.stream).peek(&mut byte);
        matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The address that it was made to.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests that have been begun on this connection.
    #[must_use]
    pub(crate) fn exchanges(&self) -> u32 {
        self.exchanges
    }

    /// Counts a new exchange and lends the memory for its head.
    pub(super) fn begin(&mut self) -> Vec<u8> {
        self.exchanges = self.exchanges.saturating_add(1);
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        out
    }

    /// Takes the lent memory back.
    pub(super) fn keep(&mut self, out: Vec<u8>) {
        if out.capacity() <= KEEP_OUT {
            self.out = out;
        }
    }

    /// Lets go of what an idle connection does not need.
    pub(super) fn rest(&mut self) {
        if std::mem::take(&mut self.grown) {
            self.buffer = BytesMut::new();
        }
    }

    /// What has been read and not been used.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Reads once into the buffer, at most about `want` bytes; 0 is the end of the stream.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        want: usize,
    ) -> Poll<io::Result<usize>> {
        self.grown |= want > KEEP_BUFFER;
        self.buffer.reserve(want);
        // A future without state: made anew at every poll, it loses nothing.
        pin!(self.stream.read_buf(&mut self.buffer)).poll(cx)
    }

    /// Writes `bytes` as far as the kernel takes them now; 0 if it takes nothing.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.stream.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            written => written,
        }
    }

    /// Writes some of `slices`; one slice goes by `send(2)`, which is cheaper than `writev(2)`.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        match slices {
            [slice] => stream.poll_write(cx, slice),
            slices => stream.poll_write_vectored(cx, slices),
        }
    }

    /// The bare stream, and what has been read from it already.
    pub(crate) fn into_stream(self) -> (TcpStream, BytesMut) {
        (self.stream, self.buffer)
    }

    /// Has the kernel ask an idle peer whether it is still there: a tunnel has no deadline of ours.
    pub(crate) fn keep_alive(&self) {
        if let Err(error) = SockRef::from(&self.stream).set_tcp_keepalive(&keepalive()) {
            tracing::debug!(%error, "an idle tunnel will not notice a peer that is gone");
        }
    }
}

/// A peer that says nothing is asked after a minute, and given up two minutes later.
pub(crate) fn keepalive() -> TcpKeepalive {
    let minute = Duration::from_secs(60);
    TcpKeepalive::new().with_time(minute).with_interval(minute / 4).with_retries(8)
}

/// Read memory that an idle connection may keep, in bytes.
const KEEP_BUFFER: usize = 16 * 1024;
/// Write memory that a connection may keep, in bytes.
const KEEP_OUT: usize = 16 * 1024;
