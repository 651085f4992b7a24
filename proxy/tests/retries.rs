//! When a request is sent again, and when it must not be.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs, reason = "a test")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::{Client, DEADLINE, Edge, Then, Upstream, dead_address, eventually, ok};
use cutover_proxy::table::{Balance, Color, HashKey};
use socket2::{Domain, Socket, Type};

#[test]
fn a_stale_pooled_connection_never_shows_for_a_request_that_is_safe_to_resend() {
    // Each connection serves one request and closes without saying so.
    let upstream = Upstream::scripted(|_| Then::Close(ok("once")));
    let edge = Edge::in_front_of(&[upstream.address]);
    let mut client = edge.connect();
    for _ in 0..200 {
        assert_eq!(client.get("/").text(), "once");
    }
    assert!(upstream.requests() >= 200);
}

#[test]
fn a_connection_closed_under_the_second_request_is_replaced() {
    // Reads the second request on a connection, then closes unanswered: the worst moment.
    let upstream = Upstream::scripted({
        let served = AtomicUsize::new(0);
        move |_| {
            if served.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                Then::Answer(ok("fresh"))
            } else {
                Then::Close(Vec::new())
            }
        }
    });
    let edge = Edge::in_front_of(&[upstream.address]);
    let mut client = edge.connect();
    for _ in 0..50 {
        assert_eq!(client.get("/").text(), "fresh");
    }
    let retries = edge.snapshot().services[0].retries.clone();
    assert!(retries.get("stale").is_some_and(|count| *count >= 40), "{retries:?}");
}

#[test]
fn a_post_that_may_have_been_executed_is_never_sent_twice() {
    let upstream = Upstream::scripted(|_| Then::Close(Vec::new()));
    let edge = Edge::in_front_of(&[upstream.address]);
    let response = edge.connect().post("/", b"pay");
    assert_eq!((response.status, response.reason()), (502, "upstream_closed"));
    assert_eq!(upstream.requests(), 1);
}

#[test]
fn a_get_on_a_fresh_connection_is_tried_on_another_endpoint() {
    let bad = Upstream::scripted(|_| Then::Close(Vec::new()));
    let good = Upstream::saying("good");
    let mut edge = Edge::in_front_of(&[bad.address, good.address]);
    edge.service().balance = Balance::First;
    edge.apply();
    for _ in 0..5 {
        assert_eq!(edge.get("/").text(), "good");
    }
}

#[test]
fn a_refused_connection_costs_nothing_while_another_endpoint_lives() {
    let good = Upstream::saying("good");
    let edge = Edge::in_front_of(&[dead_address(), good.address]);
    for _ in 0..20 {
        assert_eq!(edge.get("/").text(), "good");
        assert_eq!(edge.connect().post("/", b"x").text(), "good");
    }
    let ejected = |edge: &Edge| {
        let pools = edge.snapshot().pools;
        pools[0].endpoints.iter().map(|endpoint| endpoint.ejected).collect::<Vec<_>>()
    };
    assert_eq!(ejected(&edge), [true, false], "the dead one is left out after three failures");
}

#[test]
fn restarting_a_lone_container_costs_latency_not_errors() {
    let address = dead_address();
    let edge = Edge::in_front_of(&[address]);
    let proxy = edge.address;
    let request =
        thread::spawn(move || Client::new(TcpStream::connect(proxy).unwrap()).post("/", b"order"));
    eventually("the request waits", || edge.snapshot().services[0].waiting == 1);
    let _upstream = Upstream::on(TcpListener::bind(address).unwrap(), |_| Then::Answer(ok("back")));
    assert_eq!(request.join().unwrap().text(), "back");
}

#[test]
fn an_endpoint_that_never_comes_back_is_a_503_in_time() {
    let mut edge = Edge::in_front_of(&[dead_address()]);
    edge.service().timeouts.hold = Duration::from_millis(300);
    edge.apply();
    let response = edge.get("/");
    assert_eq!((response.status, response.reason()), (503, "connect_failed"));
    assert_eq!(response.header("retry-after"), Some("1"));
}

