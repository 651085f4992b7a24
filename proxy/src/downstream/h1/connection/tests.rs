use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::proxy::{Handle, Listener, Proxy, Settings};
use crate::table::TableSpec;
use crate::worker::PANIC;

const DEADLINE: Duration = Duration::from_secs(20);

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// What a client reads until the connection is closed.
fn talk(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).ok();
    rest(&mut stream)
}

fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A proxy of one worker, with a table that has no route.
fn start() -> (Proxy, SocketAddr, TableSpec) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let proxy = Proxy::start(Settings {
        listeners: vec![Listener { address, sockets: vec![socket] }],
        shutdown_timeout: Duration::from_secs(1),
        trim: None,
    })
    .unwrap();
    let mut table = TableSpec::default();
    apply(&proxy.handle(), &mut table);
    (proxy, address, table)
}

fn apply(handle: &Handle, table: &mut TableSpec) {
    table.generation = table.generation.next();
    handle.apply(table.clone()).unwrap();
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

const LAST: &str = "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";

#[test]
fn a_panic_ends_its_own_connection_and_is_counted() {
    let (proxy, address, _) = start();
    let mut beside = connect(address);
    beside.write_all(b"GET / HTT").unwrap();

    let panicked = talk(address, "GET /panic HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!(panicked, "");
    assert_eq!(proxy.handle().snapshot().panics, 1);

    // The worker goes on: a connection that was open, and a new one.
    beside.write_all(b"P/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n").unwrap();
    let answer = rest(&mut beside);
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let next = talk(address, LAST);
    assert!(next.starts_with("HTTP/1.1 404 "), "{next}");
    proxy.shutdown();
}

#[test]
fn a_panic_in_a_tunnel_ends_that_tunnel_alone_and_is_counted() {
    let (proxy, address, mut table) = start();
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = app.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in app.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                until(&mut stream, "\r\n\r\n");
                stream.write_all(SWITCH.as_bytes()).unwrap();
                std::io::copy(&mut stream.try_clone().unwrap(), &mut stream).ok();
            });
        }
    });
    let spec = serde_json::json!({
        "generation": 0,
        "routes": [{"host": "any", "path": "/", "strip_prefix": false, "service": "web"}],
        "services": [{
            "name": "web", "balance": "first", "host": null, "max_body": null, "timeouts": {},
            "pause": null,
            "pools": [{"color": "blue", "weight": 1, "endpoints": [
                {"id": "one", "address": upstream, "weight": 1, "up": true},
            ]}],
        }],
        "policy": {},
    });
    let generation = table.generation;
    table = TableSpec { generation, ..serde_json::from_value(spec).unwrap() };
    apply(&proxy.handle(), &mut table);
    let open = || {
        let mut stream = connect(address);
        let upgrade =
            "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        stream.write_all(upgrade.as_bytes()).unwrap();
        until(&mut stream, "\r\n\r\n");
        stream
    };
    let echoes = |stream: &mut TcpStream| {
        stream.write_all(b"hello").unwrap();
        until(stream, "hello");
    };
    let (mut one, mut other) = (open(), open());
    echoes(&mut one);
    echoes(&mut other);
    one.write_all(b"/panic").unwrap();
    assert_eq!(rest(&mut one), "");
    echoes(&mut other);
    echoes(&mut open());
    let handle = proxy.handle();
    eventually("it is counted", || handle.snapshot().panics == 1);
    let streams = || handle.snapshot().services[0].colors[0].streams_in_flight;
    eventually("only one is left", || streams() == 1);
    drop(other);
    proxy.shutdown();
}

const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

fn until(stream: &mut TcpStream, end: &str) {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&read));
        read.extend(byte);
    }
}

#[test]
fn a_panic_in_an_accept_loop_costs_one_connection_and_the_loop_begins_anew() {
    let (proxy, address, mut table) = start();
    let mut beside = connect(address);
    beside.write_all(b"GET / HTT").unwrap();
    eventually("it is in", || proxy.handle().snapshot().connections.values().sum::<u64>() == 1);
    table.policy.limits.max_waiting = PANIC;
    apply(&proxy.handle(), &mut table);
    assert_eq!(talk(address, LAST), "");
    eventually("it is counted", || proxy.handle().snapshot().panics == 1);
    table.policy.limits.max_waiting = 1;
    apply(&proxy.handle(), &mut table);
    let next = talk(address, LAST);
    assert!(next.starts_with("HTTP/1.1 404 "), "{next}");
    beside.write_all(b"P/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n").unwrap();
    let answer = rest(&mut beside);
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert_eq!(proxy.handle().snapshot().panics, 1);
    proxy.shutdown();
}

#[test]
fn a_panic_in_the_work_of_a_tick_leaves_the_deadlines_alone() {
    let (proxy, address, mut table) = start();
    table.policy.limits.max_headers = PANIC;
    apply(&proxy.handle(), &mut table);
    eventually("it has panicked", || proxy.handle().snapshot().panics > 0);
    table.policy.limits = crate::table::Limits {
        header_timeout: Duration::from_millis(200),
        ..crate::table::Limits::default()
    };
    apply(&proxy.handle(), &mut table);
    let answer = talk(address, "GET / HTT");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    proxy.shutdown();
}

#[test]
fn a_connection_that_sleeps_is_small() {
    fn size<A, B, F>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }
    let sleeping = size(super::serve) + size_of::<crate::exchange::client::Client>();
    assert!(sleeping < 1024, "{sleeping} bytes");
}
