//! The answer to a probe as it comes in: its status, and where it ends. Pure.

use httparse::{EMPTY_HEADER, Header, Response, Status};

/// Why what came is no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum ReplyError {
    /// Its body is not framed as HTTP frames one.
    #[error("HTTP {status}, then {source}")]
    Body {
        /// Its status.
        status: u16,
        /// What is wrong.
        source: BodyError,
    },
    /// The connection ended before its head did.
    #[error("connection closed before message completed")]
    Closed,
    /// Its head does not end.
    #[error("its head is too large")]
    LargeHead,
    /// Something else than HTTP/1.
    #[error("not an answer in HTTP/1: {0}")]
    NotHttp(#[from] httparse::Error),
}

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum BodyError {
    /// A chunk that is larger than any memory.
    #[error("a chunk of any size")]
    ChunkSize,
    /// The connection ended before it did.
    #[error("the connection was closed before its end")]
    Closed,
    /// A length that is no number.
    #[error("a content length that is none")]
    Length,
    /// Two lengths that differ.
    #[error("two content lengths")]
    Lengths,
    /// No number where a chunk begins.
    #[error("a chunk without a size")]
    NoChunkSize,
    /// Trailers that are no fields.
    #[error("trailers that are none")]
    Trailers,
}

/// A whole answer, or as much of it as is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Reply {
    /// Its status.
    pub status: u16,
    /// Whether the app takes another request behind it (RFC 9112 §9.3).
    pub reusable: bool,
}

impl Reply {
    /// Reads what has come so far of the answer to a request; `None` where more is to come. `ended`
    /// is whether the connection has, `head` whether it was a `HEAD`.
    ///
    /// # Errors
    /// Where it is no HTTP, or ends too early.
    pub(super) fn read(
        received: &[u8],
        ended: bool,
        head: bool,
    ) -> Result<Option<Self>, ReplyError> {
        let mut rest = received;
        loop {
            let mut fields = [EMPTY_HEADER; MAX_FIELDS];
            let mut response = Response::new(&mut fields);
            let length = match response.parse(rest)? {
                Status::Complete(length) => length,
                Status::Partial if ended => return Err(ReplyError::Closed),
                Status::Partial if rest.len() > MAX_HEAD_BYTES => {
                    return Err(ReplyError::LargeHead);
                }
                Status::Partial => return Ok(None),
            };
            let (status, body) =
                (response.code.unwrap_or_default(), rest.get(length..).unwrap_or_default());
            // An interim answer: the one that counts follows (RFC 9110 §15.2).
            if (100..200).contains(&status) && status != 101 {
                rest = body;
                continue;
            }
            let reply = Framing::of(&response, head).and_then(|framing| framing.end(body, ended));
            return match reply {
                Ok(End::At { reusable }) => Ok(Some(Self { status, reusable })),
                Ok(End::Open) if body.len() <= MAX_BODY_BYTES => Ok(None),
                // What lies beyond the limit is not our question.
                Ok(End::Open) => Ok(Some(Self { status, reusable: false })),
                Err(source) => Err(ReplyError::Body { status, source }),
            };
        }
    }
}

/// How the end of a body is marked, and whether another answer may follow it.
struct Framing {
    body: Body,
    keep_alive: bool,
}

/// The marks of RFC 9112 §6.3.
enum Body {
    Chunked,
    Length(u64),
    UntilClose,
}

/// Whether a body has ended.
enum End {
    At { reusable: bool },
    Open,
}

impl Framing {
    fn of(response: &Response<'_, '_>, head: bool) -> Result<Self, BodyError> {
        let http10 = response.version == Some(0);
        let (mut length, mut coded, mut chunked) = (None, false, false);
        let (mut close, mut keep_alive) = (false, !http10);
        for Header { name, value } in response.headers.iter() {
            if name.eq_ignore_ascii_case("content-length") {
                let own =
                    std::str::from_utf8(value).ok().and_then(|digits| digits.trim().parse().ok());
                let own: u64 = own.ok_or(BodyError::Length)?;
                if length.replace(own).is_some_and(|other| other != own) {
                    return Err(BodyError::Lengths);
                }
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                coded = true;
                chunked = tokens(value).next_back().is_some_and(|last| is(last, "chunked"));
            } else if name.eq_ignore_ascii_case("connection") {
                close |= tokens(value).any(|option| is(option, "close"));
                keep_alive |= tokens(value).any(|option| is(option, "keep-alive"));
            }
        }
        let body = match length {
            _ if head || matches!(response.code, Some(204 | 304)) => Body::Length(0),
            _ if response.code == Some(101) => Body::UntilClose,
            _ if chunked => Body::Chunked,
            Some(length) if !coded => Body::Length(length),
            _ => Body::UntilClose,
        };
        Ok(Self { body, keep_alive: keep_alive && !close })
    }

    fn end(&self, body: &[u8], ended: bool) -> Result<End, BodyError> {
        let length = match self.body {
            // What another protocol says is not ours to read.
            Body::UntilClose if ended => return Ok(End::At { reusable: false }),
            Body::UntilClose => None,
            Body::Length(length) => usize::try_from(length).ok().filter(|at| body.len() >= *at),
            Body::Chunked => chunks(body)?,
        };
        match length {
            // What comes behind it nobody has asked for.
            Some(at) => Ok(End::At { reusable: self.keep_alive && !ended && body.len() == at }),
            None if ended => Err(BodyError::Closed),
            None => Ok(End::Open),
        }
    }
}

