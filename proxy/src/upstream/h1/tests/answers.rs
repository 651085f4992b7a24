//! What an upstream may say, and what becomes of it.

use super::*;

/// A sound answer; its connection may be used again.
async fn sound(raw: impl Into<Vec<u8>>) -> Answer {
    answer(Ask::get(), raw, After::Keep).await.unwrap()
}

/// The reason why an answer is refused.
async fn refused(raw: impl Into<Vec<u8>>) -> &'static str {
    match answer(Ask::get(), raw, After::Keep).await {
        Err(Failure::Malformed(reason)) => reason,
        other => panic!("refused, not {other:?}"),
    }
}

fn ok(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}")
}

#[tokio::test]
async fn a_body_with_a_length_ends_there_and_the_connection_is_kept() {
    let answer = sound(ok("Content-Length: 2", "ok")).await;
    assert_eq!((answer.status, answer.body()), (StatusCode::OK, &b"ok"[..]));
    assert!(!answer.headers.contains_key("content-length"));
    assert!(answer.connection.is_some());
}

#[tokio::test]
async fn a_content_length_that_can_be_read_in_two_ways_is_refused() {
    for length in [
        "foo",
        "-1",
        "+2",
        "",
        "99999999999999999999",
        "18446744073709551616",
        "0x2",
        "2, 3",
        "2,",
        "2 2",
        "2.0",
        "2\r\nContent-Length: 3",
    ] {
        let reason = refused(ok(&format!("Content-Length: {length}"), "ok")).await;
        assert!(reason.contains("content length"), "{length}: {reason}");
    }
}

#[tokio::test]
async fn equal_content_lengths_count_as_one() {
    for length in ["2, 2", "2\r\nContent-Length: 2"] {
        let answer = sound(ok(&format!("Content-Length: {length}"), "ok")).await;
        assert_eq!(answer.body(), b"ok");
    }
}

#[tokio::test]
async fn a_transfer_coding_other_than_one_chunked_is_refused() {
    for coding in [
        "chunked, chunked",
        "chunked, gzip",
        "gzip, chunked",
        "gzip",
        "identity",
        "",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        "\u{b}chunked",
        "chunked\r\nTransfer-Encoding: chunked",
        "chunked\r\nTransfer-Encoding: identity",
    ] {
        let raw = ok(&format!("Transfer-Encoding: {coding}"), "0\r\n\r\n");
        refused(raw).await;
    }
}

#[tokio::test]
async fn content_length_beside_a_transfer_coding_is_refused_in_any_order() {
    refused(ok("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n")).await;
    refused(ok("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n")).await;
}

