//! NTLM and Negotiate authenticate a connection: it serves one client alone from then on.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use common::{Edge, eventually};
use cutover_proxy::table::Color;

/// An app that knows its connections by number, and asks who is there on `/login`.
fn app(scheme: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            thread::spawn(move || serve(stream, number, scheme));
        }
    });
    address
}

fn serve(mut stream: TcpStream, number: usize, scheme: &str) {
    let mut head = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).is_ok_and(|read| read == 1) {
        head.extend(byte);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = number.to_string();
        let status = match head.starts_with(b"GET /login ") {
            true => format!("401 Unauthorized\r\nWWW-Authenticate: {scheme}"),
            false => "200 OK".to_owned(),
        };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        stream.write_all(answer.as_bytes()).unwrap();
        head.clear();
    }
}

#[test]
fn a_connection_that_was_authenticated_serves_its_client_alone_until_it_closes() {
    for scheme in ["NTLM", "Negotiate"] {
        let mut edge = Edge::in_front_of(&[app(scheme)]);
        let (mut one, mut other) = (edge.connect(), edge.connect());
        let bound = one.get("/login").text();
        for _ in 0..5 {
            assert_ne!(other.get("/").text(), bound, "{scheme}");
            assert_eq!(one.get("/").text(), bound, "{scheme}");
        }
        // It outlives a rest of its client, and is of no use to those who come behind it.
        thread::park_timeout(std::time::Duration::from_millis(400));
        assert_eq!(one.get("/").text(), bound, "{scheme}");
        drop(one);
        eventually("one is gone", || edge.snapshot().connections.values().sum::<u64>() == 1);
        for _ in 0..5 {
            assert_ne!(edge.get("/").text(), bound, "{scheme}");
        }
        // A flip takes its client along: the new release knows nobody.
        let mut one = edge.connect();
        one.get("/login");
        let next = app("NTLM");
        edge.serve(Color::Green, &[next]);
        let before = one.get("/").text();
        assert_eq!(before, "0", "the first connection of the new release");
    }
}

#[test]
fn other_challenges_bind_nothing() {
    let edge = Edge::in_front_of(&[app("Basic realm=\"x\"")]);
    let (mut one, mut other) = (edge.connect(), edge.connect());
    assert_eq!(one.get("/login").text(), "0");
    let mut numbers: Vec<_> = (0..5).map(|_| other.get("/").text()).collect();
    numbers.dedup();
    // Each worker has connections of its own.
    assert!(numbers == ["0"] || numbers == ["1"], "{numbers:?}");
}