#[test]
fn an_upstream_that_hangs_is_a_504_in_time() {
    let release = Arc::new(AtomicUsize::new(0));
    let upstream = Upstream::scripted({
        let release = Arc::clone(&release);
        move |_| {
            let release = Arc::clone(&release);
            Then::Take(Box::new(move |_| {
                eventually("the client has its answer", || release.load(Ordering::SeqCst) > 0);
            }))
        }
    });
    let mut edge = Edge::in_front_of(&[upstream.address]);
    edge.service().timeouts.response_header = Duration::from_millis(300);
    edge.apply();
    let response = edge.get("/");
    assert_eq!((response.status, response.reason()), (504, "upstream_timeout"));
    release.store(1, Ordering::SeqCst);
}

/// A listener whose queue is full: the kernel leaves whoever connects to it without an answer.
struct Full {
    address: SocketAddr,
    _listener: Socket,
    _queue: Vec<TcpStream>,
}

impl Full {
    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200));
        let mut queue = Vec::new();
        while let Ok(stream) = connect() {
            queue.push(stream);
            assert!(queue.len() < 100, "the queue has no end");
        }
        Self { address, _listener: listener, _queue: queue }
    }
}

#[test]
fn an_upstream_that_takes_no_connection_is_a_504_in_time() {
    let full = Full::new();
    let mut edge = Edge::in_front_of(&[full.address]);
    edge.service().timeouts.connect = Duration::from_millis(500);
    edge.service().timeouts.hold = Duration::ZERO;
    edge.apply();
    let start = Instant::now();
    let response = edge.get("/");
    let took = start.elapsed();
    assert_eq!((response.status, response.reason()), (504, "connect_timeout"));
    let connect = edge.service().timeouts.connect;
    assert!((connect..connect * 10).contains(&took), "{took:?}");
    let errors = edge.snapshot().services[0].colors[0].upstream_errors.clone();
    assert_eq!(errors.get("connect_timeout"), Some(&1), "{errors:?}");
}

#[test]
fn a_request_that_one_endpoint_takes_no_connection_for_goes_to_another() {
    let full = Full::new();
    let good = Upstream::saying("good");
    let mut edge = Edge::in_front_of(&[full.address, good.address]);
    edge.service().balance = Balance::First;
    edge.service().timeouts.connect = Duration::from_millis(300);
    edge.apply();
    assert_eq!(edge.get("/").text(), "good");
    // Nothing has been sent, so that is not only for what may be sent twice.
    assert_eq!(edge.connect().post("/", b"pay").text(), "good");
    assert_eq!(good.requests(), 2);
    assert_eq!(edge.snapshot().services[0].retries.get("connect_failed"), Some(&2));
}

#[test]
fn an_idle_connection_to_an_upstream_is_closed_at_its_deadline_and_not_long_before() {
    let (told, closed) = mpsc::channel();
    let upstream = Upstream::scripted(move |_| {
        let told = told.clone();
        Then::Take(Box::new(move |stream| {
            stream.write_all(&ok("once")).unwrap();
            let idle = Instant::now();
            let end = stream.read(&mut [0; 1]);
            told.send((end.ok(), idle.elapsed())).unwrap();
        }))
    });
    let mut edge = Edge::in_front_of(&[upstream.address]);
    let limit = Duration::from_secs(2);
    edge.service().timeouts.upstream_idle = limit;
    edge.apply();
    assert_eq!(edge.get("/").text(), "once");
    let (end, after) = closed.recv_timeout(DEADLINE).unwrap();
    assert_eq!(end, Some(0), "the end, not a reset");
    assert!((limit / 2..limit * 5).contains(&after), "{after:?}");
}

#[test]
fn a_get_that_one_endpoint_leaves_unanswered_is_asked_of_another() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let good = Upstream::saying("good");
    let mut edge = Edge::in_front_of(&[silent.local_addr().unwrap(), good.address]);
    edge.service().balance = Balance::First;
    edge.service().timeouts.response_header = Duration::from_millis(300);
    edge.apply();
    let response = edge.connect().post("/", b"pay");
    assert_eq!((response.status, response.reason()), (504, "upstream_timeout"));
    assert_eq!(good.requests(), 0, "what may have been executed is not sent twice");
    assert_eq!(edge.get("/").text(), "good");
    assert_eq!(edge.snapshot().services[0].retries.get("timeout"), Some(&1));
    edge.get("/");
    let left_out = |edge: &Edge| edge.snapshot().pools[0].endpoints[0].ejected;
    assert!(left_out(&edge), "three in a row, and it is left out");
}

