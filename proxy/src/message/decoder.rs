//! Where a response body ends: a state machine over bytes that knows no socket.

use bytes::{Buf, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};

#[cfg(test)]
mod tests;

/// How the end of a body is marked (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Framing {
    /// There is no body.
    Empty,
    /// That many bytes.
    Length(u64),
    /// Chunks, up to one of size zero.
    Chunked,
    /// Everything up to the end of the connection.
    UntilClose,
}

/// What makes a message malformed, in words for our log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// One piece of a body.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Piece {
    /// Bytes of the body, never none.
    Data(Bytes),
    /// The fields behind the last chunk, if there were any.
    Trailers(HeaderMap),
    /// The body has ended; what is left in the input is not part of it.
    End,
    /// The input is used up.
    More,
}

/// Takes a body out of the bytes of a connection.
///
/// However the bytes are split into reads, the data they decode to is the same.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
}

impl Decoder {
    /// A decoder at the first byte of a body.
    #[must_use]
    pub(crate) fn new(framing: Framing) -> Self {
        Self {
            state: match framing {
                Framing::Empty | Framing::Length(0) => State::Done,
                Framing::Length(left) => State::Length { left },
                Framing::Chunked => State::SIZE,
                Framing::UntilClose => State::UntilClose,
            },
        }
    }

    /// Takes the next piece from the front of `input`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] where the chunked coding breaks RFC 9112 §7.1; the connection is useless then.
    pub(crate) fn decode(&mut self, input: &mut BytesMut) -> Result<Piece, Malformed> {
        let piece = self.next(input);
        if let Err(malformed) = piece {
            // Nobody may go on behind it: what follows would be read in another way.
            self.state = State::Malformed(malformed);
        }
        piece
    }

    fn next(&mut self, input: &mut BytesMut) -> Result<Piece, Malformed> {
        loop {
            match &mut self.state {
                State::Done => return Ok(Piece::End),
                State::Malformed(malformed) => return Err(*malformed),
                State::UntilClose => {
                    return Ok(if input.is_empty() {
                        Piece::More
                    } else {
                        Piece::Data(input.split().freeze())
                    });
                }
                State::Length { left } => {
                    let Some(data) = take(input, left) else {
                        return Ok(Piece::More);
                    };
                    if *left == 0 {
                        self.state = State::Done;
                    }
                    return Ok(Piece::Data(data));
                }
                State::Data { left } => {
                    let Some(data) = take(input, left) else {
                        return Ok(Piece::More);
                    };
                    if *left == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(Piece::Data(data));
                }
                State::Trailers { seen } => {
                    let Some(trailers) = trailers(input, *seen)? else {
                        *seen = input.len();
                        return Ok(Piece::More);
                    };
                    self.state = State::Done;
                    if !trailers.is_empty() {
                        return Ok(Piece::Trailers(trailers));
                    }
                }
                state => {
                    let Some(&byte) = input.first() else {
                        return Ok(Piece::More);
                    };
                    input.advance(1);
                    state.step(byte)?;
                }
            }
        }
    }

    /// Whether the body has ended.
    #[must_use]
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether the end of the connection, here, is the clean end of the body (RFC 9112 §8).
    #[must_use]
    pub(crate) fn may_end_here(&self) -> bool {
        matches!(self.state, State::Done | State::UntilClose)
    }

    /// Bytes that are certain to follow, as far as the framing tells.
    #[must_use]
    pub(crate) fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Done => Some(0),
            State::Length { left } => Some(left),
            _ => None,
        }
    }
}

