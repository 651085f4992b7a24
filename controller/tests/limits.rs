//! Every limit, as it stands in the file, on the real binary.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs, reason = "tests")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use cutover_harness::static_edge::{
    StaticEdge as Edge, connect, cpu_ticks, get, ok, rest, talk, upstream,
};
use cutover_harness::{PATIENCE, eventually};

/// An upstream that never answers `/hang`.
fn app() -> SocketAddr {
    upstream(|head| match head.split(' ').nth(1) {
        Some("/hang") => {
            thread::park_timeout(PATIENCE);
            Vec::new()
        }
        Some("/large") => {
            let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 50000000\r\n\r\n".to_vec();
            answer.resize(answer.len() + 50_000_000, b'x');
            answer
        }
        _ => ok("fine"),
    })
}

fn edge(limits: &str, service: &str) -> Edge {
    let app = app();
    Edge::start(&format!(
        "[listen]\n[runtime]\nworkers = 2\nstate_dir = \"{{root}}/state\"\n[docker]\nenable = false\n\
         [limits]\n{limits}\n[services.web]\nblue = [\"{app}\"]\nprobe.path = \"/\"\n{service}\n"
    ))
}

fn assert_refused(answer: &str, status: u16, reason: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(answer.contains(&format!("x-cutover-reason: {reason}\r\n")), "{answer}");
}

