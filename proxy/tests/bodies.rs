//! What a request and its answer carry, from end to end: bodies, streams, tunnels.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::{Client, DEADLINE, Edge, Then, Upstream, eventually, ok};
use cutover_proxy::table::Balance;

/// An upstream that lets `talk` have every connection from its first byte on.
fn raw(talk: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let talk = Arc::new(talk);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let talk = Arc::clone(&talk);
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            thread::spawn(move || talk(stream));
        }
    });
    address
}

/// Reads until `end` has been read.
fn read_until(stream: &mut impl Read, end: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(end) {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "ended early: {}", bytes.escape_ascii());
        bytes.push(byte[0]);
    }
    bytes
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let step = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(step).take(length).collect()
}

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: app.test\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[test]
fn a_websocket_is_a_tunnel_byte_for_byte() {
    const SIZE: usize = 1 << 20;
    let address = raw(|mut stream| {
        let head = String::from_utf8(read_until(&mut stream, b"\r\n\r\n")).unwrap();
        assert!(head.contains("connection: upgrade\r\nupgrade: websocket\r\n"), "{head}");
        // The first bytes come in the very segment of the 101.
        stream.write_all(format!("{SWITCH}first").as_bytes()).unwrap();
        assert_eq!(read_until(&mut stream, b"first"), b"first");
        let mut echo = stream.try_clone().unwrap();
        std::io::copy(&mut stream, &mut echo).unwrap();
        echo.write_all(b"the end").unwrap();
    });
    let edge = Edge::in_front_of(&[address]);
    let mut client = edge.connect();
    client.send(format!("{UPGRADE}first"));
    let head = client.head().unwrap();
    assert_eq!((head.status, head.header("upgrade")), (101, Some("websocket")));
    assert_eq!(read_until(&mut client.stream, b"first"), b"first");

    let sent = noise(SIZE);
    let mut writer = client.stream.get_ref().try_clone().unwrap();
    let bytes = sent.clone();
    let writing = thread::spawn(move || {
        for piece in bytes.chunks(7001) {
            writer.write_all(piece).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    client.stream.read_to_end(&mut got).unwrap();
    writing.join().unwrap();
    assert!(got.strip_suffix(b"the end") == Some(&sent[..]), "{} bytes", got.len());
    eventually("the stream is over", || {
        edge.snapshot().services[0].colors.iter().all(|color| color.streams_in_flight == 0)
    });
}

#[test]
fn an_upgrade_may_come_with_a_body() {
    let address = raw(|mut stream| {
        let head = String::from_utf8(read_until(&mut stream, b"\r\n\r\n")).unwrap();
        assert!(head.contains("connection: upgrade\r\nupgrade: tcp\r\n"), "{head}");
        assert_eq!(read_until(&mut stream, b"{}"), b"{}");
        stream.write_all(SWITCH.replace("websocket", "tcp").as_bytes()).unwrap();
        assert_eq!(read_until(&mut stream, b"in"), b"in");
        stream.write_all(b"out").unwrap();
    });
    let edge = Edge::in_front_of(&[address]);
    let mut client = edge.connect();
    client.send(
        "POST /exec HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
         Content-Length: 2\r\n\r\n{}",
    );
    let head = client.head().unwrap();
    assert_eq!((head.status, head.header("upgrade")), (101, Some("tcp")));
    client.send("in");
    assert_eq!(read_until(&mut client.stream, b"out"), b"out");
}

#[test]
fn a_101_that_nobody_asked_for_is_a_502() {
    let upstream = Upstream::scripted(|_| Then::Answer(SWITCH.as_bytes().to_vec()));
    let edge = Edge::in_front_of(&[upstream.address]);
    let response = edge.get("/");
    assert_eq!((response.status, response.reason()), (502, "upstream_malformed"));
}

#[test]
fn events_arrive_when_they_happen() {
    let (happen, happened) = mpsc::channel::<&str>();
    let happened = std::sync::Mutex::new(Some(happened));
    let upstream = Upstream::scripted(move |_| {
        let happened = happened.lock().unwrap().take().unwrap();
        Then::Take(Box::new(move |stream| {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            for event in happened {
                stream.write_all(event.as_bytes()).unwrap();
            }
        }))
    });
    let edge = Edge::in_front_of(&[upstream.address]);
    let mut client = edge.connect();
    client.send("GET /events HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 200);
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        happen.send(event).unwrap();
        let got = read_until(&mut client.stream, format!("{event}\r\n").as_bytes());
        assert_eq!(got, format!("{:X}\r\n{event}\r\n", event.len()).as_bytes());
    }
    drop(happen);
    assert_eq!(read_until(&mut client.stream, b"0\r\n\r\n"), b"0\r\n\r\n");
}

#[test]
fn big_bodies_arrive_unchanged_in_both_directions() {
    const SIZE: usize = 32 << 20;
    let upstream = Upstream::scripted(|request| {
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").into_bytes();
        answer.extend_from_slice(&request.body);
        Then::Answer(answer)
    });
    let edge = Edge::in_front_of(&[upstream.address]);
    let sent = noise(SIZE);
    let mut client = edge.connect();
    assert!(client.post("/", &sent).body == sent);

    client.send("PUT / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in sent.chunks(100_003) {
        client.send(format!("{:x}\r\n", chunk.len()));
        client.send(chunk);
        client.send("\r\n");
    }
    client.send("0\r\n\r\n");
    assert!(client.response().unwrap().body == sent);
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1, "and the connection is kept");
}

#[test]
fn a_client_that_reads_slowly_holds_the_upstream_back() {
    let written = Arc::new(AtomicUsize::new(0));
    let upstream = Upstream::scripted({
        let written = Arc::clone(&written);
        move |_| {
            let written = Arc::clone(&written);
            Then::Take(Box::new(move |stream| {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                let piece = vec![0; 1 << 20];
                while stream.write_all(&piece).is_ok() {
                    written.fetch_add(1, Ordering::SeqCst);
                }
            }))
        }
    });
    let edge = Edge::in_front_of(&[upstream.address]);
    let mut client = edge.connect();
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 200);
    // It comes to rest: two looks apart see the same figure.
    let mut last = usize::MAX;
    eventually("the upstream has to wait", || {
        thread::park_timeout(Duration::from_millis(300));
        std::mem::replace(&mut last, written.load(Ordering::SeqCst)) == last
    });
    assert!(last < 64, "{last} MiB went somewhere");
}

#[test]
fn an_application_may_answer_while_it_is_still_reading() {
    let address = raw(|mut stream| {
        read_until(&mut stream, b"\r\n\r\n");
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let upload = read_until(&mut stream, b"0\r\n\r\n");
        assert!(upload.ends_with(b"6\r\nupload\r\n0\r\n\r\n"), "{}", upload.escape_ascii());
        stream.write_all(b"4\r\nlate\r\n0\r\n\r\n").unwrap();
    });
    let edge = Edge::in_front_of(&[address]);
    let mut client = edge.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(read_until(&mut client.stream, b"early\r\n"), b"5\r\nearly\r\n");
    client.send("6\r\nupload\r\n0\r\n\r\n");
    assert_eq!(read_until(&mut client.stream, b"0\r\n\r\n"), b"4\r\nlate\r\n0\r\n\r\n");
}

#[test]
fn an_upload_that_is_refused_early_learns_why() {
    let address = raw(|mut stream| {
        read_until(&mut stream, b"\r\n\r\n");
        let refusal = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\
            Content-Length: 3\r\n\r\nbig";
        stream.write_all(refusal.as_bytes()).unwrap();
    });
    let edge = Edge::in_front_of(&[address]);
    for _ in 0..20 {
        let mut client = edge.connect();
        let head = "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000000000\r\n\r\nstart";
        client.send(head);
        let response = client.response().unwrap();
        assert_eq!((response.status, response.text()), (413, "big".to_owned()));
        assert!(client.is_closed(), "the rest of the body is no request");
    }
}

#[test]
fn an_upstream_that_closes_every_new_connection_is_as_good_as_down() {
    let closing = raw(drop);
    let good = Upstream::saying("good");
    let mut edge = Edge::in_front_of(&[closing, good.address]);
    edge.service().balance = Balance::First;
    edge.apply();
    let mut client = edge.connect();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "good");
    }
    edge.serve(cutover_proxy::table::Color::Blue, &[closing]);
    edge.service().timeouts.hold = Duration::from_millis(300);
    edge.apply();
    let response = edge.get("/");
    assert!(matches!(response.status, 502 | 503), "{response:?}");
}