#[test]
fn a_get_whose_answer_breaks_off_in_its_head_or_is_malformed_is_asked_of_another() {
    for (said, retry) in [("HTTP/1.1 200 OK\r\nconte", "closed"), ("no http\r\n\r\n", "malformed")]
    {
        let bad = Upstream::scripted(move |_| Then::Close(said.into()));
        let good = Upstream::saying("good");
        let mut edge = Edge::in_front_of(&[bad.address, good.address]);
        edge.service().balance = Balance::First;
        edge.apply();
        let response = edge.connect().post("/", b"pay");
        assert_eq!(response.status, 502);
        assert_eq!(good.requests(), 0, "what may have been executed is not sent twice");
        assert_eq!(edge.get("/").text(), "good");
        assert_eq!(edge.snapshot().services[0].retries.get(retry), Some(&1));
        edge.get("/");
        assert!(edge.snapshot().pools[0].endpoints[0].ejected, "three in a row");
    }
}

#[test]
fn no_get_fails_for_want_of_budget_while_another_endpoint_lives() {
    let bad = Upstream::scripted(|_| Then::Close(Vec::new()));
    let good = Upstream::saying("good");
    let mut edge = Edge::in_front_of(&[bad.address, good.address]);
    edge.service().balance = Balance::First;
    edge.apply();
    // More at once than the budget has retries, so that no ejection helps any of them.
    let mut clients: Vec<_> = (0..100).map(|_| edge.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response().unwrap().text(), "good");
    }
}

#[test]
fn a_truncated_answer_is_never_a_clean_end() {
    let upstream = Upstream::scripted(|_| {
        Then::Take(Box::new(|stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
        }))
    });
    let edge = Edge::in_front_of(&[upstream.address]);
    let mut client = edge.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.response().is_err());
    let errors = || edge.snapshot().services[0].colors[0].upstream_errors.clone();
    eventually("it is counted", || errors().get("truncated") == Some(&1));
}

#[test]
fn equal_keys_meet_the_same_endpoint() {
    let upstreams = ["one", "two", "three"].map(Upstream::saying);
    let addresses: Vec<_> = upstreams.iter().map(|upstream| upstream.address).collect();
    let mut edge = Edge::in_front_of(&addresses);
    edge.service().balance = Balance::Hash(HashKey::Uri);
    edge.apply();
    let mut seen = std::collections::BTreeSet::new();
    for key in 0..50 {
        let path = format!("/{key}");
        let first = edge.get(&path).text();
        for _ in 0..3 {
            assert_eq!(edge.get(&path).text(), first);
        }
        seen.insert(first);
    }
    assert_eq!(seen.len(), 3, "fifty keys reach all three");
}

#[test]
fn round_robin_takes_turns() {
    let upstreams = ["one", "two"].map(Upstream::saying);
    let addresses: Vec<_> = upstreams.iter().map(|upstream| upstream.address).collect();
    let edge = Edge::in_front_of(&addresses);
    let mut client = edge.connect();
    let answers: Vec<_> = (0..10).map(|_| client.get("/").text()).collect();
    assert!(answers.windows(2).all(|pair| pair[0] != pair[1]), "{answers:?}");
}

#[test]
fn a_request_that_kills_every_connection_is_sent_twice_at_most() {
    let upstream = Upstream::scripted(|seen| match seen.path() {
        "/warm" => Then::Answer(ok("warm")),
        _ => Then::Close(Vec::new()),
    });
    let edge = Edge::in_front_of(&[upstream.address]);
    let mut client = edge.connect();
    assert_eq!(client.get("/warm").text(), "warm");
    let response = client.get("/poison");
    assert_eq!((response.status, response.reason()), (502, "upstream_closed"));
    assert_eq!(upstream.requests(), 3, "warm, a stale connection, a new one");
}