#[test]
fn the_size_of_a_head_is_limited_by_the_file() {
    let edge = edge(
        "max_header_bytes = \"8KiB\"\nmax_headers = 10\nmax_target_bytes = \"100B\"",
        "max_body = \"10B\"",
    );
    let request = |target: &str, fields: &str| {
        format!("GET {target} HTTP/1.1\r\nhost: edge.test\r\nconnection: close\r\n{fields}\r\n")
    };
    let many = |count: usize| "x: y\r\n".repeat(count);
    let long = |bytes: usize| format!("/{}", "a".repeat(bytes - 1));
    assert!(talk(edge.http, request(&long(100), &many(8))).ends_with("fine"));
    assert_refused(&talk(edge.http, request(&long(101), "")), 414, "target_too_long");
    assert_refused(&talk(edge.http, request("/", &many(9))), 431, "header_too_large");
    let big = format!("x: {}\r\n", "y".repeat(9000));
    assert_refused(&talk(edge.http, request("/", &big)), 431, "header_too_large");
    let body = |length: usize| {
        format!(
            "POST / HTTP/1.1\r\nhost: edge.test\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        ) + &"x".repeat(length)
    };
    assert!(talk(edge.http, body(10)).starts_with("HTTP/1.1 200 "));
    assert_refused(&talk(edge.http, body(11)), 413, "body_too_large");
    for (reason, count) in [("header_too_large", 2.0), ("target_too_long", 1.0)] {
        let name = format!("cutover_rejected_requests_total{{reason=\"{reason}\"}}");
        assert_eq!(edge.metric(&name), Some(count), "{reason}");
    }
    edge.is_well();
}

#[test]
fn the_patience_with_slow_clients_is_limited_by_the_file() {
    let edge = edge(
        "header_timeout = \"700ms\"\nidle_timeout = \"700ms\"\nbody_idle_timeout = \"700ms\"\n\
         write_idle_timeout = \"700ms\"\nmin_body_rate = \"1MiB\"",
        "",
    );
    let mut head = connect(edge.http);
    head.write_all(b"GET / HTTP/1.1\r\nhost:").unwrap();
    let mut unread = connect(edge.http);
    unread.write_all(b"GET /large HTTP/1.1\r\nhost: edge.test\r\n\r\n").unwrap();
    let mut body = connect(edge.http);
    let post = "POST /hang HTTP/1.1\r\nhost: edge.test\r\ncontent-length: 1000000\r\n\r\n";
    body.write_all(post.as_bytes()).unwrap();
    let mut drip = connect(edge.http);
    drip.write_all(post.as_bytes()).unwrap();
    let mut dripping = drip.try_clone().unwrap();
    // Never idle, and far below the rate.
    let dripper = thread::spawn(move || {
        while dripping.write_all(b"x").is_ok() {
            thread::park_timeout(Duration::from_millis(100));
        }
    });
    let idle = connect(edge.http);
    // A clean client beside them is served all the while.
    assert!(get(edge.http, "/").is_ok());
    assert_refused(&rest(&head), 408, "header_timeout");
    assert_refused(&rest(&body), 408, "body_timeout");
    assert_refused(&rest(&drip), 408, "body_timeout");
    drop(drip);
    dripper.join().unwrap();
    assert_eq!(rest(&idle), "");
    eventually("who does not read is cut", || edge.metric("cutover_connections") == Some(0.0));
    assert!(rest(&unread).len() < 50_000_000);
    edge.is_well();
}

/// Heads and bodies that drip, and readers that take a little now and then: none is ever idle.
#[test]
fn a_crowd_of_slow_clients_is_shed_while_a_clean_one_is_served() {
    let edge = edge(
        "header_timeout = \"2s\"\nbody_idle_timeout = \"2s\"\nwrite_idle_timeout = \"2s\"\n\
         min_body_rate = \"1KiB\"\nmin_write_rate = \"100MiB\"",
        "",
    );
    let requests = [
        "GET / HTTP/1.1\r\nhost: edge.test\r\nx-slow: ",
        "POST /hang HTTP/1.1\r\nhost: edge.test\r\ncontent-length: 1000000\r\n\r\n",
        "GET /large HTTP/1.1\r\nhost: edge.test\r\n\r\n",
    ];
    // Large answers are few: the upstream makes each of them whole.
    let counts = [300, 300, 6];
    let mut crowd: Vec<(usize, TcpStream)> = Vec::new();
    for (kind, count) in counts.into_iter().enumerate() {
        for _ in 0..count {
            let mut slow = connect(edge.http);
            slow.write_all(requests[kind].as_bytes()).unwrap();
            slow.set_nonblocking(true).unwrap();
            crowd.push((kind, slow));
        }
    }
    let (mut taken, begun) = (vec![0; 100_000], Instant::now());
    while !crowd.is_empty() {
        crowd.retain_mut(|(kind, slow)| {
            let went_on = match kind {
                2 => slow.read(&mut taken),
                _ => slow.write(b"x"),
            };
            match went_on {
                Ok(0) => false,
                Ok(_) => true,
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            }
        });
        get(edge.http, "/").unwrap();
        thread::park_timeout(Duration::from_millis(100));
        assert!(begun.elapsed() < PATIENCE, "{} slow clients are still there", crowd.len());
    }
    eventually("nobody stays", || edge.metric("cutover_connections") == Some(0.0));
    let late = edge.metric("cutover_rejected_requests_total{reason=\"header_timeout\"}");
    assert_eq!(late, Some(300.0));
    let (proxy, since) = (edge.child("proxy").unwrap(), Instant::now());
    let before = cpu_ticks(proxy);
    thread::park_timeout(Duration::from_secs(1));
    let ticks = cpu_ticks(proxy) - before;
    // A tick is 10 ms.
    assert!(u128::from(ticks) * 10 < since.elapsed().as_millis() / 10, "{ticks} ticks");
    edge.is_well();
}

#[test]
fn the_number_of_connections_is_limited_by_the_file() {
    let edge = edge("max_connections = 6\nmax_connections_per_client = 4", "");
    eventually("the first client has gone", || edge.metric("cutover_connections") == Some(0.0));
    let kept: Vec<_> = (0..4).map(|_| connect(edge.http)).collect();
    eventually("all are in", || edge.metric("cutover_connections") == Some(4.0));
    assert_refused(&rest(&connect(edge.http)), 503, "connection_limit");
    drop(kept);
    edge.is_well();
}

#[test]
fn who_comes_over_the_limit_of_connections_is_told_so_and_costs_nothing_that_grows() {
    let edge = edge("max_connections = 4", "");
    let open = || edge.metric("cutover_connections");
    eventually("the first client has gone", || open() == Some(0.0));
    let mut kept: Vec<_> = (0..4).map(|_| connect(edge.http)).collect();
    eventually("all are in", || open() == Some(4.0));
    let proxy = edge.child("proxy").unwrap();
    let descriptors = || fs::read_dir(format!("/proc/{proxy}/fd")).unwrap().count();
    let before = descriptors();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: edge.test\r\ncontent-length: 20000\r\n\r\n{}",
        "x".repeat(20_000)
    );
    let refused: Vec<_> = (0..200)
        .map(|n| {
            let mut stream = connect(edge.http);
            // Some send at once, some when they have the answer already.
            if n % 2 == 0 {
                stream.write_all(request.as_bytes()).unwrap();
            }
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert_refused(&answer, 503, "connection_limit");
            assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
            assert!(answer.contains("connection: close\r\n"), "{answer}");
            stream
        })
        .collect();
    assert!(descriptors() < before + 50, "{} descriptors more", descriptors() - before);
    let counted = edge.metric("cutover_rejected_requests_total{reason=\"connection_limit\"}");
    assert_eq!((counted, open()), (Some(200.0), Some(4.0)));
    eventually("none is kept", || descriptors() <= before);
    let said = edge.log().iter().filter(|line| line.contains("connection limit")).count();
    assert!((1..20).contains(&said), "{said} lines");
    drop(refused);
    // Who was in is served on, and one that leaves makes room for another.
    let last = kept.pop().unwrap();
    (&last).write_all(b"GET / HTTP/1.1\r\nhost: edge.test\r\nconnection: close\r\n\r\n").unwrap();
    assert!(rest(&last).ends_with("fine"));
    drop(last);
    eventually("there is room", || get(edge.http, "/").is_ok());
    drop(kept);
    edge.is_well();
}

#[test]
fn who_waits_for_an_endpoint_waits_in_a_room_of_limited_size_and_time() {
    let edge = edge("max_waiting = 1", "timeouts.hold = \"2s\"");
    assert!(edge.cutover(&["pause", "web", "--max-pause", "2s"]).status.success());
    let ask = b"GET / HTTP/1.1\r\nhost: edge.test\r\nconnection: close\r\n\r\n";
    let mut first = connect(edge.http);
    first.write_all(ask).unwrap();
    eventually("one waits", || edge.metric("cutover_waiting_requests") == Some(1.0));
    assert_refused(&talk(edge.http, ask), 503, "hold_full");
    assert_refused(&rest(&first), 503, "paused");
    assert!(edge.cutover(&["resume", "web"]).status.success());
    edge.is_well();
}

#[test]
fn the_patience_with_upstreams_is_limited_by_the_file() {
    let edge = edge(
        "",
        "timeouts = { connect = \"300ms\", response_header = \"300ms\", hold = \"300ms\" }",
    );
    assert_refused(
        &talk(edge.http, "GET /hang HTTP/1.1\r\nhost: edge.test\r\nconnection: close\r\n\r\n"),
        504,
        "upstream_timeout",
    );
    assert!(get(edge.http, "/").is_ok());
    edge.is_well();
}
