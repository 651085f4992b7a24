//! A connection that is awake: its socket, what has been read from it, what waits to be written.

use std::cell::{Cell, Ref, RefCell};
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use super::delivery::Delivery;
use super::head::{Head, HeadParser};
use crate::downstream::client::Client;
use crate::downstream::socket::Socket;
use crate::exchange::request_body::{BoxError, Source};
use crate::message::decoder::{Decoder, Framing, Malformed, Piece};
use crate::message::reason::Reason;
use crate::message::write_buffer::{MAX_SLICES, WriteBuffer};

/// What the connection, the body of its request and the place for interim answers share.
///
/// Nobody holds a borrow of a part across a poll.
#[derive(Debug)]
pub(crate) struct Transport {
    client: Rc<Client>,
    pub(super) socket: Socket,
    input: RefCell<Input>,
    output: RefCell<WriteBuffer>,
    pub(super) delivery: Delivery,
    /// Whether the client waits for a `100` before it sends its body.
    owes_continue: Cell<bool>,
}

#[derive(Debug)]
struct Input {
    /// Read and not yet used.
    buffer: BytesMut,
    parser: HeadParser,
    /// Where the body of the present request ends.
    decoder: Decoder,
    /// Whether the client has said that it sends no more.
    is_closed: bool,
    /// What is read at once, in bytes: it follows the reads.
    appetite: usize,
}

/// Why the body of a request will not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Incomplete {
    /// The connection ended inside it.
    #[error("the connection ended inside the request body")]
    Closed,
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// It breaks the rules of its framing.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl Transport {
    /// A connection that wakes; `first` was read before.
    pub(crate) fn new(client: &Rc<Client>, socket: Socket, first: BytesMut) -> Rc<Self> {
        let input = Input {
            buffer: first,
            parser: HeadParser::default(),
            decoder: Decoder::new(Framing::Empty),
            is_closed: false,
            appetite: MIN_READ,
        };
        Rc::new(Self {
            client: Rc::clone(client),
            socket,
            input: RefCell::new(input),
            output: RefCell::default(),
            delivery: Delivery::default(),
            owes_continue: Cell::new(false),
        })
    }

    /// The socket, and what has been read and not been used.
    pub(crate) fn into_parts(self) -> (Socket, BytesMut) {
        (self.socket, self.input.into_inner().buffer)
    }

    /// Whether some bytes of the next head have come.
    pub(crate) fn has_begun(&self) -> bool {
        let input = self.input.borrow();
        input.parser.has_begun(&input.buffer)
    }

    /// The next head; `None` at the end of the connection, an error too.
    pub(crate) fn poll_head(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Head>, Reason>> {
        let mut input = self.input.borrow_mut();
        let input = &mut *input;
        loop {
            if !input.buffer.is_empty()
                && let Some(head) = input.parser.parse(&mut input.buffer, &self.client.limits())?
            {
                input.decoder = Decoder::new(head.framing);
                return Poll::Ready(Ok(Some(head)));
            }
            if input.is_closed {
                return Poll::Ready(Ok(None));
            }
            match ready!(input.poll_fill(cx, &self.socket, MIN_READ)) {
                Ok(0) => input.is_closed = true,
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "a connection broke between two requests");
                    return Poll::Ready(Ok(None));
                }
            }
        }
    }

    /// The next piece of the body; trailers are dropped.
    fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Incomplete>>> {
        let mut input = self.input.borrow_mut();
        let input = &mut *input;
        loop {
            match input.decoder.decode(&mut input.buffer) {
                Ok(Piece::Data(data)) => return Poll::Ready(Some(Ok(data))),
                Ok(Piece::End) => return Poll::Ready(None),
                Ok(Piece::Trailers(_)) => {}
                Ok(Piece::More) if input.is_closed => {
                    return Poll::Ready(Some(Err(Incomplete::Closed)));
                }
                Ok(Piece::More) => {
                    if self.owes_continue.take() {
                        self.output.borrow_mut().gather(|out| out.extend_from_slice(CONTINUE));
                    }
                    match ready!(input.poll_fill(cx, &self.socket, input.wanted())) {
                        Ok(0) => input.is_closed = true,
                        Ok(_) => {}
                        Err(error) => return Poll::Ready(Some(Err(error.into()))),
                    }
                }
                Err(malformed) => return Poll::Ready(Some(Err(malformed.into()))),
            }
        }
    }

    /// Drops what is here of a body that nobody reads. Returns whether that was the rest of it.
    pub(crate) fn skip_body(&self) -> bool {
        let mut input = self.input.borrow_mut();
        let input = &mut *input;
        while let Ok(Piece::Data(_) | Piece::Trailers(_)) = input.decoder.decode(&mut input.buffer)
        {
        }
        input.decoder.is_done()
    }

    /// Reads what the client sends ahead of its turn, as far as there is room: an end or a reset
    /// shows behind it only.
    ///
    /// # Errors
    /// The connection broke.
    pub(crate) fn read_ahead(&self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut input = self.input.borrow_mut();
        let input = &mut *input;
        while !input.is_closed && input.decoder.is_done() && input.buffer.len() < MAX_AHEAD {
            match input.poll_fill(cx, &self.socket, MIN_READ) {
                Poll::Ready(Ok(0)) => input.is_closed = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(()),
            }
        }
        Ok(())
    }

    /// Whether an end or a reset of the connection would wake nobody: what was sent ahead is not read.
    pub(crate) fn is_blind(&self) -> bool {
        let input = self.input.borrow();
        input.is_closed || !input.decoder.is_done() || input.buffer.len() >= MAX_AHEAD
    }

    /// The client waits for a `100`, which goes out when the body is asked for.
    pub(crate) fn expect_continue(&self, expects: bool) {
        self.owes_continue.set(expects);
    }

    /// Sends an interim answer (RFC 9110 §15.2) ahead of the final one, unless too much waits.
    pub(crate) fn interim(&self, status: StatusCode, headers: &HeaderMap) {
        let mut output = self.output.borrow_mut();
        if output.len() > MAX_INTERIM_BYTES {
            return;
        }
        output.gather(|out| {
            super::encoder::write_status(out, http::Version::HTTP_11, status, None);
            super::encoder::write_fields(out, headers);
            out.extend_from_slice(b"\r\n");
        });
    }

    /// Bytes that wait to be written.
    pub(crate) fn output(&self) -> Ref<'_, WriteBuffer> {
        self.output.borrow()
    }

    /// Appends to what waits to be written.
    pub(crate) fn write<R>(&self, with: impl FnOnce(&mut WriteBuffer) -> R) -> R {
        with(&mut self.output.borrow_mut())
    }

    /// Writes once. Returns what the socket took; 0 when nothing waits.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut output = self.output.borrow_mut();
        if output.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let filled = output.slices(&mut slices);
        let written = self.socket.poll_write(cx, slices.get(..filled).unwrap_or_default());
        let now = self.client.worker.timers.now();
        match written {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(written)) => {
                self.delivery.take(now, written, &self.client.limits());
                output.advance(written);
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.delivery.block(now);
                Poll::Pending
            }
        }
    }

    /// Writes all that waits.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while ready!(self.poll_write(cx))? > 0 {}
        Poll::Ready(Ok(()))
    }

    /// The answer has been written; what is kept for the next one is bounded.
    pub(crate) fn end_delivery(&self) {
        self.delivery.end();
        self.output.borrow_mut().trim();
    }
}

