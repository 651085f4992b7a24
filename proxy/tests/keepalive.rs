//! What has no deadline of ours is asked by the kernel whether it is still there.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::fs;
use std::io::Write;

use common::{DEADLINE, Edge, Then, Upstream, eventually};

/// Whether the socket from `local` to `remote` has a keepalive timer (proc_pid_net(5): `tr` is 2).
fn is_kept_alive(local: u16, remote: u16) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().skip(1).any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let port =
            |field: &str| u16::from_str_radix(field.rsplit(':').next().unwrap(), 16).unwrap();
        (port(fields[1]), port(fields[2])) == (local, remote) && fields[5].starts_with("02:")
    })
}

#[test]
fn both_sides_of_an_idle_tunnel_are_asked_whether_they_are_still_there() {
    let upstream = Upstream::scripted(|_| {
        let switch =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        Then::Take(Box::new(move |stream| {
            stream.write_all(switch).unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            // Tells who is at the other end: the proxy's own port.
            let port = stream.peer_addr().unwrap().port();
            stream.write_all(&port.to_be_bytes()).unwrap();
            std::io::copy(&mut stream.try_clone().unwrap(), stream).ok();
        }))
    });
    let edge = Edge::in_front_of(&[upstream.address]);
    let mut client = edge.connect();
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 101);
    let mut port = [0; 2];
    std::io::Read::read_exact(&mut client.stream, &mut port).unwrap();
    let downstream = client.stream.get_ref().local_addr().unwrap().port();
    eventually("the client is asked", || is_kept_alive(edge.address.port(), downstream));
    let upstream_port = upstream.address.port();
    eventually("the app is asked", || is_kept_alive(u16::from_be_bytes(port), upstream_port));
}
