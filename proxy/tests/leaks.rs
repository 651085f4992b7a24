//! What comes and goes leaves nothing. Alone in its process: it counts the process's descriptors.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::io::Write;
use std::net::TcpStream;

use common::{Edge, eventually};

#[test]
fn connections_that_come_and_go_in_any_state_leave_nothing() {
    let mut edge = Edge::start();
    edge.spec.routes.clear();
    edge.apply();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let open = || edge.snapshot().connections.values().sum::<u64>();
    // Until both workers have answered, one of them may yet open the descriptors of its runtime.
    for _ in 0..32 {
        assert_eq!(edge.get("/").status, 404);
    }
    eventually("the first have gone", || open() == 0);
    let before = descriptors();
    for round in 0..150 {
        let crowd: Vec<_> = (0..20).map(|_| TcpStream::connect(edge.address).unwrap()).collect();
        for (index, mut stream) in crowd.into_iter().enumerate() {
            match (index + round) % 4 {
                0 => {}
                1 => stream.write_all(b"GET / HT").unwrap(),
                2 => stream.write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").unwrap(),
                _ => stream.write_all(b"\0\0\0\r\n\r\n").unwrap(),
            }
        }
    }
    eventually("all are gone", || open() == 0);
    eventually("so are their descriptors", || descriptors() <= before);
    assert_eq!(edge.get("/").status, 404);
}
