use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::proxy::{Listener, Proxy, Settings};
use crate::table::TableSpec;

/// What a client reads until the connection is closed.
fn talk(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_panic_ends_its_own_connection_and_is_counted() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let proxy = Proxy::start(Settings {
        listeners: vec![Listener { address, sockets: vec![socket] }],
        shutdown_timeout: Duration::from_secs(1),
        trim: None,
    })
    .unwrap();
    let mut table = TableSpec::default();
    table.generation = table.generation.next();
    proxy.handle().apply(table).unwrap();
    let mut beside = TcpStream::connect(address).unwrap();
    beside.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    beside.write_all(b"GET / HTT").unwrap();

    let panicked = talk(address, "GET /panic HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!(panicked, "");
    assert_eq!(proxy.handle().snapshot().panics, 1);

    // The worker goes on: a connection that was open, and a new one.
    beside.write_all(b"P/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    beside.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let next = talk(address, "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n");
    assert!(next.starts_with("HTTP/1.1 404 "), "{next}");
    proxy.shutdown();
}

#[test]
fn a_connection_that_sleeps_is_small() {
    fn size<A, B, F>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }
    let sleeping = size(super::serve) + size_of::<crate::client::Client>();
    assert!(sleeping < 1024, "{sleeping} bytes");
}
