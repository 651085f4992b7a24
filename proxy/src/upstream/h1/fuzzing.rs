//! What comes back from an upstream, for the fuzz targets.

use bytes::BytesMut;
use http::HeaderValue;

use super::response::{self, Asked, Head};
use crate::message::decoder::{Decoder, Framing, Piece};

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
        binding: flags & 8 != 0,
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

fn facts(head: &Head) -> (http::StatusCode, &http::HeaderMap, Framing, [bool; 2]) {
    let flags = [head.keep_alive, head.binds_connection];
    (head.parts.status, &head.parts.headers, head.framing, flags)
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
