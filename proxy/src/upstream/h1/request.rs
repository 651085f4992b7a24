//! The head of a request as it goes upstream.

use std::net::SocketAddr;

use http::header::{self, HeaderMap};
use http::{Method, request};
use http_body::Body;

use crate::message::decoder::Framing;
use crate::message::headers::{self, Outgoing};

/// How a request's body will be framed: made anew, whatever the client's framing was.
///
/// A body on any method is sent, `GET` and `DELETE` included (RFC 9110 §9.3.1: no semantics, but
/// not ours to drop).
pub(super) fn framing<B: Body>(parts: &request::Parts, body: Option<&B>) -> Framing {
    let Some(body) = body.filter(|body| !body.is_end_stream()) else {
        return Framing::Empty;
    };
    match body.size_hint().exact() {
        Some(0) if !parts.headers.contains_key(header::TRANSFER_ENCODING) => Framing::Empty,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    }
}

/// Writes the whole head: request line, the client's end-to-end fields, ours, the framing. It goes to
/// `endpoint`, which is the `Host` of a request that names none.
pub(crate) fn write_head(
    out: &mut Vec<u8>,
    parts: &request::Parts,
    outgoing: &Outgoing<'_>,
    endpoint: SocketAddr,
    framing: Framing,
    expects: bool,
) {
    out.reserve(HEAD_GUESS);
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(outgoing.target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    write_host(out, outgoing, endpoint);
    out.extend_from_slice(b"\r\n");
    headers::write_kept(out, &parts.headers, outgoing);
    headers::write_added(out, &parts.headers, outgoing);
    if expects {
        out.extend_from_slice(b"expect: 100-continue\r\n");
    }
    write_framing(out, parts, framing);
    out.extend_from_slice(b"\r\n");
}

/// RFC 9112 §3.2: always there, and first. nginx, Apache and Django refuse an empty one, which only
/// HTTP/1.0 leads to.
fn write_host(out: &mut Vec<u8>, outgoing: &Outgoing<'_>, endpoint: SocketAddr) {
    match (outgoing.host, outgoing.authority) {
        (Some(host), _) => out.extend_from_slice(host.as_bytes()),
        (None, Some(authority)) => out.extend_from_slice(authority.as_bytes()),
        (None, None) => {
            let endpoint = endpoint.to_string();
            let host = endpoint.strip_suffix(":80").unwrap_or(&endpoint);
            out.extend_from_slice(host.as_bytes());
        }
    }
}

fn write_framing(out: &mut Vec<u8>, parts: &request::Parts, framing: Framing) {
    match framing {
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        // RFC 9110 §8.6: a method that expects content says that there is none.
        Framing::Empty if says_zero(&parts.method, &parts.headers) => {
            out.extend_from_slice(b"content-length: 0\r\n");
        }
        Framing::Empty | Framing::UntilClose => {}
    }
}

fn says_zero(method: &Method, headers: &HeaderMap) -> bool {
    matches!(*method, Method::PATCH | Method::POST | Method::PUT)
        || headers.contains_key(header::CONTENT_LENGTH)
}

/// Room made for a head at once, in bytes.
const HEAD_GUESS: usize = 1024;
