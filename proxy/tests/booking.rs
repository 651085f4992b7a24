//! Who is at fault, and whose time it was: what a release is judged by is the app's.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::io::Write;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use common::{Edge, Then, Upstream, eventually, ok};
use cutover_proxy::table::{ColorStats, DURATION_BUCKETS, Pause};
use socket2::SockRef;

fn blue(edge: &Edge) -> ColorStats {
    edge.snapshot().services[0].colors[0].clone()
}

/// How many of these took a second or more.
fn slow(counts: &[u64]) -> u64 {
    let first = DURATION_BUCKETS.iter().position(|bound| *bound > 1_000_000).unwrap();
    counts[first..].iter().sum()
}

#[test]
fn what_a_client_takes_to_send_to_read_or_waits_in_a_pause_is_not_the_apps_time() {
    let upstream = Upstream::scripted(|seen| match seen.path() {
        "/big" => {
            let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n".to_vec();
            answer.resize(answer.len() + 20_000_000, b'x');
            Then::Answer(answer)
        }
        _ => Then::Answer(ok("hi")),
    });
    let mut edge = Edge::in_front_of(&[upstream.address]);
    let pause = Duration::from_millis(1200);
    // Sent slowly.
    let mut client = edge.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 10\r\n\r\nhello");
    thread::park_timeout(pause);
    client.send("world");
    assert_eq!(client.response().unwrap().text(), "hi");
    // Read slowly.
    client.send("GET /big HTTP/1.1\r\nHost: app.test\r\n\r\n");
    thread::park_timeout(pause);
    assert_eq!(client.response().unwrap().body.len(), 20_000_000);
    // Held in a pause.
    edge.service().pause = Some(Pause { writes_only: false, max_pause: common::DEADLINE });
    edge.apply();
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    thread::park_timeout(pause);
    edge.service().pause = None;
    edge.apply();
    assert_eq!(client.response().unwrap().text(), "hi");
    eventually("all are counted", || blue(&edge).requests.values().sum::<u64>() == 3);
    let stats = blue(&edge);
    assert_eq!(slow(&stats.duration_counts), 3, "they took their time");
    assert_eq!((stats.answer_counts.iter().sum::<u64>(), slow(&stats.answer_counts)), (3, 0));
}

#[test]
fn a_client_that_breaks_off_is_no_fault_of_the_app() {
    let upstream = Upstream::scripted(|_| {
        Then::Take(Box::new(|stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
            while stream.write_all(b"5\r\nhello\r\n").is_ok() {
                thread::park_timeout(Duration::from_millis(20));
            }
        }))
    });
    let edge = Edge::in_front_of(&[upstream.address]);
    let in_flight = || {
        let stats = blue(&edge);
        stats.requests_in_flight + stats.streams_in_flight
    };
    let half = || {
        let mut client = edge.connect();
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 100\r\n\r\nhalf");
        client
    };
    // By a reset, by an end inside the body, and while the answer is read.
    let reset = half();
    let mut ended = half();
    let mut reading = edge.connect();
    reading.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    eventually("all three are with the app", || {
        upstream.connections.load(std::sync::atomic::Ordering::SeqCst) == 3
    });
    reading.head().unwrap();
    for client in [&reset, &reading] {
        SockRef::from(client.stream.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
    }
    ended.stream.get_mut().shutdown(Shutdown::Write).unwrap();
    drop((reset, reading));
    eventually("nothing is in flight", || in_flight() == 0);
    assert!(ended.is_closed());
    let errors = blue(&edge).upstream_errors;
    assert!(errors.values().all(|count| *count == 0), "{errors:?}");
}
