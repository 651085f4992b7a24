//! The head of an answer as it goes to the client, and the framing of its body (RFC 9112 §4 to §7).

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, DATE, HeaderMap};
use http::{Method, StatusCode, Version, response};
use http_body::Body;

use crate::message::chunked;
use crate::message::decoder::Framing;
use crate::message::headers;
use crate::message::reason_phrase::ReasonPhrase;
use crate::message::write_buffer::WriteBuffer;

/// What the framing of an answer depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// It was a `HEAD`: there is no body, whatever the fields say.
    pub(crate) head: bool,
    pub(crate) version: Version,
    /// Whether the client may send another request; `close` is said otherwise.
    pub(crate) keep_alive: bool,
}

impl Asked {
    /// What a request asks for.
    pub(crate) fn new(method: &Method, version: Version, keep_alive: bool) -> Self {
        Self { head: method == Method::HEAD, version, keep_alive }
    }
}

/// Frames the body of one answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoder(Framing);

impl Encoder {
    /// Writes the head of an answer, and returns what frames its body.
    pub(crate) fn begin(
        out: &mut Vec<u8>,
        head: &response::Parts,
        body: &impl Body,
        asked: Asked,
        date: &[u8],
    ) -> Self {
        let length = body.size_hint().exact();
        let framing = framing(head.status, length, body.is_end_stream(), asked);
        write_status(out, asked.version, head.status, head.extensions.get::<ReasonPhrase>());
        write_fields(out, &head.headers);
        if !head.headers.contains_key(DATE) {
            // RFC 9110 §6.6.1: whoever forwards an answer without one says when it came.
            out.extend_from_slice(b"date: ");
            out.extend_from_slice(date);
            out.extend_from_slice(b"\r\n");
        }
        match framing {
            Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            Framing::Length(length) => write_length(out, length),
            Framing::Empty if says_length(head, length, asked) => {
                write_length(out, length.unwrap_or(0));
            }
            Framing::Empty | Framing::UntilClose => {}
        }
        let closes = !asked.keep_alive || matches!(framing, Framing::UntilClose);
        match (closes, asked.version == Version::HTTP_11) {
            (true, _) if headers::says_close(&head.headers) => {}
            (true, _) => out.extend_from_slice(b"connection: close\r\n"),
            (false, false) => out.extend_from_slice(b"connection: keep-alive\r\n"),
            (false, true) => {}
        }
        out.extend_from_slice(b"\r\n");
        Self(framing)
    }

    /// Whether only the end of the connection is the end of the body.
    pub(crate) fn ends_with_connection(self) -> bool {
        matches!(self.0, Framing::UntilClose)
    }

    /// Whether there is a body to send.
    pub(crate) fn has_body(self) -> bool {
        !matches!(self.0, Framing::Empty)
    }

    /// Appends a piece of the body.
    pub(crate) fn data(self, out: &mut WriteBuffer, data: Bytes) {
        if let Framing::Chunked = self.0 {
            if data.is_empty() {
                return; // it would be the last chunk
            }
            out.gather(|out| chunked::write_size(out, data.len()));
            out.push(data);
            out.gather(|out| out.extend_from_slice(b"\r\n"));
        } else {
            out.push(data);
        }
    }

    /// Appends the end of the body.
    pub(crate) fn end(self, out: &mut WriteBuffer, trailers: Option<&HeaderMap>) {
        if let Framing::Chunked = self.0 {
            out.gather(|out| {
                out.extend_from_slice(b"0\r\n");
                if let Some(trailers) = trailers {
                    write_fields(out, trailers);
                }
                out.extend_from_slice(b"\r\n");
            });
        }
    }
}

/// RFC 9112 §6: how the end of a body is marked.
fn framing(status: StatusCode, length: Option<u64>, is_over: bool, asked: Asked) -> Framing {
    if asked.head || is_bodiless(status) {
        return Framing::Empty;
    }
    match length {
        Some(0) => Framing::Empty,
        None if is_over => Framing::Empty,
        Some(length) => Framing::Length(length),
        None if asked.version == Version::HTTP_11 => Framing::Chunked,
        None => Framing::UntilClose,
    }
}

fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Whether an answer without a body says how long one is (RFC 9110 §8.6). What an app would have sent
/// had it not been a HEAD is known to the app alone; it has said so in its fields, or not.
fn says_length(head: &response::Parts, length: Option<u64>, asked: Asked) -> bool {
    let is_known = !asked.head || length.is_some_and(|length| length > 0);
    is_known && !is_bodiless(head.status) && !head.headers.contains_key(CONTENT_LENGTH)
}

fn write_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes a status line.
pub(crate) fn write_status(
    out: &mut Vec<u8>,
    version: Version,
    status: StatusCode,
    phrase: Option<&ReasonPhrase>,
) {
    let old = version < Version::HTTP_11;
    out.extend_from_slice(if old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    match phrase {
        Some(phrase) => out.extend_from_slice(phrase.as_bytes()),
        None => out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes()),
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes fields, one line each.
pub(crate) fn write_fields(out: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests;
