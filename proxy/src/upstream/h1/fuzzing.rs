//! What crosses to the upstream and comes back, for the fuzz targets.

use std::time::SystemTime;

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Version};

use super::request::write_head;
use super::response::{self, Asked, Head};
use crate::message::decoder::{Decoder, Framing, Piece};
use crate::message::forwarded::{Origin, Peer, RequestIds, Scheme};
use crate::message::headers::Outgoing;
use crate::message::validate::{Hidden, validate};
use crate::table::Limits;

/// A request head that passes validation is written so that it reads back as the same request: one
/// host, one framing, one line of each field that is ours, and no field that is the client's own
/// connection's.
pub fn request(bytes: &[u8]) {
    let Some((parts, hidden)) = parse_request(bytes) else {
        return;
    };
    let limits = Limits::default();
    if parts.headers.len() > limits.max_headers {
        return; // Hyper answers these with 431.
    }
    let Ok(valid) = validate(&parts, hidden, &limits) else {
        return;
    };
    let peer = Peer::new(PEER.into(), Scheme::Http);
    let origin =
        Origin::new(&peer, &parts.headers, &[], &RequestIds::new(), SystemTime::UNIX_EPOCH);
    let outgoing = Outgoing {
        target: &valid.target,
        authority: valid.authority,
        host: None,
        origin: &origin,
        upgrade: valid.upgrade,
        trusted: false,
    };
    let framing = framing(&parts);
    let mut written = Vec::new();
    let endpoint = ([10, 0, 0, 1], 8000).into();
    write_head(&mut written, &parts, &outgoing, endpoint, framing, false);

    let Some((again, hidden)) = parse_request(&written) else {
        panic!("cannot be read back: {}", written.escape_ascii());
    };
    assert_eq!((&again.method, again.version), (&parts.method, Version::HTTP_11));
    assert_eq!(again.uri.path_and_query().map(|target| target.as_str()), Some(&*valid.target));
    let count = |name: &HeaderName| again.headers.get_all(name).iter().count();
    assert_eq!(count(&HOST), 1);
    assert!(!hidden.content_length && !hidden.fragment);
    let framed = (count(&TRANSFER_ENCODING), count(&CONTENT_LENGTH));
    match framing {
        Framing::Chunked => assert_eq!(framed, (1, 0)),
        Framing::Length(_) => assert_eq!(framed, (0, 1)),
        Framing::Empty | Framing::UntilClose => assert!(framed == (0, 0) || framed == (0, 1)),
    }
    for name in OURS {
        let name = HeaderName::from_static(name);
        assert_eq!(
            count(&name),
            usize::from(name != "x-forwarded-host" || valid.authority.is_some()),
            "{name}"
        );
    }
    let peer = PEER.0.map(|byte| byte.to_string()).join(".");
    assert_eq!(
        again.headers.get("x-forwarded-for").map(HeaderValue::as_bytes),
        Some(peer.as_bytes())
    );
    let Ok(again) = validate(&again, hidden, &limits) else {
        panic!("refused when read back: {}", written.escape_ascii());
    };
    assert_eq!(again.authority, valid.authority.or(Some("10.0.0.1:8000")));
    assert_eq!((again.path, again.upgrade), (valid.path, valid.upgrade));
}

/// However an answer is split into reads, it is understood in the same way.
pub fn response(bytes: &[u8]) {
    let Some((flags, bytes)) = bytes.split_first() else {
        return;
    };
    let protocol = HeaderValue::from_static("websocket");
    let asked = Asked {
        head: flags & 1 != 0,
        trailers: flags & 2 != 0,
        upgrade: (flags & 4 != 0).then_some(&protocol),
    };
    let mut whole = BytesMut::from(bytes);
    let at_once = response::parse(&mut whole, 0, &asked);

    let mut input = BytesMut::new();
    let mut in_bits = Ok(None);
    let mut rest = bytes;
    while let (Ok(None), Some((byte, left))) = (&in_bits, rest.split_first()) {
        let seen = input.len();
        input.extend_from_slice(&[*byte]);
        rest = left;
        in_bits = response::parse(&mut input, seen, &asked);
    }
    let head = match (at_once, in_bits) {
        (Ok(Some(at_once)), Ok(Some(in_bits))) => {
            assert_eq!(facts(&at_once), facts(&in_bits));
            at_once
        }
        // An unfinished line is judged once it ends.
        (Err(_), Ok(None) | Err(_)) | (Ok(None), Ok(None)) => return,
        (at_once, in_bits) => panic!("at once {at_once:?}, in bits {in_bits:?}"),
    };
    input.extend_from_slice(rest);
    assert_eq!(whole, input, "what the head leaves");
    assert_eq!(body(head.framing, &whole, usize::MAX), body(head.framing, &whole, 1));
}

fn facts(head: &Head) -> (http::StatusCode, &http::HeaderMap, Framing, bool) {
    (head.parts.status, &head.parts.headers, head.framing, head.keep_alive)
}

/// The data, how it ended, and what was left.
fn body(framing: Framing, bytes: &[u8], step: usize) -> (Vec<u8>, &'static str, usize) {
    let mut decoder = Decoder::new(framing);
    let (mut data, mut input, mut rest) = (Vec::new(), BytesMut::new(), bytes);
    loop {
        match decoder.decode(&mut input) {
            Ok(Piece::Data(piece)) => data.extend_from_slice(&piece),
            Ok(Piece::Trailers(_)) => {}
            Ok(Piece::End) => return (data, "end", input.len() + rest.len()),
            Ok(Piece::More) if rest.is_empty() => return (data, "more", 0),
            Ok(Piece::More) => {
                let (now, later) = rest.split_at(step.min(rest.len()));
                input.extend_from_slice(now);
                rest = later;
            }
            Err(_) => return (data, "malformed", 0),
        }
    }
}

/// Reads a head as hyper does, and what hyper hides of it.
fn parse_request(bytes: &[u8]) -> Option<(Parts, Hidden)> {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut head = httparse::Request::new(&mut fields);
    head.parse(bytes).ok().filter(httparse::Status::is_complete)?;
    let path = head.path?;
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(head.method?.as_bytes()).ok()?;
    *request.uri_mut() = path.parse().ok()?;
    *request.version_mut() = match head.version? {
        0 => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    for field in head.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    let mut hidden = Hidden::of_target(path.as_bytes());
    if request.headers().contains_key(TRANSFER_ENCODING) {
        hidden.content_length = request.headers_mut().remove(CONTENT_LENGTH).is_some();
    }
    Some((request.into_parts().0, hidden))
}

fn framing(parts: &Parts) -> Framing {
    if parts.headers.contains_key(TRANSFER_ENCODING) {
        return Framing::Chunked;
    }
    let length = parts.headers.get(CONTENT_LENGTH);
    match length.and_then(|length| length.to_str().ok()?.parse().ok()) {
        None | Some(0) => Framing::Empty,
        Some(length) => Framing::Length(length),
    }
}

const PEER: ([u8; 4], u16) = ([192, 0, 2, 1], 40_000);

/// Fields that Cutover writes, whatever the client sent under their names.
const OURS: [&str; 6] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];
