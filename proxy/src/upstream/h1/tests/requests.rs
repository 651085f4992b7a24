//! What goes upstream.
use super::*;

/// The bytes that a request without surprises puts on the wire.
async fn sent(ask: Ask, body: Option<Pieces>, end: &'static [u8]) -> String {
    let (connection, mut stream) = pair().await;
    let script = tokio::spawn(async move {
        let request = read_until(&mut stream, |bytes| bytes.ends_with(end)).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        (request, stream)
    });
    let mut body = body;
    let reply = ask.send(connection, &mut body).await.unwrap();
    assert!(read(reply).await.connection.is_some());
    let (request, _stream) = script.await.unwrap();
    String::from_utf8(request).unwrap()
}

fn body_of(request: &str) -> &str {
    request.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn a_request_without_a_body_has_no_framing() {
    let request = sent(Ask::get().with("accept", "*/*"), None, b"\r\n\r\n").await;
    assert!(
        request.starts_with("GET /x?y=1 HTTP/1.1\r\nhost: app.test\r\naccept: */*\r\n"),
        "{request}"
    );
    assert!(!request.contains("content-length") && !request.contains("transfer-encoding"));
}

#[test]
fn a_request_that_names_no_host_is_for_the_endpoint() {
    let peer = Peer::new("192.0.2.7:4711".parse().unwrap(), Scheme::Http);
    let (parts, ()) = Request::new(()).into_parts();
    let origin =
        Origin::new(&peer, &parts.headers, &[], &RequestIds::new(), SystemTime::UNIX_EPOCH);
    let own = HeaderValue::from_static("web.internal");
    for (endpoint, authority, host, sent) in [
        ("10.0.0.1:8000", None, None, "10.0.0.1:8000"),
        ("10.0.0.1:80", None, None, "10.0.0.1"),
        ("[2001:db8::1]:8080", None, None, "[2001:db8::1]:8080"),
        ("[2001:db8::80]:80", None, None, "[2001:db8::80]"),
        ("10.0.0.1:8000", None, Some(&own), "web.internal"),
        ("10.0.0.1:8000", Some("app.test"), None, "app.test"),
        ("10.0.0.1:8000", Some("app.test"), Some(&own), "web.internal"),
    ] {
        let outgoing = Outgoing {
            target: "/",
            authority,
            host,
            origin: &origin,
            upgrade: None,
            trusted: false,
        };
        let (mut out, endpoint) = (Vec::new(), endpoint.parse().unwrap());
        write_head(&mut out, &parts, &outgoing, endpoint, Framing::Empty, false);
        let out = String::from_utf8(out).unwrap();
        assert!(out.starts_with(&format!("GET / HTTP/1.1\r\nhost: {sent}\r\n")), "{out}");
        let told = authority.map(|host| format!("\r\nx-forwarded-host: {host}\r\n"));
        assert!(told.is_none_or(|told| out.contains(&told)), "{out}");
    }
}

#[tokio::test]
async fn a_post_without_a_body_says_so() {
    let request = sent(Ask::new(Method::POST), None, b"\r\n\r\n").await;
    assert!(request.contains("\r\ncontent-length: 0\r\n"), "{request}");
    let get = sent(Ask::get().with("content-length", "0"), None, b"\r\n\r\n").await;
    assert!(get.contains("\r\ncontent-length: 0\r\n"), "{get}");
}

#[tokio::test]
async fn any_method_may_have_a_body_and_its_framing_is_made_anew() {
    for method in [Method::GET, Method::DELETE, Method::POST] {
        let body = Pieces::whole(Some(5), &[b"he", b"llo"]);
        let request = sent(Ask::new(method.clone()), Some(body), b"hello").await;
        assert!(request.contains("\r\ncontent-length: 5\r\n"), "{request}");
        let body = Pieces::whole(None, &[b"hello", b"", b"wor", b"ld"]);
        let ask = Ask::new(method).with("transfer-encoding", "CHUNKED");
        let request = sent(ask, Some(body), b"0\r\n\r\n").await;
        assert_eq!(request.matches("transfer-encoding").count(), 1);
        assert!(request.contains("\r\ntransfer-encoding: chunked\r\n"), "{request}");
        assert_eq!(body_of(&request), "5\r\nhello\r\n3\r\nwor\r\n2\r\nld\r\n0\r\n\r\n");
    }
}

#[tokio::test]
async fn big_bodies_arrive_whole_in_either_framing() {
    const PIECES: usize = 40;
    for exact in [true, false] {
        let piece: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
        let whole: Vec<u8> = piece.repeat(PIECES);
        let length = whole.len();
        let (feed, body) = Pieces::new(exact.then_some(length as u64));
        let (connection, mut stream) = pair().await;
        let script = tokio::spawn(async move {
            let mut request = Vec::new();
            loop {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
                let head = memchr::memmem::find(&request, b"\r\n\r\n").map(|at| at + 4);
                if head.is_some_and(|head| exact && request.len() == head + length)
                    || (!exact && request.ends_with(b"\r\n0\r\n\r\n"))
                {
                    break;
                }
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            (request, stream)
        });
        let feeding = async move {
            for _ in 0..PIECES {
                feed.send(Ok(piece.clone().into())).await.unwrap();
            }
        };
        let mut body = Some(body);
        let ask = Ask::new(Method::POST);
        let (reply, ()) = tokio::join!(ask.send(connection, &mut body), feeding);
        assert!(read(reply.unwrap()).await.connection.is_some());
        let (request, _stream) = script.await.unwrap();
        let at = memchr::memmem::find(&request, b"\r\n\r\n").unwrap() + 4;
        let mut raw = bytes::BytesMut::from(&request[at..]);
        let framing = if exact { Framing::Length(length as u64) } else { Framing::Chunked };
        let mut decoder = decoder::Decoder::new(framing);
        let mut got = Vec::new();
        while let decoder::Piece::Data(data) = decoder.decode(&mut raw).unwrap() {
            got.extend_from_slice(&data);
        }
        assert!(decoder.is_done() && raw.is_empty());
        assert!(got == whole);
    }
}

#[tokio::test]
async fn a_slow_upstream_holds_the_client_back() {
    let (feed, body) = Pieces::new(None);
    let (connection, stream) = pair().await;
    let mut body = Some(body);
    let progress = Progress::default();
    let mut interim = |_: StatusCode, _: &HeaderMap| {};
    let asking = Ask::new(Method::POST).watched(connection, &mut body, &progress, &mut interim);
    let piece = Bytes::from(vec![0; 256 * 1024]);
    let feeding = async {
        let mut taken = 0;
        // Nobody reads: the kernel's buffers fill up, and then nothing more is taken.
        while timeout(Duration::from_millis(300), feed.send(Ok(piece.clone()))).await.is_ok() {
            taken += 1;
            assert!(taken < 1000, "256 MB went nowhere");
        }
        taken
    };
    tokio::select! {
        reply = asking => panic!("no answer was sent: {reply:?}"),
        taken = feeding => assert!(taken > 0),
    }
    assert_eq!(progress.stage(), Stage::Writing);
    drop(stream);
}

#[tokio::test]
async fn an_early_answer_is_seen_while_the_body_is_still_being_sent() {
    let (feed, body) = Pieces::new(Some(1_000_000));
    feed.try_send(Ok(Bytes::from_static(b"start"))).unwrap();
    let (connection, mut stream) = pair().await;
    let script = tokio::spawn(async move {
        read_head(&mut stream).await;
        let raw =
            b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig";
        stream.write_all(raw).await.unwrap();
        stream
    });
    let reply = Ask::new(Method::POST).send(connection, &mut Some(body)).await.unwrap();
    let answer = read(reply).await;
    assert_eq!((answer.status.as_u16(), answer.body()), (413, &b"big"[..]));
    assert!(answer.connection.is_none(), "half a request is on it");
    drop((script, feed));
}

#[tokio::test]
async fn an_early_answer_survives_an_upstream_that_closes_behind_it() {
    let (feed, body) = Pieces::new(Some(64 * 1024 * 1024));
    let (connection, mut stream) = pair().await;
    let script = tokio::spawn(async move {
        read_head(&mut stream).await;
        let raw =
            b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig";
        stream.write_all(raw).await.unwrap();
        // With unread bytes in its buffer the close is a reset.
    });
    let feeding = async move {
        let piece = Bytes::from(vec![0; 64 * 1024]);
        while feed.send(Ok(piece.clone())).await.is_ok() {}
    };
    let mut body = Some(body);
    let asking = async {
        let reply = Ask::new(Method::POST).send(connection, &mut body).await.unwrap();
        let answer = read(reply).await;
        body = None;
        answer
    };
    let (answer, ()) = tokio::join!(asking, feeding);
    assert_eq!((answer.status.as_u16(), answer.body()), (413, &b"big"[..]));
    script.await.unwrap();
}

#[tokio::test]
async fn an_application_may_answer_while_it_reads() {
    let (feed, body) = Pieces::new(None);
    let (connection, mut stream) = pair().await;
    let script = tokio::spawn(async move {
        read_head(&mut stream).await;
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n";
        stream.write_all(head).await.unwrap();
        let rest = read_until(&mut stream, |bytes| bytes.ends_with(b"0\r\n\r\n")).await;
        stream.write_all(b"4\r\nlate\r\n0\r\n\r\n").await.unwrap();
        (rest, stream)
    });
    let mut body = Some(body);
    let Reply::Response(parts, mut answer) =
        Ask::new(Method::POST).send(connection, &mut body).await.unwrap()
    else {
        panic!("a response");
    };
    assert_eq!(parts.status, StatusCode::OK);
    assert!(body.is_none(), "the rest of the body goes on with the answer");
    let early = answer.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(early, "early");
    feed.send(Ok(Bytes::from_static(b"upload"))).await.unwrap();
    drop(feed);
    let late = answer.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(late, "late");
    assert!(answer.frame().await.is_none());
    assert!(answer.take_connection().is_some(), "all was said on both sides");
    let (rest, _stream) = script.await.unwrap();
    assert_eq!(rest, b"6\r\nupload\r\n0\r\n\r\n");
}

#[tokio::test]
async fn an_expecting_body_waits_for_its_100() {
    let body = Pieces::whole(Some(5), &[b"hello"]);
    let polled = body.polled.clone();
    let (connection, mut stream) = pair().await;
    let script = tokio::spawn(async move {
        let head = read_head(&mut stream).await;
        assert!(head.ends_with(b"\r\n\r\n"), "the body came unasked");
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        let body = read_until(&mut stream, |bytes| bytes.len() == 5).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        (head, body, stream)
    });
    let ask = Ask::new(Method::PUT).with("expect", "100-Continue");
    let reply = ask.send(connection, &mut Some(body)).await.unwrap();
    assert!(read(reply).await.connection.is_some());
    assert!(polled.get());
    let (head, body, _stream) = script.await.unwrap();
    let head = String::from_utf8(head).unwrap();
    assert_eq!(head.matches("expect: 100-continue\r\n").count(), 1, "{head}");
    assert_eq!(body, b"hello");
}

#[tokio::test]
async fn a_refused_expectation_never_touches_the_body() {
    let body = Pieces::whole(Some(5), &[b"hello"]);
    let polled = body.polled.clone();
    let (connection, mut stream) = pair().await;
    let script = tokio::spawn(async move {
        read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno")
            .await
            .unwrap();
        stream
    });
    let ask = Ask::new(Method::PUT).with("expect", "100-continue");
    let mut body = Some(body);
    let reply = ask.send(connection, &mut body).await.unwrap();
    let answer = read(reply).await;
    assert_eq!((answer.status.as_u16(), answer.body()), (417, &b"no"[..]));
    assert!(answer.connection.is_none(), "the upstream may still wait for the body");
    assert!(!polled.get() && body.is_some());
    drop(script);
}

#[tokio::test]
async fn an_expectation_of_http_1_0_is_ignored() {
    let mut ask = Ask::new(Method::PUT).with("expect", "100-continue");
    *ask.request.version_mut() = http::Version::HTTP_10;
    let body = Pieces::whole(Some(5), &[b"hello"]);
    let request = sent(ask, Some(body), b"hello").await;
    assert!(!request.contains("expect"), "{request}");
}

#[tokio::test]
async fn an_expecting_body_does_not_wait_for_ever() {
    let body = Pieces::whole(Some(5), &[b"hello"]);
    let ask = Ask::new(Method::PUT).with("expect", "100-continue");
    let request = sent(ask, Some(body), b"hello").await;
    assert_eq!(body_of(&request), "hello");
}

#[tokio::test]
async fn progress_tells_when_the_request_has_been_sent() {
    let (feed, body) = Pieces::new(Some(5));
    let (connection, mut stream) = pair().await;
    let mut body = Some(body);
    let progress = Progress::default();
    let mut interim = |_: StatusCode, _: &HeaderMap| {};
    let asking = Ask::new(Method::POST).watched(connection, &mut body, &progress, &mut interim);
    let watching = async {
        let head = read_head(&mut stream).await;
        assert_eq!(progress.written(), head.len() as u64);
        assert_eq!(progress.stage(), Stage::Receiving);
        feed.send(Ok(Bytes::from_static(b"hello"))).await.unwrap();
        let body = read_until(&mut stream, |bytes| bytes.len() == 5).await;
        assert_eq!(progress.written(), (head.len() + body.len()) as u64);
        assert_eq!(progress.stage(), Stage::Sent);
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    };
    let (reply, ()) = tokio::join!(asking, watching);
    assert!(read(reply.unwrap()).await.connection.is_some());
}
