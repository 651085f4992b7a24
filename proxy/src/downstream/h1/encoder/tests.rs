use http::Response;
use http_body_util::{Empty, Full};

use super::*;

fn written(status: u16, body: &impl Body, asked: Asked) -> (String, Encoder) {
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = StatusCode::from_u16(status).unwrap();
    let mut out = Vec::new();
    let encoder = Encoder::begin(&mut out, &head, body, asked, b"Thu, 01 Jan 1970 00:00:00 GMT");
    (String::from_utf8(out).unwrap(), encoder)
}

const ASKED: Asked = Asked { head: false, version: Version::HTTP_11, keep_alive: true };
const DATE_LINE: &str = "date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";

/// A body whose length nobody knows.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[test]
fn a_known_length_is_said_and_an_unknown_one_is_chunked_or_ends_with_the_connection() {
    let five = Full::new(Bytes::from_static(b"hello"));
    let (head, _) = written(200, &five, ASKED);
    assert_eq!(head, format!("HTTP/1.1 200 OK\r\n{DATE_LINE}content-length: 5\r\n\r\n"));
    let (head, encoder) = written(200, &Endless, ASKED);
    assert_eq!(head, format!("HTTP/1.1 200 OK\r\n{DATE_LINE}transfer-encoding: chunked\r\n\r\n"));
    assert!(!encoder.ends_with_connection());
    let old = Asked { version: Version::HTTP_10, ..ASKED };
    let (head, encoder) = written(200, &Endless, old);
    assert_eq!(head, format!("HTTP/1.0 200 OK\r\n{DATE_LINE}connection: close\r\n\r\n"));
    assert!(encoder.ends_with_connection());
    let (head, _) = written(200, &five, old);
    assert!(head.ends_with("content-length: 5\r\nconnection: keep-alive\r\n\r\n"), "{head}");
}

#[test]
fn an_answer_without_a_body_has_no_framing_but_a_zero_where_one_is_due() {
    let none = Empty::<Bytes>::new();
    assert!(written(200, &none, ASKED).0.contains("content-length: 0\r\n"));
    for status in [204, 304] {
        let (head, encoder) = written(status, &none, ASKED);
        assert!(!head.contains("content-length") && !encoder.has_body(), "{head}");
    }
    let head = Asked { head: true, ..ASKED };
    assert!(!written(200, &none, head).0.contains("content-length"));
    let (own, encoder) = written(404, &Full::new(Bytes::from_static(b"gone\n")), head);
    assert!(own.contains("content-length: 5\r\n") && !encoder.has_body(), "{own}");
}

#[test]
fn the_last_answer_says_close() {
    let last = Asked { keep_alive: false, ..ASKED };
    assert!(written(200, &Empty::<Bytes>::new(), last).0.contains("connection: close\r\n"));
}

#[test]
fn chunks_and_trailers_are_framed() {
    let (_, encoder) = written(200, &Endless, ASKED);
    let mut out = WriteBuffer::default();
    encoder.data(&mut out, Bytes::new());
    encoder.data(&mut out, Bytes::from_static(b"hello"));
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", http::HeaderValue::from_static("1"));
    encoder.end(&mut out, Some(&trailers));
    assert_eq!(out.first(), b"5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n");
}
