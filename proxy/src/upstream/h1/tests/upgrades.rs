//! Requests for another protocol (RFC 9110 §7.8).

use super::*;

#[tokio::test]
async fn a_101_is_valid_only_to_the_upgrade_that_was_asked_for() {
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let unasked = answer(Ask::get(), switch, After::Keep).await;
    assert!(matches!(unasked, Err(Failure::Malformed("101 that nobody asked for"))), "{unasked:?}");
    for raw in [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket, x\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ] {
        let failure = answer(Ask::get().upgrading("websocket"), raw, After::Keep).await;
        assert!(matches!(failure, Err(Failure::Malformed(_))), "{raw:?}");
    }
}

#[tokio::test]
async fn a_valid_101_hands_the_connection_over_with_what_came_behind_it() {
    let (connection, mut stream) = pair().await;
    let script = tokio::spawn(async move {
        let head = read_head(&mut stream).await;
        let raw = b"HTTP/1.1 101 Switching Protocols\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: x\r\n\r\nfirst";
        stream.write_all(raw).await.unwrap();
        (head, stream)
    });
    let reply = Ask::get().upgrading("websocket").over(connection).await.unwrap();
    let Reply::Switching(parts, mut connection) = reply else {
        panic!("a switch, not {reply:?}");
    };
    assert_eq!(parts.headers["upgrade"], "WebSocket");
    assert_eq!(parts.headers["connection"], "upgrade");
    assert_eq!(parts.headers["sec-websocket-accept"], "x");
    assert_eq!(&connection.buffer()[..], b"first");
    let (head, _stream) = script.await.unwrap();
    let head = String::from_utf8(head).unwrap();
    assert!(head.contains("\r\nconnection: upgrade\r\nupgrade: websocket\r\n"), "{head}");
}

#[tokio::test]
async fn a_refused_upgrade_is_an_answer_like_any_other() {
    let raw = "HTTP/1.1 403 Forbidden\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno";
    let answer = answer(Ask::get().upgrading("websocket"), raw, After::Keep).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body()), (403, &b"no"[..]));
    assert!(!answer.headers.contains_key("upgrade"));
    assert!(answer.connection.is_some());
}

#[tokio::test]
async fn a_body_goes_ahead_of_the_protocol_that_it_asks_for() {
    for (length, wire) in [(Some(5), "hello"), (None, "5\r\nhello\r\n0\r\n\r\n")] {
        let (connection, mut stream) = pair().await;
        let script = tokio::spawn(async move {
            let whole = |bytes: &[u8]| bytes.ends_with(format!("\r\n\r\n{wire}").as_bytes());
            let request = read_until(&mut stream, whole).await;
            let raw = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nraw";
            stream.write_all(raw.as_bytes()).await.unwrap();
            (String::from_utf8(request).unwrap(), stream)
        });
        let mut body = Some(Pieces::whole(length, &[b"hello"]));
        let ask = Ask::new(Method::POST).upgrading("tcp");
        let reply = ask.send(connection, &mut body).await.unwrap();
        let Reply::Switching(parts, mut connection) = reply else {
            panic!("a switch, not {reply:?}");
        };
        assert_eq!(parts.headers["upgrade"], "tcp");
        assert_eq!(&connection.buffer()[..], b"raw");
        let (request, _stream) = script.await.unwrap();
        assert!(request.contains("\r\nconnection: upgrade\r\nupgrade: tcp\r\n"), "{request}");
    }
}

#[tokio::test]
async fn a_101_before_the_body_has_been_sent_is_refused() {
    let (connection, mut stream) = pair().await;
    let script = tokio::spawn(async move {
        read_head(&mut stream).await;
        let raw = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
        stream.write_all(raw.as_bytes()).await.unwrap();
        stream
    });
    let (_sender, body) = Pieces::new(Some(5));
    let reply = Ask::new(Method::POST).upgrading("tcp").send(connection, &mut Some(body)).await;
    let early = "101 before the request had been sent";
    assert!(matches!(reply, Err(Failure::Malformed(reason)) if reason == early), "{reply:?}");
    drop(script);
}

#[tokio::test]
async fn a_426_says_which_protocol_it_requires_and_no_other_answer_does() {
    for (status, said) in [("426 Upgrade Required", true), ("200 OK", false), ("400 No", false)] {
        let fields =
            "Connection: close, upgrade\r\nUpgrade: TLS/1.0\r\nUpgrade: x\r\nContent-Length: 0";
        let raw = format!("HTTP/1.1 {status}\r\n{fields}\r\n\r\n");
        let answer = answer(Ask::get(), raw, After::Keep).await.unwrap();
        let values = |name| answer.headers.get_all(name).iter().collect::<Vec<_>>();
        let (connection, upgrade): (&[&str], &[&str]) =
            if said { (&["upgrade"], &["TLS/1.0", "x"]) } else { (&[], &[]) };
        assert_eq!(values("connection"), connection, "{status}");
        assert_eq!(values("upgrade"), upgrade, "{status}");
    }
}
