//! The sending half of an exchange.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body;

use crate::message::chunked;
use crate::message::decoder::Framing;
use crate::message::write_buffer::{MAX_SLICES, WriteBuffer};
use crate::upstream::connection::Connection;
use crate::upstream::reply::Failure;

/// Sends a head and the body behind it, as fast as the upstream takes them and no faster.
///
/// Small frames are gathered behind the head and leave with it in one `send(2)`; a big one goes out
/// from its own memory. No more is asked for than there is room for: that is the back-pressure.
#[derive(Debug)]
pub(super) struct Sender {
    out: WriteBuffer,
    /// What of the body is still to be taken from the client.
    framing: Framing,
    stage: Stage,
    written: u64,
    /// Bytes of the client's body that have been taken.
    taken: u64,
    /// The pieces of them, as long as nothing at all has been written.
    pieces: Vec<Bytes>,
    blocked: bool,
}

#[derive(Debug)]
enum Stage {
    /// The head may go, the body may not.
    Held,
    Streaming,
    /// All has been gathered; what is in `out` and `frame` is still to be sent.
    Flushing,
    Sent,
    /// The upstream takes no more.
    Broken(Option<io::Error>),
}

impl Sender {
    pub(super) fn new(head: WriteBuffer, framing: Framing, held: bool) -> Self {
        Self {
            out: head,
            framing,
            stage: match framing {
                Framing::Empty => Stage::Flushing,
                _ if held => Stage::Held,
                _ => Stage::Streaming,
            },
            written: 0,
            taken: 0,
            pieces: Vec::new(),
            blocked: false,
        }
    }

    /// Sends a head without a body at once, if the kernel takes it.
    ///
    /// # Errors
    ///
    /// The connection was closed already: nothing has been sent.
    pub(super) fn send_now(&mut self, connection: &Connection) -> io::Result<()> {
        if let Stage::Flushing = self.stage {
            let written = connection.try_write(self.out.first())?;
            self.advance(written);
        }
        Ok(())
    }

    /// Sends what can be sent; ready once all has been sent.
    ///
    /// A connection that breaks leaves the sender pending for good: the answer that explains it may
    /// already be there to be read.
    pub(super) fn poll<B>(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        body: &mut Option<B>,
    ) -> Poll<Result<(), Failure<B::Error>>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        loop {
            self.gather(cx, body)?;
            if self.out.is_empty() {
                self.blocked = false;
                return match self.stage {
                    Stage::Flushing | Stage::Sent => {
                        self.stage = Stage::Sent;
                        Poll::Ready(Ok(()))
                    }
                    Stage::Broken(_) | Stage::Held | Stage::Streaming => Poll::Pending,
                };
            }
            if let Stage::Broken(_) = self.stage {
                return Poll::Pending;
            }
            match self.poll_write(cx, connection) {
                Poll::Pending => {
                    self.blocked = true;
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) => self.stage = Stage::Broken(None),
                Poll::Ready(Ok(written)) => self.advance(written),
                Poll::Ready(Err(error)) => self.stage = Stage::Broken(Some(error)),
            }
        }
    }

    /// Lets a body go that was kept back.
    pub(super) fn release(&mut self) {
        if let Stage::Held = self.stage {
            self.stage = Stage::Streaming;
        }
    }

    pub(super) fn is_sent(&self) -> bool {
        matches!(self.stage, Stage::Sent)
    }

    /// Whether the upstream takes no more.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self.stage, Stage::Broken(_))
    }

    /// Whether bytes wait for the upstream to read.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Whether the body may be taken further behind an answer that came early: not if it was kept back
    /// for a `100`, since the client may never send it then.
    pub(super) fn can_go_on(&self) -> bool {
        matches!(self.stage, Stage::Broken(_) | Stage::Flushing | Stage::Streaming)
    }

    /// Bytes taken by the kernel, head and framing included.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Bytes of the client's body that have been taken: all on their way to the upstream.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// What has been taken of the body and not been sent, for the next attempt.
    pub(super) fn take_pieces(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.pieces)
    }

    /// Whether bytes of the client's body have been taken.
    pub(super) fn has_consumed(&self) -> bool {
        self.taken > 0
    }

    pub(super) fn take_error(&mut self) -> Option<io::Error> {
        match &mut self.stage {
            Stage::Broken(error) => error.take(),
            Stage::Flushing | Stage::Held | Stage::Sent | Stage::Streaming => None,
        }
    }

    /// Gives the memory of the head back, if it is not needed any more.
    pub(super) fn give_back(&mut self, connection: &mut Connection) {
        if self.is_sent() {
            connection.keep(std::mem::take(&mut self.out).into_memory());
        }
    }

    /// Takes frames from the client as long as they are small and there are any.
    fn gather<B>(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Option<B>,
    ) -> Result<(), Failure<B::Error>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        while matches!(self.stage, Stage::Streaming) && self.out.len() < ROOM {
            let next = match body.as_mut() {
                Some(body) => Pin::new(body).poll_frame(cx),
                None => Poll::Ready(None),
            };
            match next {
                Poll::Pending => break,
                Poll::Ready(None) => self.end()?,
                Poll::Ready(Some(Err(error))) => return Err(Failure::Downstream(error)),
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers of requests go no further: an application that trusts our fields
                    // may read them there too (RFC 9110 §6.5.1).
                    if let Ok(data) = frame.into_data() {
                        self.push(data)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn push<E>(&mut self, data: Bytes) -> Result<(), Failure<E>> {
        if data.is_empty() {
            return Ok(());
        }
        self.taken += data.len() as u64;
        if self.written == 0 {
            self.pieces.push(data.clone());
        }
        match &mut self.framing {
            Framing::Length(left) => {
                let length = data.len() as u64;
                *left = left.checked_sub(length).ok_or_else(wrong_length)?;
                if *left == 0 {
                    self.stage = Stage::Flushing;
                }
            }
            Framing::Chunked => {
                self.out.gather(|out| chunked::write_size(out, data.len()));
                self.out.push(data);
                self.out.gather(|out| out.extend_from_slice(b"\r\n"));
                return Ok(());
            }
            Framing::Empty | Framing::UntilClose => return Err(wrong_length()),
        }
        self.out.push(data);
        Ok(())
    }

    fn end<E>(&mut self) -> Result<(), Failure<E>> {
        match self.framing {
            Framing::Chunked => {
                self.out.gather(|out| out.extend_from_slice(b"0\r\n\r\n"));
            }
            Framing::Empty | Framing::Length(0) => {}
            Framing::Length(_) | Framing::UntilClose => return Err(wrong_length()),
        }
        self.stage = Stage::Flushing;
        Ok(())
    }

    fn poll_write(
        &self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let filled = self.out.slices(&mut slices);
        connection.poll_write(cx, slices.get(..filled).unwrap_or_default())
    }

    fn advance(&mut self, written: usize) {
        self.written += written as u64;
        self.pieces = Vec::new();
        self.out.advance(written);
    }
}

/// The body was not as long as it had said: hyper does not do that, so it is a fault of ours.
fn wrong_length<E>() -> Failure<E> {
    Failure::Io(io::Error::new(
        io::ErrorKind::InvalidInput,
        "the request body does not have the length it announced",
    ))
}

/// No more is asked of the client once that many bytes wait, in bytes.
const ROOM: usize = 64 << 10;
