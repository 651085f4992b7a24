//! Answers that come before the request has been sent, and answers that stop before their end.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests"
)]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use common::{DEADLINE, Edge, Then, Upstream, eventually, ok};

/// Reads up to the empty line, byte by byte.
fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 7 % 251) as u8).collect()
}

/// An app of one connection: `script` gets it once the first head has been read.
fn app(script: impl FnOnce(&mut TcpStream, String) + Send + 'static) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let head = read_head(&mut stream);
        script(&mut stream, head);
    });
    address
}

#[test]
fn an_upload_goes_on_behind_an_early_answer_and_the_next_request_is_served() {
    let (tell, told) = mpsc::channel();
    let address = app(move |stream, _| {
        let mut body = vec![0; 200_000];
        stream.read_exact(&mut body[..1000]).unwrap();
        stream.write_all(&ok("early")).unwrap();
        stream.read_exact(&mut body[1000..]).unwrap();
        tell.send(body).unwrap();
        read_head(stream);
        let mut second = [0; 5];
        stream.read_exact(&mut second).unwrap();
        stream.write_all(&ok("second")).unwrap();
    });
    let edge = Edge::in_front_of(&[address]);
    let body = pattern(200_000);
    let mut client = edge.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 200000\r\n\r\n");
    client.send(&body[..100_000]);
    let early = client.response().unwrap();
    assert_eq!((early.text().as_str(), early.header("connection")), ("early", None));
    client.send(&body[100_000..]);
    assert!(told.recv_timeout(DEADLINE).unwrap() == body, "the app has it all");
    assert_eq!(client.post("/", b"hello").text(), "second");
    eventually("nothing is in flight", || {
        edge.snapshot().services[0].colors[0].requests_in_flight == 0
    });
}

#[test]
fn an_app_that_answers_early_and_closes_costs_the_client_no_second_request() {
    let upstream = Upstream::scripted(|seen| {
        if seen.path() == "/next" {
            return Then::Answer(ok("next"));
        }
        Then::Close(ok("unused"))
    });
    let closing = app(|stream, _| {
        stream.write_all(&ok("early")).unwrap();
    });
    let mut edge = Edge::in_front_of(&[closing]);
    let mut client = edge.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 300000\r\n\r\n");
    client.send(pattern(100_000));
    assert_eq!(client.response().unwrap().text(), "early");
    edge.serve(cutover_proxy::table::Color::Green, &[upstream.address]);
    client.send(pattern(200_000));
    assert_eq!(client.get("/next").text(), "next", "the rest of the body was taken and dropped");
}

#[test]
fn a_long_early_answer_to_an_upgrade_is_whole() {
    const LENGTH: usize = 3_000_000;
    let address = app(|stream, _| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&pattern(LENGTH)).unwrap();
        stream.read_to_end(&mut Vec::new()).ok();
    });
    let edge = Edge::in_front_of(&[address]);
    let mut client = edge.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: app.test\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\
         Content-Length: 10\r\n\r\nhalf",
    );
    assert!(client.response().unwrap().body == pattern(LENGTH));
}

#[test]
fn all_that_came_of_a_truncated_answer_is_relayed() {
    for round in 0..40 {
        let length = 1_000_000 + round * 37_777;
        let address = app(move |stream, _| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", length + 90);
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&pattern(length)).unwrap();
        });
        let edge = Edge::in_front_of(&[address]);
        let mut client = edge.connect();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let head = client.head().unwrap();
        assert_eq!(head.header("content-length"), Some((length + 90).to_string().as_str()));
        let mut body = Vec::new();
        client.stream.read_to_end(&mut body).ok();
        assert!(body == pattern(length), "round {round}: {} of {length}", body.len());
    }
}

#[test]
fn an_answer_whose_length_is_its_end_is_reset_where_the_proxy_gives_it_up() {
    let upstream = Upstream::scripted(|_| {
        Then::Take(Box::new(|stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nbegun").unwrap();
            stream.read_exact(&mut [0]).ok();
        }))
    });
    let mut edge = Edge::in_front_of(&[upstream.address]);
    let ask = || {
        let mut stream = TcpStream::connect(edge.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\nHost: app.test\r\n\r\n").unwrap();
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
        let mut begun = [0; 5];
        stream.read_exact(&mut begun).unwrap();
        stream
    };
    let mut cut = ask();
    thread::spawn(move || edge.shutdown());
    let end = cut.read_to_end(&mut Vec::new());
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}