impl Source for Transport {
    fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        self.poll_piece(cx).map(|piece| piece.map(|data| data.map_err(BoxError::from)))
    }

    fn remaining(&self) -> Option<u64> {
        self.input.borrow().decoder.remaining()
    }

    fn is_read(&self) -> bool {
        self.input.borrow().decoder.is_done()
    }
}

impl Input {
    /// Reads once, at least `want` bytes where they are there.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        socket: &Socket,
        want: usize,
    ) -> Poll<io::Result<usize>> {
        let want = want.max(self.appetite);
        let read = ready!(socket.poll_fill(cx, &mut self.buffer, want))?;
        if read >= want {
            self.appetite = (want * 4).min(MAX_READ);
        } else if read < self.appetite / 4 {
            self.appetite = (self.appetite / 2).max(MIN_READ);
        }
        Poll::Ready(Ok(read))
    }

    /// What the body still wants, in bytes.
    fn wanted(&self) -> usize {
        let left = self.decoder.remaining().map(usize::try_from);
        left.map_or(MIN_READ, |left| left.unwrap_or(MAX_READ)).clamp(MIN_READ, MAX_READ)
    }
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// What is read at least, in bytes: most heads are shorter.
const MIN_READ: usize = 4 << 10;
/// What is read at most, in bytes: a head and a body of 64 KiB behind it.
const MAX_READ: usize = 80 << 10;
/// What is read ahead of its turn, in bytes.
const MAX_AHEAD: usize = 32 << 10;
/// Interim answers that may wait, in bytes.
const MAX_INTERIM_BYTES: usize = 64 << 10;
