//! The body of a response, on its way to the client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::send::Sender;
use crate::message::decoder::{Decoder, Framing, Piece};
use crate::message::headers;
use crate::upstream::connection::Connection;
use crate::upstream::reply::Failure;

/// The body of a response, read as fast as the client takes it and no faster.
///
/// It ends cleanly only where the message said it would; a connection that closes or breaks before
/// that is an error, so that the client's message is cut off too (RFC 9112 §8). After an error
/// it has ended.
///
/// If the answer began before the request had been sent, the rest of the request's body goes out
/// while this one is polled, and behind its end: see [`ResponseBody::poll_upload`].
#[derive(Debug)]
pub(crate) struct ResponseBody<B> {
    /// Gone after an error, and when the body has ended and the connection is of no more use.
    connection: Option<Box<Connection>>,
    decoder: Decoder,
    framing: Framing,
    trailers: bool,
    keep_alive: bool,
    upload: Option<Box<Upload<B>>>,
    /// Bytes of the request's body that `upload` has taken, not yet reported.
    uploaded: u64,
    /// What is read at once where the length is unknown, in bytes: it follows the reads.
    appetite: usize,
}

/// The rest of a request that is answered already.
#[derive(Debug)]
pub(super) struct Upload<B> {
    pub(super) sender: Sender,
    pub(super) body: Option<B>,
}

impl<B: Body<Data = Bytes> + Unpin> Upload<B> {
    /// Takes the body from the client and drops it.
    fn poll_drop(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure<B::Error>>> {
        while let Some(body) = &mut self.body {
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(Failure::Downstream(error))),
                None => self.body = None,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn new(
        connection: Box<Connection>,
        framing: Framing,
        trailers: bool,
        keep_alive: bool,
        upload: Option<Box<Upload<B>>>,
    ) -> Self {
        let mut body = Self {
            connection: Some(connection),
            decoder: Decoder::new(framing),
            framing,
            trailers,
            keep_alive,
            upload,
            uploaded: 0,
            appetite: MIN_READ,
        };
        body.settle();
        body
    }

    /// Whether nobody knows yet where the body ends: it may be a stream. A body that is not open-ended
    /// has an exact [size hint](Body::size_hint), which shrinks as it is read.
    #[must_use]
    pub(crate) fn is_open_ended(&self) -> bool {
        matches!(self.framing, Framing::Chunked | Framing::UntilClose)
    }

    /// The connection, once the body has come to its clean end and if another request may be sent:
    /// both sides keep it alive, the request went out whole, and nothing unasked has come behind.
    pub(crate) fn take_connection(&mut self) -> Option<Box<Connection>> {
        if !self.decoder.is_done() || self.upload.is_some() {
            return None;
        }
        self.connection.take()
    }

    /// Whether the connection serves one client alone from now on.
    pub(crate) fn is_bound(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.is_bound())
    }

    /// Whether the rest of the request is still to be sent.
    pub(crate) fn is_uploading(&self) -> bool {
        self.upload.is_some()
    }

    /// Bytes of the request's body that went out behind the head of this answer and were not taken
    /// account of yet.
    pub(crate) fn uploaded(&self) -> u64 {
        self.uploaded
    }

    /// Bytes of the request's body that went out behind the head of this answer, since the last call.
    pub(crate) fn take_uploaded(&mut self) -> u64 {
        std::mem::take(&mut self.uploaded)
    }

    /// Closes the connection at the end of the body, unless it can be used again or the request is
    /// still being sent on it.
    fn settle(&mut self) {
        if !self.decoder.is_done() || self.upload.is_some() {
            return;
        }
        let keep_alive = self.keep_alive;
        self.connection.take_if(|connection| !keep_alive || !connection.buffer().is_empty());
        if let Some(connection) = &mut self.connection {
            connection.rest();
        }
    }

    /// Ends the body here.
    fn abandon(&mut self) {
        self.connection = None;
        self.upload = None;
        self.decoder = Decoder::new(Framing::Empty);
    }
}

impl<B: Body<Data = Bytes> + Unpin> ResponseBody<B> {
    /// Sends the rest of the request; ready once there is nothing left to send.
    ///
    /// An upstream that takes no more gets no more, and its connection is not used again; the body
    /// is taken from the client all the same, who was promised that another request may follow.
    ///
    /// # Errors
    /// The client broke off its body.
    pub(crate) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), B::Error>> {
        let Some(upload) = &mut self.upload else {
            return Poll::Ready(Ok(()));
        };
        let sent = match &mut self.connection {
            Some(connection) => {
                let before = upload.sender.taken();
                let sent = upload.sender.poll(cx, connection, &mut upload.body);
                self.uploaded += upload.sender.taken() - before;
                if upload.sender.is_broken() { upload.poll_drop(cx) } else { sent }
            }
            None => upload.poll_drop(cx),
        };
        let sent = ready!(sent);
        self.keep_alive &= upload.sender.is_sent();
        self.upload = None;
        self.settle();
        match sent {
            Err(Failure::Downstream(error)) => Poll::Ready(Err(error)),
            Ok(()) | Err(_) => Poll::Ready(Ok(())),
        }
    }

    /// The next piece that is for the client.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Failure<B::Error>>> {
        if let Poll::Ready(Err(error)) = self.poll_upload(cx) {
            return Poll::Ready(Err(Failure::Downstream(error)));
        }
        loop {
            let Some(connection) = &mut self.connection else {
                return Poll::Ready(Ok(Piece::End));
            };
            match self.decoder.decode(connection.buffer())? {
                Piece::Trailers(mut trailers) if self.trailers => {
                    headers::retain_safe_trailers(&mut trailers);
                    return Poll::Ready(Ok(Piece::Trailers(trailers)));
                }
                Piece::Trailers(_) => {}
                piece @ (Piece::Data(_) | Piece::End) => return Poll::Ready(Ok(piece)),
                Piece::More => {
                    let want = match self.decoder.remaining() {
                        Some(left) => usize::try_from(left).unwrap_or(READ).clamp(MIN_READ, READ),
                        None => self.appetite,
                    };
                    match ready!(connection.poll_fill(cx, want)) {
                        Ok(0) if self.decoder.may_end_here() => {
                            self.abandon();
                            return Poll::Ready(Ok(Piece::End));
                        }
                        Ok(0) => {
                            let truncated = io::ErrorKind::UnexpectedEof.into();
                            return Poll::Ready(Err(Failure::Io(truncated)));
                        }
                        Ok(read) if read >= want => self.appetite = READ,
                        Ok(read) if read < MIN_READ => self.appetite = MIN_READ,
                        Ok(_) => {}
                        Err(error) => return Poll::Ready(Err(Failure::Io(error))),
                    }
                }
            }
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = Failure<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = ready!(self.poll_piece(cx));
        self.settle();
        Poll::Ready(match piece {
            Ok(Piece::Data(data)) => Some(Ok(Frame::data(data))),
            Ok(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(Piece::End | Piece::More) => None,
            Err(failure) => {
                self.abandon();
                Some(Err(failure))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.decoder.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder.remaining().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// What is read at once, in bytes: more gains nothing, less costs (measured with 1 MiB bodies).
const READ: usize = 64 * 1024;
/// What is read at least, in bytes: enough for an event of a stream, and for surplus to show.
const MIN_READ: usize = 4 * 1024;