#[tokio::test]
async fn chunked_in_an_http_1_0_answer_is_refused() {
    refused("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn what_is_no_http_1_head_is_refused() {
    for raw in [
        &b"<html>hello</html>\r\n"[..],
        b"\x15\x03\x01\0\x02\x02F\r\n\r\n",
        b"http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 20\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 099 No\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 600 No\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok",
        b" HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A: a\rb\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A: a\r\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A: one\r\n two\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n X-A: one\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX A: 2\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n: 2\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nno-colon\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-\xffA: 2\r\nContent-Length: 2\r\n\r\nok",
    ] {
        let reason = refused(raw).await;
        assert!(!reason.is_empty(), "{}", raw.escape_ascii());
    }
}

#[tokio::test]
async fn bare_line_feeds_in_a_head_become_the_same_two_fields() {
    let raw = "HTTP/1.1 200 OK\r\nX-A: a\nX-B: b\r\nContent-Length: 2\r\n\r\nok";
    let answer = sound(raw).await;
    assert_eq!(
        (&answer.headers["x-a"], &answer.headers["x-b"]),
        (&"a".parse().unwrap(), &"b".parse().unwrap())
    );
}

#[tokio::test]
async fn a_head_is_bounded_in_fields_and_in_bytes() {
    refused(ok(&"X-R: v\r\n".repeat(5000), "ok")).await;
    refused(ok(&format!("X-R: {}", "v".repeat(70_000)), "ok")).await;
    // Without any line end at all.
    refused(format!("HTTP/1.1 200 {}", "v".repeat(70_000))).await;
    let most = format!("{}Content-Length: 2", "X-R: v\r\n".repeat(127));
    assert_eq!(sound(ok(&most, "ok")).await.headers.len(), 127);
}

#[tokio::test]
async fn surplus_bytes_never_reach_a_client_and_cost_the_connection() {
    for raw in [
        ok("Content-Length: 2", "okEXTRA"),
        ok("Content-Length: 2", "okHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON"),
        ok("Transfer-Encoding: chunked", "2\r\nok\r\n0\r\n\r\nzzz"),
    ] {
        let answer = sound(raw).await;
        assert_eq!(answer.body(), b"ok");
        assert!(answer.connection.is_none());
    }
}

#[tokio::test]
async fn an_answer_that_has_no_body_ends_with_its_head() {
    let head = answer(Ask::new(Method::HEAD), ok("Content-Length: 6", "POISON"), After::Keep);
    let head = head.await.unwrap();
    assert_eq!((head.body(), &head.headers["content-length"]), (&b""[..], &HeaderValue::from(6)));
    assert!(head.connection.is_none(), "a body came where none may be");

    let raw = "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\nETag: \"x\"\r\n\r\n";
    let unmodified = sound(raw).await;
    assert_eq!(unmodified.headers["content-length"], "6");
    assert!(unmodified.connection.is_some());

    let empty = sound("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n").await;
    assert!(!empty.headers.contains_key("content-length"));
    assert!(empty.connection.is_some());
    let announced = sound("HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\n").await;
    assert!(announced.connection.is_none(), "the body may be on its way");
    let raw = "HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\n";
    let head = answer(Ask::new(Method::HEAD), raw, After::Keep).await.unwrap();
    assert!(!head.headers.contains_key("content-length"), "RFC 9110 §8.6");
}

#[tokio::test]
async fn a_head_answer_may_describe_a_chunked_body() {
    let raw = ok("Transfer-Encoding: chunked", "");
    let answer = answer(Ask::new(Method::HEAD), raw, After::Keep).await.unwrap();
    assert_eq!(answer.body(), b"");
    assert!(answer.connection.is_some());
}

#[tokio::test]
async fn a_chunked_body_is_decoded() {
    let raw = ok("Transfer-Encoding: Chunked", "2;ext=\"a\"\r\nok\r\n003 \r\nay!\r\n0\r\n\r\n");
    let answer = sound(raw).await;
    assert_eq!(answer.body(), b"okay!");
    assert!(answer.connection.is_some());
}

#[tokio::test]
async fn chunks_that_can_be_read_in_two_ways_cut_the_body_off() {
    for body in [
        "2\nok\n0\n\n",
        "2\r\nok\n0\r\n\r\n",
        "2\r\nokay\r\n0\r\n\r\n",
        "0x2\r\nok\r\n0\r\n\r\n",
        "+2\r\nok\r\n0\r\n\r\n",
        "-2\r\nok\r\n0\r\n\r\n",
        "\r\nok\r\n0\r\n\r\n",
        ";x\r\nok\r\n0\r\n\r\n",
        "2 2\r\nok\r\n0\r\n\r\n",
        "10000000000000002\r\nok\r\n0\r\n\r\n",
        "2;a\nb\r\nok\r\n0\r\n\r\n",
        "2;a\rb\r\nok\r\n0\r\n\r\n",
        "2\r\nok\r\n0\r\nX: a\nY: b\r\n\r\n",
        "2\r\nok\r\n0\r\nno colon\r\n\r\n",
        "2\r\nok\r\n0\r\nX: a\r\n b\r\n\r\n",
    ] {
        let answer = sound(ok("Transfer-Encoding: chunked", body)).await;
        let end = answer.body;
        assert!(matches!(end, Err(Failure::Malformed(_))), "{body:?}: {end:?}");
        assert!(answer.connection.is_none());
    }
}

#[tokio::test]
async fn a_truncated_body_is_an_error_and_never_an_end() {
    for (fields, body) in [
        ("Content-Length: 100", "partial"),
        ("Transfer-Encoding: chunked", "7\r\npartial\r\n"),
        ("Transfer-Encoding: chunked", "7\r\npart"),
        ("Transfer-Encoding: chunked", "7\r\npartial\r\n0\r\n"),
        ("Transfer-Encoding: chunked", "7\r\npartial\r\n0\r\nX: 1\r\n"),
        ("Transfer-Encoding: chunked", ""),
    ] {
        for after in [After::Close, After::Reset] {
            let answer = answer(Ask::get(), ok(fields, body), after).await.unwrap();
            assert!(matches!(answer.body, Err(Failure::Io(_))), "{body:?}");
        }
    }
}

#[tokio::test]
async fn a_body_without_a_length_ends_with_a_fin_but_not_with_a_reset() {
    let raw = ok("Content-Type: text/plain", "until the end");
    let closed = answer(Ask::get(), raw.clone(), After::Close).await.unwrap();
    assert_eq!(closed.body(), b"until the end");
    assert!(closed.connection.is_none());
    let broken = answer(Ask::get(), raw, After::Reset).await.unwrap();
    assert!(matches!(broken.body, Err(Failure::Io(_))));
}

#[tokio::test]
async fn connection_close_and_http_1_0_are_honored() {
    let raws = [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nConnection: foo\r\nConnection: x, CLOSE\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ];
    for raw in raws {
        let answer = sound(raw).await;
        assert_eq!(answer.body(), b"ok");
        assert!(answer.connection.is_none(), "{raw:?}");
        assert!(!answer.headers.contains_key("connection"));
    }
    let raw = "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok";
    assert!(sound(raw).await.connection.is_some());
}

#[tokio::test]
async fn hop_by_hop_fields_stay_on_their_connection() {
    let fields = "Connection: x-hop, Upgrade\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\n\
        Proxy-Authenticate: Basic\r\nTrailer: X-Sum\r\nAlt-Svc: h3=\":443\"\r\nSet-Cookie: a=1\r\n\
        Set-Cookie: b=2, x\r\nLocation: /x%0d%0aSet-Cookie:%20a=1\r\nContent-Length: 2";
    let answer = sound(ok(fields, "ok")).await;
    let mut names: Vec<_> = answer.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["alt-svc", "location", "set-cookie"]);
    assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
}

