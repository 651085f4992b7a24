//! Invariants that need no example: what we write, others read as we meant it, and what others
//! write, we read as they do.
use bytes::BytesMut;
use http::HeaderName;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::request;
use super::*;

/// A request on the wire, read by a parser that knows nothing of ours.
#[derive(Debug, PartialEq)]
struct Seen {
    method: String,
    target: String,
    hosts: Vec<Vec<u8>>,
    lengths: Vec<Vec<u8>>,
    codings: Vec<Vec<u8>>,
    body: Vec<u8>,
}

fn seen(wire: &[u8]) -> Seen {
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut parsed = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(length) = parsed.parse(wire).expect("it parses") else {
        panic!("the head has an end");
    };
    let head = &wire[..length];
    assert_eq!(head.iter().filter(|&&byte| byte == b'\n').count(), parsed.headers.len() + 2);
    let all = |name: &str| {
        let fields = parsed.headers.iter();
        // As an application folds names.
        fields
            .filter(|field| field.name.to_lowercase().replace(['_', '.'], "-") == name)
            .map(|field| field.value.to_vec())
            .collect::<Vec<_>>()
    };
    let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
    let framing = match (lengths.first(), codings.first()) {
        (None, None) => Framing::Empty,
        (Some(length), None) => {
            let length = String::from_utf8(length.clone()).unwrap();
            Framing::Length(length.parse().unwrap())
        }
        (None, Some(_)) => Framing::Chunked,
        (Some(_), Some(_)) => panic!("two framings"),
    };
    let mut input = BytesMut::from(&wire[length..]);
    let mut decoder = decoder::Decoder::new(framing);
    let mut body = Vec::new();
    while let decoder::Piece::Data(data) = decoder.decode(&mut input).unwrap() {
        body.extend_from_slice(&data);
    }
    assert!(decoder.is_done() && input.is_empty(), "nothing is left over");
    Seen {
        method: parsed.method.unwrap().to_owned(),
        target: parsed.path.unwrap().to_owned(),
        hosts: all("host"),
        lengths,
        codings,
        body,
    }
}

fn field() -> impl Strategy<Value = (String, Vec<u8>)> {
    let name = prop_oneof![
        "[a-z][a-z0-9_.-]{0,12}",
        "(content[-_.]length|transfer[-_.]encoding|connection|te|upgrade|expect|host|trailer)",
        "(x[-_.]forwarded[-_.](for|port)|x[-_.]real[-_.]ip|keep-alive|proxy)",
    ];
    let value = prop_oneof![
        vec(prop_oneof![0x20_u8..0x7f, 0x80_u8..=0xff, Just(b'\t')], 0..20),
        Just(b"chunked".to_vec()),
        Just(b"close, content-length, host, x-real-ip".to_vec()),
        Just(b"trailers".to_vec()),
        Just(b"7".to_vec()),
    ];
    (name, value)
}