#[test]
fn an_answer_without_a_body_keeps_its_description() {
    let upstream = Upstream::scripted(|request| {
        Then::Answer(match request.path() {
            "/304" => {
                b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: \"x\"\r\n\r\n".to_vec()
            }
            "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n".to_vec(),
        })
    });
    let edge = Edge::in_front_of(&[upstream.address]);
    let mut client = edge.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!(client.head().unwrap().header("content-length"), Some("7"));
    client.send("GET /304 HTTP/1.1\r\nHost: app.test\r\nIf-None-Match: \"x\"\r\n\r\n");
    let unmodified = client.head().unwrap();
    assert_eq!((unmodified.status, unmodified.header("etag")), (304, Some("\"x\"")));
    client.send("GET /204 HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let empty = client.head().unwrap();
    assert_eq!((empty.status, empty.header("content-length")), (204, None));
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn trailers_reach_those_who_take_them() {
    let upstream = Upstream::scripted(|_| {
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
            2\r\nok\r\n0\r\nX-Sum: 1\r\nSet-Cookie: evil=1\r\n\r\n";
        Then::Answer(answer.into())
    });
    let edge = Edge::in_front_of(&[upstream.address]);
    let mut client = edge.connect();
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\nConnection: te\r\nTE: trailers\r\n\r\n");
    assert_eq!(client.head().unwrap().header("trailer"), Some("X-Sum"));
    let body = read_until(&mut client.stream, b"\r\n\r\n");
    assert_eq!(body.to_ascii_lowercase(), b"2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n");
    assert_eq!(upstream.last().header("te"), Some("trailers"));
    assert_eq!(client.get("/").text(), "ok", "and those who do not get none");
}

#[test]
fn a_keep_alive_pool_serves_many_requests_on_few_connections() {
    let upstream = Upstream::scripted(|_| Then::Answer(ok("kept")));
    let edge = Edge::in_front_of(&[upstream.address]);
    let mut client: Client = edge.connect();
    for _ in 0..500 {
        assert_eq!(client.get("/").text(), "kept");
    }
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
}

/// What has gone upstream, as the metrics tell it.
fn bytes_up(edge: &Edge) -> u64 {
    edge.snapshot()
        .services
        .iter()
        .flat_map(|service| &service.colors)
        .map(|color| color.bytes_up)
        .sum()
}

#[test]
fn bytes_upstream_are_those_of_bodies() {
    let upstream = Upstream::saying("hi");
    let edge = Edge::in_front_of(&[upstream.address]);
    let mut client = edge.connect();
    client.get("/a/target/that/is/longer/than/nothing");
    assert_eq!(bytes_up(&edge), 0, "a head is no body");
    client.post("/", &noise(100_000));
    assert_eq!(bytes_up(&edge), 100_000);
    client.send("PUT / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    assert_eq!(client.response().unwrap().status, 200);
    assert_eq!(bytes_up(&edge), 100_005, "chunk sizes are no body");
}

#[test]
fn bytes_of_an_upload_count_that_go_out_behind_the_answer() {
    let address = raw(|mut stream| {
        read_until(&mut stream, b"\r\n\r\n");
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n").unwrap();
        let mut body = [0; 5];
        stream.read_exact(&mut body).unwrap();
        stream.write_all(b"end").unwrap();
    });
    let edge = Edge::in_front_of(&[address]);
    let mut client = edge.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 200);
    client.send("later");
    assert_eq!(read_until(&mut client.stream, b"end"), b"end");
    eventually("the upload is counted", || bytes_up(&edge) == 5);
}

#[test]
fn bytes_of_an_upload_count_that_its_client_broke_off() {
    let (heard, hears) = mpsc::channel();
    let address = raw(move |mut stream| {
        read_until(&mut stream, b"12345");
        heard.send(()).unwrap();
        while stream.read(&mut [0; 16]).is_ok_and(|read| read > 0) {}
    });
    let edge = Edge::in_front_of(&[address]);
    let mut client = edge.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 10\r\n\r\n12345");
    hears.recv_timeout(DEADLINE).unwrap();
    drop(client);
    eventually("the part is counted", || bytes_up(&edge) == 5);
}
