//! What crosses from a client to an upstream, for the fuzz targets.

use std::time::SystemTime;

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Version};

use crate::downstream::h1::head::{Head, HeadParser};
use crate::message::decoder::Framing;
use crate::message::forwarded::{Origin, Peer, RequestIds, Scheme};
use crate::message::headers::Outgoing;
use crate::message::validate::validate;
use crate::table::Limits;
use crate::upstream::write_head;

/// A request head that passes validation is written so that it reads back as the same request: one
/// host, one framing, one line of each field that is ours, and no field that is the client's own
/// connection's.
pub fn request(bytes: &[u8]) {
    let limits = Limits::default();
    let Some(head) = read(bytes, usize::MAX, &limits) else {
        assert!(read(bytes, 1, &limits).is_none(), "in bits it is one");
        return;
    };
    let in_bits = read(bytes, 1, &limits).map(|head| (head.framing, head.parts.headers));
    assert_eq!(in_bits, Some((head.framing, head.parts.headers.clone())));
    let Head { parts, framing, .. } = head;
    let Ok(valid) = validate(&parts, &limits) else {
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
    let mut written = Vec::new();
    let endpoint = ([10, 0, 0, 1], 8000).into();
    write_head(&mut written, &parts, &outgoing, endpoint, framing, false);

    // With the fields that are ours it may be more than a client may send.
    let roomy = Limits { max_headers: 200, max_header_bytes: 1 << 20, ..limits };
    let Some(Head { parts: again, framing: framing_again, .. }) =
        read(&written, usize::MAX, &roomy)
    else {
        panic!("cannot be read back: {}", written.escape_ascii());
    };
    assert_eq!(framing, framing_again);
    assert_eq!((&again.method, again.version), (&parts.method, Version::HTTP_11));
    assert_eq!(again.uri.path_and_query().map(|target| target.as_str()), Some(&*valid.target));
    let count = |name: &HeaderName| again.headers.get_all(name).iter().count();
    assert_eq!(count(&HOST), 1);
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
    let Ok(again) = validate(&again, &limits) else {
        panic!("refused when read back: {}", written.escape_ascii());
    };
    assert_eq!(again.authority, valid.authority.or(Some("10.0.0.1:8000")));
    assert_eq!((again.path, again.upgrade), (valid.path, valid.upgrade));
}

/// Reads a head as a connection does, in reads of `step` bytes.
fn read(bytes: &[u8], step: usize, limits: &Limits) -> Option<Head> {
    let (mut parser, mut buffer) = (HeadParser::default(), BytesMut::new());
    for piece in bytes.chunks(step.min(bytes.len().max(1))) {
        buffer.extend_from_slice(piece);
        if let Some(head) = parser.parse(&mut buffer, limits).ok()? {
            return Some(head);
        }
    }
    None
}

const PEER: ([u8; 4], u16) = ([192, 0, 2, 1], 40_000);

/// Fields that Cutover writes, whatever the client sent under their names.
const OURS: [&str; 7] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
    "x-request-start",
];
