//! Clients as they come: slow, rude, half-closed, too many; and what they get to see.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests"
)]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use common::{DEADLINE, Edge, Response, Then, Upstream, eventually, ok};
use cutover_proxy::table::BodyLimit;

/// All that comes until the connection is closed; a reset ends it too.
fn read_all(stream: &mut TcpStream) -> (String, std::io::Result<()>) {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).map(drop);
    (String::from_utf8_lossy(&bytes).into_owned(), end)
}

fn connect(edge: &Edge) -> TcpStream {
    let stream = TcpStream::connect(edge.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Sends `raw` on a connection of its own and reads to its end.
fn talk(edge: &Edge, raw: &str) -> String {
    let mut stream = connect(edge);
    stream.write_all(raw.as_bytes()).unwrap();
    let (answer, end) = read_all(&mut stream);
    end.expect("closed, not reset");
    answer
}

fn open_connections(edge: &Edge) -> u64 {
    edge.snapshot().connections.values().sum()
}

fn rejected(edge: &Edge, reason: &str) -> u64 {
    edge.snapshot().rejected.get(reason).copied().unwrap_or_default()
}

fn assert_refused(answer: &str, status: u16, reason: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(answer.contains(&format!("x-cutover-reason: {reason}\r\n")), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
}

#[test]
fn a_head_that_drips_is_cut_at_one_total_deadline_while_others_are_served() {
    let upstream = Upstream::saying("hi");
    let mut edge = Edge::in_front_of(&[upstream.address]);
    edge.spec.policy.limits.header_timeout = Duration::from_millis(500);
    edge.apply();
    let mut slow = connect(&edge);
    let mut dripping = slow.try_clone().unwrap();
    let dripper = thread::spawn(move || {
        let head =
            b"GET / HTTP/1.1\r\nHost: app.test\r\nX-Slow: ".iter().chain([b'x'; 1000].iter());
        for byte in head {
            // Each byte comes well within the deadline; all of them together do not.
            if dripping.write_all(&[*byte]).is_err() {
                break;
            }
            thread::park_timeout(Duration::from_millis(20));
        }
    });
    for _ in 0..20 {
        assert_eq!(edge.get("/clean").status, 200);
    }
    let (answer, _) = read_all(&mut slow);
    assert_refused(&answer, 408, "header_timeout");
    drop(slow);
    dripper.join().unwrap();
    assert_eq!(rejected(&edge, "header_timeout"), 1);
    assert_eq!(upstream.requests(), 20);
}

#[test]
fn an_idle_connection_gives_its_memory_back_and_serves_on_when_it_wakes() {
    let upstream = Upstream::saying("hi");
    let edge = Edge::in_front_of(&[upstream.address]);
    let mut client = edge.connect();
    for pause in [0, 50, 500, 0, 350] {
        thread::park_timeout(Duration::from_millis(pause));
        assert_eq!(client.get("/").text(), "hi");
    }
    // A request that begins while the connection sleeps, in two pieces.
    thread::park_timeout(Duration::from_millis(400));
    client.send("GET / HTTP/1.1\r\n");
    thread::park_timeout(Duration::from_millis(400));
    client.send("Host: app.test\r\n\r\n");
    assert_eq!(client.response().unwrap().text(), "hi");
    assert_eq!(open_connections(&edge), 1);
    drop(client);
    eventually("the gauge is back at zero", || open_connections(&edge) == 0);
}

#[test]
fn the_beginning_of_a_pipelined_head_does_not_sleep_past_its_deadline() {
    let upstream = Upstream::saying("hi");
    let mut edge = Edge::in_front_of(&[upstream.address]);
    edge.spec.policy.limits.header_timeout = Duration::from_millis(500);
    edge.apply();
    let mut client = edge.connect();
    client.send("GET /1 HTTP/1.1\r\nHost: app.test\r\n\r\nGET /2 HTTP/1.1\r\nHost:");
    assert_eq!(client.response().unwrap().text(), "hi");
    let late = client.response().unwrap();
    assert_eq!((late.status, late.reason()), (408, "header_timeout"));
    let mut client = edge.connect();
    client.send("GET /1 HTTP/1.1\r\nHost: app.test\r\n\r\nGET /2 HTTP/1.1\r\nHost:");
    assert_eq!(client.response().unwrap().text(), "hi");
    thread::park_timeout(Duration::from_millis(300));
    client.send(" app.test\r\n\r\n");
    assert_eq!(client.response().unwrap().text(), "hi");
}

#[test]
fn an_idle_connection_is_closed_without_a_word_when_its_time_is_up() {
    let upstream = Upstream::saying("hi");
    let mut edge = Edge::in_front_of(&[upstream.address]);
    edge.spec.policy.limits.idle_timeout = Duration::from_millis(600);
    edge.apply();
    let (mut silent, mut served) = (edge.connect(), edge.connect());
    assert_eq!(served.get("/").text(), "hi");
    assert!(silent.is_closed() && served.is_closed());
    eventually("both are gone", || open_connections(&edge) == 0);
    let rejected = edge.snapshot().rejected;
    assert!(rejected.values().all(|count| *count == 0), "an idle client did nothing: {rejected:?}");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::scripted(|seen| Then::Answer(ok(seen.path())));
    let edge = Edge::in_front_of(&[upstream.address]);
    let mut client = edge.connect();
    let request = |n: usize| format!("GET /{n} HTTP/1.1\r\nHost: app.test\r\n\r\n");
    client.send((0..50).map(request).collect::<String>());
    for n in 0..50 {
        assert_eq!(client.response().unwrap().text(), format!("/{n}"));
    }
}

#[test]
fn what_the_parser_refuses_says_why_and_is_counted() {
    let upstream = Upstream::saying("hi");
    let edge = Edge::in_front_of(&[upstream.address]);
    let host = "Host: app.test\r\n";
    let fields = "X: y\r\n".repeat(101);
    let big = format!("X: {}\r\n", "y".repeat(70_000));
    let long = "a".repeat(66_000);
    let cases = [
        ("BAD REQ\r\n\r\n".to_owned(), 400, "bad_request"),
        (format!("GET / HTTP/1.1\r\n{host}A b: c\r\n\r\n"), 400, "bad_request"),
        (format!("GET / HTTP/1.1\r\n{host}A: b\0c\r\n\r\n"), 400, "bad_request"),
        (format!("GET / HTTP/1.1\r\n{host}A: b\x7fc\r\n\r\n"), 400, "bad_request"),
        (format!("GET / HTTP/1.1\r\n{host}{fields}\r\n"), 431, "header_too_large"),
        (format!("GET / HTTP/1.1\r\n{host}{big}\r\n"), 431, "header_too_large"),
        (format!("GET /{} HTTP/1.1\r\n{host}\r\n", "a".repeat(9000)), 414, "target_too_long"),
        (format!("GET /{long} HTTP/1.1\r\n{host}\r\n"), 431, "header_too_large"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505, "version"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400, "bad_host"),
        (format!("GET /#x HTTP/1.1\r\n{host}\r\n"), 400, "bad_target"),
        (format!("CONNECT app.test:80 HTTP/1.1\r\n{host}\r\n"), 501, "method"),
    ];
    for (raw, status, reason) in &cases {
        let before = rejected(&edge, reason);
        assert_refused(&talk(&edge, raw), *status, reason);
        assert_eq!(rejected(&edge, reason), before + 1, "{reason}");
    }
    assert_eq!(upstream.requests(), 0);
    eventually("nobody stays", || open_connections(&edge) == 0);
}

#[test]
fn a_length_beside_a_transfer_coding_is_refused_in_any_order_and_place() {
    let upstream = Upstream::saying("hi");
    let edge = Edge::in_front_of(&[upstream.address]);
    let (cl, te) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    for fields in [[cl, te].concat(), [te, cl].concat(), [te, cl, cl].concat()] {
        let raw = format!("POST / HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n0\r\n\r\n");
        assert_refused(&talk(&edge, &raw), 400, "length_and_coding");
        // Behind another request of the same packet.
        let raw = format!("GET /first HTTP/1.1\r\nHost: app.test\r\n\r\n{raw}");
        let answers = talk(&edge, &raw);
        assert!(answers.contains("hi"), "{answers}");
        assert!(answers.contains("x-cutover-reason: length_and_coding"), "{answers}");
    }
    assert!(upstream.seen.lock().unwrap().iter().all(|seen| seen.path() == "/first"));
}

#[test]
fn a_body_over_the_limit_is_refused_and_the_client_gets_to_read_why() {
    let upstream = Upstream::saying("hi");
    let mut edge = Edge::in_front_of(&[upstream.address]);
    edge.service().max_body = Some(BodyLimit::Bytes(1000));
    edge.apply();
    assert_eq!(edge.connect().post("/", &[b'x'; 1000]).status, 200);
    // Announced: refused before the upstream hears of it, though the client sends all it has.
    let mut client = edge.connect();
    client.send("POST /big HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4000000\r\n\r\n");
    client.send(vec![b'x'; 4_000_000]);
    let refusal = client.response().unwrap();
    assert_eq!((refusal.status, refusal.reason()), (413, "body_too_large"));
    assert_eq!(refusal.header("connection"), Some("close"));
    assert!(client.is_closed());
    assert_eq!(upstream.requests(), 1);
    // Not announced: broken off on the way.
    let mut client = edge.connect();
    client.send("POST /big HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..20 {
        client.send(format!("64\r\n{}\r\n", "x".repeat(100)));
    }
    client.send("0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let refusal = client.response().unwrap();
    assert_eq!((refusal.status, refusal.reason()), (413, "body_too_large"));
    assert!(client.is_closed());
    eventually("nothing was taken for a whole request", || {
        upstream.seen.lock().unwrap().iter().all(|seen| seen.path() == "/")
    });
}

#[test]
fn a_body_that_stalls_or_drips_is_cut_and_the_client_told() {
    let upstream = Upstream::saying("hi");
    let mut edge = Edge::in_front_of(&[upstream.address]);
    edge.spec.policy.limits.body_idle_timeout = Duration::from_millis(500);
    edge.apply();
    let head = "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 100000\r\n\r\n";
    let mut stalled = edge.connect();
    stalled.send(format!("{head}only this"));
    let refusal = stalled.response().unwrap();
    assert_eq!((refusal.status, refusal.reason()), (408, "body_timeout"));
    let mut drip = connect(&edge);
    drip.write_all(head.as_bytes()).unwrap();
    let mut dripping = drip.try_clone().unwrap();
    let dripper = thread::spawn(move || {
        while dripping.write_all(b"x").is_ok() {
            thread::park_timeout(Duration::from_millis(50));
        }
    });
    let (answer, _) = read_all(&mut drip);
    assert!(answer.contains("x-cutover-reason: body_timeout"), "{answer}");
    drop(drip);
    dripper.join().unwrap();
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn a_client_that_does_not_read_is_cut_in_bounded_time() {
    let upstream = Upstream::scripted(|_| {
        let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n".to_vec();
        answer.resize(50_000_000, b'x');
        Then::Close(answer)
    });
    let mut edge = Edge::in_front_of(&[upstream.address]);
    edge.spec.policy.limits.write_idle_timeout = Duration::from_millis(500);
    edge.apply();
    let mut client = edge.connect();
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    eventually("it is served", || open_connections(&edge) == 1 && upstream.requests() == 1);
    eventually("it is cut", || open_connections(&edge) == 0);
    let mut rest = Vec::new();
    assert!(client.stream.read_to_end(&mut rest).is_err(), "a reset: nobody takes it for whole");
}

/// Behind the client stand our buffers, the kernel's on both sides of us, and the upstream's.
#[test]
fn who_does_not_read_holds_little_of_our_memory_and_of_the_kernels() {
    let (tell, told) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let upstream = Upstream::scripted(move |_| {
        let tell = tell.lock().unwrap().clone();
        Then::Take(Box::new(move |stream| {
            SockRef::from(&*stream).set_send_buffer_size(16 << 10).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n").unwrap();
            // Nobody takes anything any more for as long as this.
            stream.set_write_timeout(Some(Duration::from_millis(700))).unwrap();
            let mut sent = 0;
            while let Ok(more @ 1..) = stream.write(&[b'x'; 4096]) {
                sent += more;
            }
            tell.send(sent).unwrap();
        }))
    });
    let edge = Edge::in_front_of(&[upstream.address]);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&edge.address.into()).unwrap();
    let mut client = TcpStream::from(socket);
    client.write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").unwrap();
    let sent = told.recv_timeout(DEADLINE).expect("the upstream is told to wait");
    assert!((1..2 << 20).contains(&sent), "{sent} bytes are on their way to who does not read");
}

#[test]
fn who_reads_now_and_then_but_next_to_nothing_is_cut_and_who_reads_slowly_is_not() {
    let upstream = Upstream::scripted(|_| {
        let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n".to_vec();
        answer.resize(50_000_000, b'x');
        Then::Close(answer)
    });
    let mut edge = Edge::in_front_of(&[upstream.address]);
    // Well above the longest pause below: nobody is ever idle for so long.
    edge.spec.policy.limits.write_idle_timeout = Duration::from_secs(2);
    let cut = |edge: &Edge, pieces: usize| {
        let mut client = connect(edge);
        client.write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").unwrap();
        for _ in 0..pieces {
            let mut taken = vec![0; 150_000];
            if client.read_exact(&mut taken).is_err() {
                return true;
            }
            thread::park_timeout(Duration::from_millis(100));
        }
        false
    };
    edge.spec.policy.limits.min_write_rate = 1 << 30;
    edge.apply();
    assert!(cut(&edge, 150), "some 1.5 MB a second is too little here");
    eventually("nobody stays", || open_connections(&edge) == 0);
    edge.spec.policy.limits.min_write_rate = 10_000;
    edge.apply();
    assert!(!cut(&edge, 30), "and enough here, for longer than the timeout");
}

#[test]
fn a_half_closed_client_gets_its_answer_and_one_that_resets_frees_the_upstream() {
    let (gone, heard) = mpsc::channel();
    let gone = std::sync::Mutex::new(gone);
    let upstream = Upstream::scripted(move |seen| match seen.path() {
        "/slow" => {
            let gone = gone.lock().unwrap().clone();
            Then::Take(Box::new(move |stream| {
                // Ends when the proxy gives the request up.
                gone.send(stream.read(&mut [0]).unwrap_or_default()).ok();
            }))
        }
        _ => {
            // Longer than any patience with those who say nothing more.
            thread::park_timeout(Duration::from_secs(6));
            Then::Answer(ok("late"))
        }
    });
    let edge = Edge::in_front_of(&[upstream.address]);
    let mut half = connect(&edge);
    half.write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    let (answer, end) = read_all(&mut half);
    end.unwrap();
    assert!(answer.ends_with("late"), "{answer}");
    let mut leaving = connect(&edge);
    leaving.write_all(b"GET /slow HTTP/1.1\r\nHost: app.test\r\n\r\n").unwrap();
    eventually("it is with the upstream", || upstream.requests() == 2);
    // What is sent ahead must not hide the reset behind it.
    leaving.write_all(b"G").unwrap();
    SockRef::from(&leaving).set_linger(Some(Duration::ZERO)).unwrap();
    drop(leaving);
    assert_eq!(heard.recv_timeout(DEADLINE), Ok(0));
    eventually("nobody stays", || open_connections(&edge) == 0);
}

#[test]
fn an_upload_that_nobody_reads_ends_with_its_client_and_not_before() {
    // The kernel takes the connection and as much as it can hold; nobody ever reads it.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut edge = Edge::in_front_of(&[silent.local_addr().unwrap()]);
    edge.service().timeouts.response_header = DEADLINE * 10;
    edge.apply();
    let stuck = || {
        let mut stream = connect(&edge);
        stream
            .write_all(b"PUT / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000000000\r\n\r\n")
            .unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        while stream.write(&[b'x'; 1 << 16]).is_ok() {}
        stream
    };
    let in_flight = || edge.snapshot().services[0].colors[0].requests_in_flight;
    let (leaving, staying) = (stuck(), stuck());
    assert_eq!((open_connections(&edge), in_flight()), (2, 2));
    // With a reset: an end would stand behind all the bytes that are still to be taken.
    SockRef::from(&leaving).set_linger(Some(Duration::ZERO)).unwrap();
    drop(leaving);
    eventually("its request is over", || in_flight() == 1);
    eventually("its connection is closed", || open_connections(&edge) == 1);
    thread::park_timeout(Duration::from_secs(2));
    assert_eq!((open_connections(&edge), in_flight()), (1, 1));
    drop(staying);
}

#[test]
fn a_client_address_has_its_share_of_connections_and_the_sum_is_bounded() {
    let upstream = Upstream::saying("hi");
    let mut edge = Edge::in_front_of(&[upstream.address]);
    edge.spec.policy.limits.max_connections_per_client = 5;
    edge.apply();
    let open = |edge: &Edge| {
        let mut client = edge.connect();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        client.response().map(|response| (response.status, client))
    };
    let within: Vec<_> = (0..5).map(|_| open(&edge).unwrap()).collect();
    assert!(within.iter().all(|(status, _)| *status == 200));
    assert_eq!(open(&edge).unwrap().0, 503);
    assert_eq!(rejected(&edge, "connection_limit"), 1);
    drop(within);
    eventually("room again", || open(&edge).is_ok_and(|(status, _)| status == 200));
    // A trusted proxy stands for many.
    edge.spec.policy.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    edge.apply();
    let many: Vec<_> = (0..20).map(|_| open(&edge).unwrap()).collect();
    assert!(many.iter().all(|(status, _)| *status == 200));
    drop(many);
    eventually("nobody stays", || open_connections(&edge) == 0);
    // The sum: who is over it is told so, and comes back once there is room.
    edge.spec.policy.limits.max_connections = Some(2);
    edge.apply();
    let mut first: Vec<_> = (0..2).map(|_| open(&edge).unwrap()).collect();
    let before = rejected(&edge, "connection_limit");
    assert_eq!(open(&edge).unwrap().0, 503);
    assert_eq!(rejected(&edge, "connection_limit"), before + 1);
    first.pop();
    eventually("room again", || open(&edge).is_ok_and(|(status, _)| status == 200));
}

#[test]
fn an_interim_response_goes_ahead_of_the_final_one_but_not_to_http_1_0() {
    let upstream = Upstream::scripted(|_| {
        let mut answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n".to_vec();
        answer.extend(ok("hi"));
        Then::Answer(answer)
    });
    let edge = Edge::in_front_of(&[upstream.address]);
    let mut client = edge.connect();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let interim = client.head().unwrap();
        assert_eq!((interim.status, interim.header("link")), (103, Some("</a.css>")));
        assert_eq!(client.response().unwrap().text(), "hi");
    }
    let old = talk(&edge, "GET / HTTP/1.0\r\nHost: app.test\r\n\r\n");
    assert!(old.starts_with("HTTP/1.0 200 ") && !old.contains("103"), "{old}");
}

#[test]
fn a_service_without_a_body_limit_has_that_of_all() {
    let upstream = Upstream::saying("hi");
    let mut edge = Edge::in_front_of(&[upstream.address]);
    edge.spec.policy.limits.max_body = BodyLimit::Bytes(10);
    edge.apply();
    assert_eq!(edge.connect().post("/", &[b'x'; 10]).status, 200);
    assert_eq!(edge.connect().post("/", &[b'x'; 11]).reason(), "body_too_large");
    for (own, status) in [(BodyLimit::Bytes(12), 413), (BodyLimit::Unlimited, 200)] {
        edge.service().max_body = Some(own);
        edge.apply();
        assert_eq!(edge.connect().post("/", &[b'x'; 12]).status, 200);
        assert_eq!(edge.connect().post("/", &[b'x'; 13]).status, status);
    }
}

#[test]
fn a_client_that_expects_100_is_told_to_go_on_and_a_refused_one_is_not() {
    let upstream = Upstream::scripted(|seen| Then::Answer(ok(&seen.body.len().to_string())));
    let mut edge = Edge::in_front_of(&[upstream.address]);
    edge.service().max_body = Some(BodyLimit::Bytes(10));
    edge.apply();
    let expect = |length: usize| {
        format!(
            "POST / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut client = edge.connect();
    client.send(expect(5));
    assert_eq!(client.head().unwrap().status, 100);
    client.send("hello");
    assert_eq!(client.response().unwrap().text(), "5");
    client.send(expect(11));
    let refused: Response = client.response().unwrap();
    assert_eq!(refused.status, 413);
    assert!(client.is_closed(), "what may follow is no request");
}

#[test]
fn shutdown_lets_requests_finish_tells_the_busy_and_closes_the_idle() {
    let release = Arc::new(AtomicBool::new(false));
    let released = Arc::clone(&release);
    let upstream = Upstream::scripted(move |seen| {
        while seen.path() == "/slow" && !released.load(Ordering::SeqCst) {
            thread::park_timeout(Duration::from_millis(5));
        }
        Then::Answer(ok("done"))
    });
    let mut edge = Edge::in_front_of(&[upstream.address]);
    let (mut busy, mut idle) = (edge.connect(), edge.connect());
    assert_eq!(idle.get("/").status, 200);
    busy.send("GET /slow HTTP/1.1\r\nHost: app.test\r\n\r\n");
    eventually("it is with the upstream", || upstream.requests() == 2);
    let started = Instant::now();
    let shutdown = thread::spawn(move || {
        edge.shutdown();
        started.elapsed()
    });
    assert!(idle.is_closed());
    release.store(true, Ordering::SeqCst);
    let response = busy.response().unwrap();
    assert_eq!((response.text().as_str(), response.header("connection")), ("done", Some("close")));
    assert!(busy.is_closed());
    assert!(shutdown.join().unwrap() < DEADLINE);
}

#[test]
fn a_truncated_answer_is_never_a_clean_end() {
    let upstream = Upstream::scripted(|_| {
        Then::Close(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".to_vec())
    });
    let edge = Edge::in_front_of(&[upstream.address]);
    // Only the close would end this body, so it must not be a plain one.
    let mut old = connect(&edge);
    old.write_all(b"GET / HTTP/1.0\r\nHost: app.test\r\n\r\n").unwrap();
    let (answer, end) = read_all(&mut old);
    assert!(end.is_err(), "{answer}");
    let cut = talk(&edge, "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert!(cut.contains("hello") && !cut.contains("0\r\n\r\n"), "{cut}");
}

#[test]
fn a_client_that_reads_slowly_gets_all_of_a_large_answer() {
    let upstream = Upstream::scripted(|_| {
        let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n".to_vec();
        answer.resize(answer.len() + 3_000_000, b'x');
        Then::Answer(answer)
    });
    let mut edge = Edge::in_front_of(&[upstream.address]);
    edge.spec.policy.limits.write_idle_timeout = Duration::from_millis(500);
    edge.apply();
    let mut stream = connect(&edge);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n").unwrap();
    let mut left = 3_000_000;
    let mut buffer = vec![0; 100_000];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        left -= read.min(left);
        thread::park_timeout(Duration::from_millis(20));
    }
    assert_eq!(left, 0);
}