/// The number in a `Content-Length` (RFC 9110 §8.6): digits and nothing else, up to 64 bits.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &digit| {
        let digit = char::from(digit).to_digit(10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Takes up to `left` bytes, and counts them off; `None` if there is none.
fn take(input: &mut BytesMut, left: &mut u64) -> Option<Bytes> {
    if input.is_empty() {
        return None;
    }
    let length = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
    *left -= length as u64;
    Some(input.split_to(length).freeze())
}

/// Whether a section of fields may end in `bytes`, of which the first `seen` have been looked at: its
/// end is an empty line, whose first line end may be among them.
pub(crate) fn has_section_end(bytes: &[u8], seen: usize) -> bool {
    let fresh = bytes.get(seen.saturating_sub(2)..).unwrap_or_default();
    memchr::memchr_iter(b'\n', fresh)
        .any(|at| matches!(fresh.get(at + 1..), Some([b'\n', ..] | [b'\r', b'\n', ..])))
}

/// Takes the trailer section and the empty line behind it (RFC 9112 §7.1.2); `None` if it is not
/// all here. It is parsed when it has its end, however many reads it takes.
fn trailers(input: &mut BytesMut, seen: usize) -> Result<Option<HeaderMap>, Malformed> {
    match input.as_ref() {
        [] | [b'\r'] => return Ok(None),
        [b'\r', b'\n', ..] => {
            input.advance(2);
            return Ok(Some(HeaderMap::new()));
        }
        _ if input.len() < MAX_TRAILER_BYTES && !has_section_end(input, seen) => return Ok(None),
        _ => {}
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILERS];
    let (length, fields) = match httparse::parse_headers(input, &mut fields) {
        Ok(httparse::Status::Complete(parsed)) => parsed,
        Ok(httparse::Status::Partial) if input.len() < MAX_TRAILER_BYTES => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Malformed("trailers too large"));
        }
        Err(_) => return Err(Malformed("trailer field")),
    };
    let section = input.get(..length).unwrap_or_default();
    if length > MAX_TRAILER_BYTES || has_bare_lf(section) {
        return Err(Malformed("trailer section"));
    }
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Malformed("trailer field"));
        };
        trailers.append(name, value);
    }
    input.advance(length);
    Ok(Some(trailers))
}

fn has_bare_lf(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes)
        .any(|at| at.checked_sub(1).and_then(|before| bytes.get(before)) != Some(&b'\r'))
}

#[derive(Debug)]
enum State {
    Length {
        left: u64,
    },
    UntilClose,
    /// In the digits of a chunk's size.
    Size {
        value: u64,
        digits: u8,
    },
    /// Between the size and what may follow it: extensions or the end of the line.
    Padding {
        value: u64,
        length: u16,
    },
    /// In the extensions of a chunk, which nobody is told about.
    Extension {
        value: u64,
        length: u16,
    },
    /// The size line has had its CR.
    SizeLf {
        value: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    Trailers {
        /// Bytes of the section that hold no end of it.
        seen: usize,
    },
    Done,
    Malformed(Malformed),
}

impl State {
    const SIZE: Self = Self::Size { value: 0, digits: 0 };

    /// Takes one byte of the framing between two pieces of data (RFC 9112 §7.1).
    fn step(&mut self, byte: u8) -> Result<(), Malformed> {
        *self = match (&*self, byte) {
            (&Self::Size { value, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == MAX_SIZE_DIGITS {
                    return Err(Malformed("chunk size too long"));
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                Self::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Self::Size { digits: 0, .. }, _) => return Err(Malformed("chunk size")),
            (
                &Self::Size { value, .. }
                | &Self::Padding { value, .. }
                | &Self::Extension { value, .. },
                b'\r',
            ) => Self::SizeLf { value },
            // Old servers pad the size with spaces; we frame anew, so nobody can be misled.
            (&Self::Size { value, .. }, b' ' | b'\t') => Self::Padding { value, length: 1 },
            (&Self::Padding { value, length }, b' ' | b'\t') if length < MAX_EXTENSION => {
                Self::Padding { value, length: length + 1 }
            }
            (&Self::Size { value, .. } | &Self::Padding { value, .. }, b';') => {
                Self::Extension { value, length: 0 }
            }
            (Self::Size { .. } | Self::Padding { .. }, _) => return Err(Malformed("chunk size")),
            (&Self::Extension { value, length }, b'\t' | b' '..=b'~' | 0x80..)
                if length < MAX_EXTENSION =>
            {
                Self::Extension { value, length: length + 1 }
            }
            (Self::Extension { .. }, _) => return Err(Malformed("chunk extension")),
            (Self::SizeLf { value: 0 }, b'\n') => Self::Trailers { seen: 0 },
            (&Self::SizeLf { value }, b'\n') => Self::Data { left: value },
            (Self::SizeLf { .. }, _) => return Err(Malformed("bare CR behind a chunk size")),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::SIZE,
            (
                Self::DataCr
                | Self::DataLf
                | Self::Data { .. }
                | Self::Done
                | Self::Length { .. }
                | Self::Malformed(_)
                | Self::Trailers { .. }
                | Self::UntilClose,
                _,
            ) => return Err(Malformed("chunk data without its CRLF")),
        };
        Ok(())
    }
}

/// Hex digits of a chunk size: all that fits into 64 bits.
const MAX_SIZE_DIGITS: u8 = 16;
/// Bytes of one chunk's extensions.
const MAX_EXTENSION: u16 = 4096;
/// Fields behind the last chunk.
const MAX_TRAILERS: usize = 64;
/// Bytes of the trailer section.
const MAX_TRAILER_BYTES: usize = 16 * 1024;