proptest! {
    #[test]
    fn what_goes_upstream_is_read_as_the_request_that_came(
        method in "(GET|HEAD|POST|PUT|DELETE|OPTIONS|PURGE)",
        target in "/[a-zA-Z0-9/%._~?&=-]{0,40}",
        fields in vec(field(), 0..12),
        pieces in proptest::option::of(vec(vec(any::<u8>(), 1..40), 1..4)),
        exact in any::<bool>(),
    ) {
        let mut asked = Request::builder().method(&*method).header("host", "app.test");
        for (name, value) in &fields {
            // `Host` has been validated to be the only one before it gets here.
            if name != "host" {
                let value = HeaderValue::from_bytes(value).unwrap();
                asked = asked.header(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
            }
        }
        let (parts, ()) = asked.body(()).unwrap().into_parts();
        let peer = Peer::new("192.0.2.7:4711".parse().unwrap(), Scheme::Http);
        let origin = Origin::new(&peer, &parts.headers, &[], &RequestIds::new(), SystemTime::UNIX_EPOCH);
        let outgoing = Outgoing {
            target: &target,
            authority: Some("app.test"),
            host: None,
            origin: &origin,
            upgrade: None,
            trusted: false,
        };
        let body = pieces.clone().unwrap_or_default().concat();
        let length = exact.then_some(body.len() as u64);
        let stream = pieces.as_ref().map(|pieces| {
            let pieces: Vec<_> = pieces.iter().map(Vec::as_slice).collect();
            Pieces::whole(length, &pieces)
        });
        let framing = request::framing(&parts, stream.as_ref());
        let mut wire = Vec::new();
        let endpoint = "10.0.0.1:80".parse().unwrap();
        write_head(&mut wire, &parts, &outgoing, endpoint, framing, false);
        for piece in pieces.iter().flatten() {
            let piece = Bytes::copy_from_slice(piece);
            if framing == Framing::Chunked {
                crate::message::chunked::write_size(&mut wire, piece.len());
                wire.extend_from_slice(&piece);
                wire.extend_from_slice(b"\r\n");
            } else {
                wire.extend_from_slice(&piece);
            }
        }
        if framing == Framing::Chunked {
            wire.extend_from_slice(b"0\r\n\r\n");
        }
        let seen = seen(&wire);
        prop_assert_eq!((seen.method, seen.target), (method, target));
        prop_assert_eq!(seen.hosts, [b"app.test"]);
        prop_assert!(seen.lengths.len() + seen.codings.len() <= 1);
        prop_assert_eq!(seen.body, body);
    }
}

/// A valid answer, as some server might write it.
fn valid() -> impl Strategy<Value = Vec<u8>> {
    let status = prop_oneof![Just(200_u16), Just(201), Just(204), Just(304), Just(404), Just(500)];
    let fields = vec(("x-[a-z]{1,6}", "[ -~]{0,20}"), 0..5);
    let chunks = vec(vec(any::<u8>(), 1..200), 0..4);
    (status, fields, chunks, 0..3_u8, any::<bool>()).prop_map(
        |(status, fields, chunks, framing, hints)| {
            let mut raw = String::new();
            if hints {
                raw.push_str("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
            }
            raw.push_str(&format!("HTTP/1.1 {status} Whatever\r\n"));
            for (name, value) in &fields {
                raw.push_str(&format!("{name}: {value}\r\n"));
            }
            let body = chunks.concat();
            let bodiless = matches!(status, 204 | 304);
            match framing {
                _ if bodiless => raw.push_str("\r\n"),
                0 => raw.push_str(&format!("Content-Length: {}\r\n\r\n", body.len())),
                1 => raw.push_str("Transfer-Encoding: chunked\r\n\r\n"),
                _ => raw.push_str("\r\n"),
            }
            let mut raw = raw.into_bytes();
            match framing {
                _ if bodiless => {}
                1 => {
                    for chunk in &chunks {
                        raw.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                        raw.extend_from_slice(chunk);
                        raw.extend_from_slice(b"\r\n");
                    }
                    raw.extend_from_slice(b"0\r\n\r\n");
                }
                _ => raw.extend_from_slice(&body),
            }
            raw
        },
    )
}

/// Serves `raw` to one connection and closes it.
async fn serve(raw: Vec<u8>) -> SocketAddr {
    upstream(move |mut stream| {
        let raw = raw.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(&raw).await.ok();
        }
    })
    .await
}

/// The same exchange through hyper's client.
async fn by_hyper(address: SocketAddr) -> (StatusCode, HeaderMap, Bytes) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = Request::get("/x").header("host", "app.test");
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    driver.abort();
    (parts.status, parts.headers, body)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_valid_answer_is_the_same_to_hypers_client_and_to_us(raw in valid()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let address = serve(raw).await;
            let (status, mut headers, body) = by_hyper(address).await;
            headers.remove("content-length");
            headers.remove("transfer-encoding");
            let connection = Connection::connect(address).await.unwrap();
            let ours = read(Ask::get().over(connection).await.unwrap()).await;
            prop_assert_eq!((ours.status, ours.headers.clone()), (status, headers));
            prop_assert_eq!(ours.body(), &body);
            Ok(())
        })?;
    }
}
