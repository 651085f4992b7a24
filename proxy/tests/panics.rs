//! A panic ends what it happens in, is counted, and nothing else notices. The panics are those of a
//! log that panics at the line it is told to: no room of the product knows of it.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Mutex, MutexGuard, Once};
use std::thread;
use std::time::Duration;

use common::{DEADLINE, Edge, Then, Upstream, dead_address, eventually};
use socket2::SockRef;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

/// Panics where a line is logged that has this in it.
static LINE: Mutex<Option<&str>> = Mutex::new(None);
/// One test at a time: the log is that of the process.
static ALONE: Mutex<()> = Mutex::new(());

struct PanickingLog;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, _: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{value:?} ").unwrap();
    }
}

impl Subscriber for PanickingLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let mut line = LINE.lock().unwrap();
        if line.is_some_and(|line| text.0.contains(line)) {
            // Once: the line that tells of the panic must get through.
            line.take();
            drop(line);
            panic!("injected");
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// From here on the log panics at `line`, once.
fn panic_at(line: &'static str) -> MutexGuard<'static, ()> {
    static SET: Once = Once::new();
    SET.call_once(|| tracing::subscriber::set_global_default(PanickingLog).unwrap());
    let alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    *LINE.lock().unwrap() = Some(line);
    alone
}

fn panics(edge: &Edge) -> u64 {
    edge.snapshot().panics
}

fn connect(edge: &Edge) -> TcpStream {
    let stream = TcpStream::connect(edge.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_panic_ends_its_own_connection_and_is_counted() {
    let upstream = Upstream::saying("hi");
    let mut edge = Edge::in_front_of(&[upstream.address]);
    let mut beside = edge.connect();
    assert_eq!(beside.get("/").status, 200);
    let _alone = panic_at("connect");
    edge.serve(cutover_proxy::table::Color::Green, &[dead_address()]);
    let mut panicked = connect(&edge);
    panicked.write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").unwrap();
    assert_eq!(rest(&mut panicked), "");
    eventually("it is counted", || panics(&edge) == 1);
    // The worker goes on: a connection that was open, and a new one.
    edge.serve(cutover_proxy::table::Color::Blue, &[upstream.address]);
    assert_eq!(beside.get("/").status, 200);
    assert_eq!(edge.get("/").status, 200);
}

#[test]
fn a_panic_in_a_tunnel_ends_that_tunnel_alone_and_is_counted() {
    let _alone = panic_at("a tunnel broke");
    let upstream = Upstream::scripted(|_| {
        let switch =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        Then::Take(Box::new(move |stream| {
            stream.write_all(switch).unwrap();
            std::io::copy(&mut stream.try_clone().unwrap(), stream).ok();
        }))
    });
    let edge = Edge::in_front_of(&[upstream.address]);
    let open = || {
        let mut client = edge.connect();
        client.send(
            "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
        );
        assert_eq!(client.head().unwrap().status, 101);
        client
    };
    let echoes = |client: &mut common::Client| {
        client.send("hello");
        let mut echo = [0; 5];
        client.stream.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"hello");
    };
    let (mut one, mut other) = (open(), open());
    echoes(&mut one);
    echoes(&mut other);
    SockRef::from(one.stream.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
    drop(one);
    eventually("it is counted", || panics(&edge) == 1);
    echoes(&mut other);
    echoes(&mut open());
    let streams = || edge.snapshot().services[0].colors[0].streams_in_flight;
    eventually("only one is left", || streams() == 1);
    drop(other);
}

#[test]
fn a_panic_in_an_accept_loop_costs_one_connection_and_the_loop_begins_anew() {
    let upstream = Upstream::saying("hi");
    let mut edge = Edge::in_front_of(&[upstream.address]);
    let mut beside = edge.connect();
    assert_eq!(beside.get("/").status, 200);
    edge.spec.policy.limits.max_connections = Some(1);
    edge.apply();
    let _alone = panic_at("the connection limit is reached");
    assert_eq!(rest(&mut connect(&edge)), "");
    eventually("it is counted", || panics(&edge) == 1);
    edge.spec.policy.limits.max_connections = None;
    edge.apply();
    for _ in 0..10 {
        assert_eq!(edge.get("/").status, 200);
    }
    assert_eq!(beside.get("/").status, 200);
    assert_eq!(panics(&edge), 1);
}

#[test]
fn a_panic_in_the_work_of_a_tick_leaves_the_deadlines_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let proxy = cutover_proxy::Proxy::start(cutover_proxy::Settings {
        listeners: vec![cutover_proxy::Listener { address, sockets: vec![listener] }],
        shutdown_timeout: Duration::from_secs(1),
        trim: Some(|| panic!("injected")),
    })
    .unwrap();
    let mut table = cutover_proxy::table::TableSpec::default();
    table.generation = table.generation.next();
    table.policy.limits.header_timeout = Duration::from_millis(200);
    proxy.handle().apply(table).unwrap();
    let say = |text: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        rest(&mut stream)
    };
    // A connection that closes leaves memory to be given back at the next tick.
    let last = "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";
    assert!(say(last).starts_with("HTTP/1.1 404 "));
    eventually("it has panicked", || proxy.handle().snapshot().panics > 0);
    assert!(say("GET / HTT").starts_with("HTTP/1.1 408 "));
    thread::spawn(|| proxy.shutdown()).join().unwrap();
}