/// Where the last chunk and its trailers end (RFC 9112 §7.1); `None` where they have not come yet.
fn chunks(body: &[u8]) -> Result<Option<usize>, BodyError> {
    let mut at = 0;
    while let Some(rest) = body.get(at..) {
        let Status::Complete((line, size)) =
            httparse::parse_chunk_size(rest).map_err(|_| BodyError::NoChunkSize)?
        else {
            return Ok(None);
        };
        at += line;
        if size == 0 {
            let mut trailers = [EMPTY_HEADER; MAX_FIELDS];
            let parsed = httparse::parse_headers(body.get(at..).unwrap_or_default(), &mut trailers);
            return match parsed.map_err(|_| BodyError::Trailers)? {
                Status::Complete((length, _)) => Ok(Some(at + length)),
                Status::Partial => Ok(None),
            };
        }
        let behind =
            usize::try_from(size).ok().and_then(|size| at.checked_add(size)?.checked_add(2));
        at = behind.ok_or(BodyError::ChunkSize)?;
    }
    Ok(None)
}

/// The members of a list (RFC 9110 §5.6.1).
fn tokens(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn is(token: &[u8], word: &str) -> bool {
    token.eq_ignore_ascii_case(word.as_bytes())
}

/// Fields of a head, and of the trailers.
const MAX_FIELDS: usize = 100;
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Of a body, that much is read.
const MAX_BODY_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// However the bytes are split into reads, the answer is read when its last byte is there.
    fn answer(bytes: &str) -> Result<Reply, ReplyError> {
        let bytes = bytes.as_bytes();
        for at in 0..bytes.len() {
            assert_eq!(Reply::read(&bytes[..at], false, false), Ok(None), "{at}");
        }
        Reply::read(bytes, false, false).map(|reply| reply.expect("it is whole"))
    }

    fn kept(status: u16) -> Result<Reply, ReplyError> {
        Ok(Reply { status, reusable: true })
    }

    fn last(status: u16) -> Result<Reply, ReplyError> {
        Ok(Reply { status, reusable: false })
    }

    #[test]
    fn an_answer_ends_where_its_framing_says() {
        assert_eq!(answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), kept(200));
        assert_eq!(answer("HTTP/1.1 204 No Content\r\n\r\n"), kept(204));
        let chunked = "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nno\n\r\n0\r\nA: b\r\n\r\n";
        assert_eq!(answer(chunked), kept(503));
        let interim = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(answer(interim), kept(200));
    }

    #[test]
    fn who_closes_takes_no_other_question() {
        assert_eq!(
            answer("HTTP/1.1 200 OK\r\nConnection: a, Close\r\nContent-Length: 1\r\n\r\nx"),
            last(200)
        );
        assert_eq!(answer("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx"), last(200));
        let kept_10 = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx";
        assert_eq!(answer(kept_10), kept(200));
        let surplus = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy";
        assert_eq!(Reply::read(surplus, false, false).map(Option::unwrap), last(200));
    }

    #[test]
    fn a_body_without_framing_ends_with_the_connection() {
        let open = b"HTTP/1.0 200 OK\r\n\r\nwhatever";
        assert_eq!(Reply::read(open, false, false), Ok(None));
        assert_eq!(Reply::read(open, true, false).map(Option::unwrap), last(200));
    }

    #[test]
    fn an_answer_to_head_has_no_body_whatever_its_fields_say() {
        let described = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
        assert_eq!(Reply::read(described, false, true).map(Option::unwrap), kept(200));
    }

    #[test]
    fn of_a_body_no_more_is_read_than_is_wanted() {
        let mut large = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n".to_vec();
        large.resize(large.len() + MAX_BODY_BYTES, b'x');
        assert_eq!(Reply::read(&large, false, false), Ok(None));
        large.push(b'x');
        assert_eq!(Reply::read(&large, false, false).map(Option::unwrap), last(200));
    }

    #[test]
    fn what_ends_too_early_or_is_no_http_fails() {
        for (bytes, why) in [
            ("", "connection closed before"),
            ("HTTP/1.1 200 OK\r\n", "connection closed before"),
            ("SSH-2.0-OpenSSH_9.2\r\n", "not an answer in HTTP/1"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", "HTTP 200, then the connection"),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "HTTP 200, then a content length"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                "HTTP 200, then two",
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz", "HTTP 200, then a chunk"),
        ] {
            let error = Reply::read(bytes.as_bytes(), true, false).unwrap_err().to_string();
            assert!(error.starts_with(why), "{bytes:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_what_has_ended_is_decided(
            bytes in proptest::collection::vec(any::<u8>(), 0..256),
            chunked in any::<bool>(),
        ) {
            let mut whole = Vec::new();
            if chunked {
                whole.extend_from_slice(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            }
            whole.extend_from_slice(&bytes);
            prop_assert_ne!(Reply::read(&whole, true, false), Ok(None));
        }
    }
}