#[test]
fn an_app_that_resets_an_old_connection_and_a_new_one_while_it_goes_down_shows_no_error() {
    let upstream = Upstream::scripted({
        let seen = AtomicUsize::new(0);
        move |_| match seen.fetch_add(1, Ordering::SeqCst) {
            0 => Then::Answer(ok("up")),
            _ => Then::Close(Vec::new()),
        }
    });
    let edge = Edge::in_front_of(&[upstream.address]);
    let mut client = edge.connect();
    assert_eq!(client.get("/").text(), "up");
    let request = thread::spawn(move || client.get("/"));
    eventually("both connections have been reset", || upstream.requests() == 3);
    let address = upstream.address;
    drop(upstream);
    let refused = || {
        edge.snapshot().services[0].retries.get("connect_failed").is_some_and(|count| *count > 0)
    };
    eventually("it is seen to be down", refused);
    let again = TcpListener::bind(address).unwrap();
    let _upstream = Upstream::on(again, |_| Then::Answer(ok("new")));
    assert_eq!(request.join().unwrap().text(), "new");
}

#[test]
fn an_app_that_leaves_the_table_and_comes_back_while_a_request_waits_shows_no_error() {
    let upstream = Upstream::scripted({
        let seen = AtomicUsize::new(0);
        move |_| match seen.fetch_add(1, Ordering::SeqCst) {
            1 | 2 => Then::Close(Vec::new()),
            _ => Then::Answer(ok("up")),
        }
    });
    let mut edge = Edge::in_front_of(&[upstream.address]);
    let mut client = edge.connect();
    assert_eq!(client.get("/").text(), "up");
    let request = thread::spawn(move || client.get("/"));
    eventually("both connections have been reset", || upstream.requests() == 3);
    // Discovery has seen it end and start again, and it takes connections all the time.
    edge.serve(Color::Blue, &[]);
    edge.serve(Color::Blue, &[upstream.address]);
    assert_eq!(request.join().unwrap().text(), "up");
}

#[test]
fn without_load_the_load_balances_take_turns_by_weight() {
    let upstreams = ["one", "two"].map(Upstream::saying);
    let addresses: Vec<_> = upstreams.iter().map(|upstream| upstream.address).collect();
    let mut edge = Edge::in_front_of(&addresses);
    for balance in [Balance::LeastConn, Balance::P2c] {
        let before = upstreams.each_ref().map(Upstream::requests);
        edge.service().balance = balance;
        edge.service().pools[0].endpoints[1].weight = 3;
        edge.apply();
        let mut client = edge.connect();
        for _ in 0..400 {
            client.get("/");
        }
        let after = upstreams.each_ref().map(Upstream::requests);
        let (light, heavy) = (after[0] - before[0], after[1] - before[1]);
        assert!(light > 40 && heavy > 2 * light, "1 to 3: {light} to {heavy}");
    }
}

#[test]
fn a_request_that_waits_for_a_connection_to_an_endpoint_that_leaves_goes_to_the_next() {
    // Its queue is full, so that the kernel drops what knocks, and knocks again a second later.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let former = TcpListener::from(socket);
    let address = former.local_addr().unwrap();
    let full = TcpStream::connect(address).unwrap();
    let mut edge = Edge::in_front_of(&[address]);
    let mut client = edge.connect();
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    eventually("it is on its way", || edge.snapshot().pools[0].requests == 1);
    let next = Upstream::saying("next");
    edge.serve(Color::Blue, &[next.address]);
    assert_eq!(client.response().unwrap().text(), "next");
    // Whoever has the address now hears nothing of it.
    drop(full);
    former.set_nonblocking(true).unwrap();
    eventually("everyone who knocked has been heard", || match former.accept() {
        Ok((mut stream, _)) => {
            let mut bytes = Vec::new();
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, b"");
            false
        }
        Err(_) => true,
    });
    assert_eq!(edge.snapshot().services[0].retries.get("stale"), Some(&1));
}