#[tokio::test]
async fn trailers_are_passed_to_those_who_take_them_without_the_dangerous_ones() {
    let raw = ok(
        "Transfer-Encoding: chunked\r\nTrailer: X-Sum",
        "2\r\nok\r\n0\r\nX-Sum: 1\r\nSet-Cookie: evil=1\r\nContent-Length: 9\r\nX_Real_IP: 6\r\n\r\n",
    );
    let deaf = sound(raw.clone()).await;
    assert_eq!((deaf.body(), &deaf.trailers), (&b"ok"[..], &None));
    assert!(deaf.connection.is_some());
    let taker = answer(Ask::get().with("te", "trailers"), raw, After::Keep).await.unwrap();
    let trailers = taker.trailers.unwrap();
    assert_eq!(trailers.len(), 1);
    assert_eq!(trailers["x-sum"], "1");
    assert_eq!(taker.headers["trailer"], "X-Sum", "hyper sends only declared trailers");
}

#[tokio::test]
async fn interim_answers_are_told_and_bounded() {
    let (connection, mut stream) = pair().await;
    stream.write_all(b"").await.unwrap();
    let script = tokio::spawn(async move {
        read_head(&mut stream).await;
        let hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x\r\nX: 1\r\n\r\n";
        stream.write_all(hints).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        stream
    });
    let told = RefCell::new(Vec::new());
    let mut interim = |status: StatusCode, headers: &HeaderMap| {
        told.borrow_mut().push((status.as_u16(), headers.clone()));
    };
    let progress = Progress::default();
    let reply = Ask::get().watched(connection, &mut None, &progress, &mut interim).await;
    assert_eq!(read(reply.unwrap()).await.body(), b"ok");
    let told = told.into_inner();
    assert_eq!((told.len(), told[0].0), (1, 103));
    assert_eq!((told[0].1.len(), &told[0].1["link"]), (1, &HeaderValue::from_static("</a.css>")));
    drop(script);

    let flood = "HTTP/1.1 100 Continue\r\n\r\n".repeat(2000) + &ok("Content-Length: 2", "ok");
    refused(flood).await;
}

#[tokio::test]
async fn an_interim_answer_and_then_the_end_is_a_broken_answer() {
    let raw = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let failure = answer(Ask::get(), raw, After::Close).await.unwrap_err();
    assert!(matches!(failure, Failure::Io(_)), "{failure:?}");
}

#[tokio::test]
async fn a_reason_of_its_own_is_kept() {
    let (connection, mut stream) = pair().await;
    let script = tokio::spawn(async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 Splendid\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        stream
    });
    let Reply::Response(parts, body) = Ask::get().over(connection).await.unwrap() else {
        panic!("a response");
    };
    let reason = parts.extensions.get::<crate::message::reason_phrase::ReasonPhrase>().unwrap();
    assert_eq!(reason.as_bytes(), b"Splendid");
    assert!(body.is_end_stream() && !body.is_open_ended());
    drop(script);
}

#[tokio::test]
async fn an_answer_in_single_bytes_is_the_same_answer() {
    let (connection, mut stream) = pair().await;
    let script = tokio::spawn(async move {
        read_head(&mut stream).await;
        stream.set_nodelay(true).unwrap();
        let raw = ok("Transfer-Encoding: chunked\r\nX-A: 1", "2\r\nok\r\n0\r\n\r\n");
        for byte in raw.bytes() {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        stream
    });
    let answer = read(Ask::get().over(connection).await.unwrap()).await;
    assert_eq!(answer.body(), b"ok");
    assert_eq!(answer.headers["x-a"], "1");
    assert!(answer.connection.is_some());
    drop(script);
}

#[tokio::test]
async fn a_big_answer_arrives_whole_in_either_framing() {
    const SIZE: usize = 5_000_000;
    let body: Vec<u8> = (0..SIZE).map(|i| (i % 251) as u8).collect();
    let mut plain = ok(&format!("Content-Length: {SIZE}"), "").into_bytes();
    plain.extend_from_slice(&body);
    let mut chunked = ok("Transfer-Encoding: chunked", "").into_bytes();
    for chunk in body.chunks(70_001) {
        chunked.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    for raw in [plain, chunked] {
        let answer = sound(raw).await;
        assert!(answer.body() == body);
        assert!(answer.connection.is_some());
    }
}
