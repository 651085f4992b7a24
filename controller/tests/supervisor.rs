//! `cutover run` as a whole: what happens to requests when one of its processes dies, and its end.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs, reason = "tests")]

use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cutover_harness::static_edge::{StaticEdge as Edge, head, ok, upstream};
use cutover_harness::{Load, PATIENCE, eventually};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn a_killed_controller_costs_no_request_and_comes_back_knowing_what_serves() {
    let (edge, _) = start();
    assert!(edge.cutover(&["flip", "web", "green"]).status.success());
    let load = load(edge.http);
    let killed = kill(&edge, "controller");
    eventually("another controller answers", || {
        edge.child("controller").is_some_and(|pid| pid != killed)
            && edge.cutover(&["status"]).status.success()
    });
    let status = edge.cutover(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["services"][0]["active"], "green");
    load.passes(100);
    let served = load.stop();
    let (answers, failures) = (served.requests, served.failures);
    assert!(answers > 100);
    assert_eq!(failures, Vec::<String>::new());
}

#[test]
fn a_killed_proxy_refuses_no_connection_and_the_same_color_serves_on() {
    let (edge, _) = start();
    assert!(edge.cutover(&["flip", "web", "green"]).status.success());
    kill(&edge, "proxy");
    // The very next connection may wait, and must neither be refused nor meet the other color.
    for _ in 0..20 {
        assert_eq!(body(edge.http, "/").unwrap(), "green");
    }
}

#[test]
fn the_proxy_has_no_privileges() {
    let (edge, _) = start();
    let proxy = edge.child("proxy").unwrap();
    let status = fs::read_to_string(format!("/proc/{proxy}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(field("NoNewPrivs:"), ["1"]);
    if rustix::process::geteuid().is_root() {
        assert_eq!(field("Uid:"), ["65534"; 4]);
        assert_eq!(field("Gid:"), ["65534"; 4]);
        assert_eq!(field("Groups:"), Vec::<String>::new());
        assert_eq!(field("CapEff:"), ["0000000000000000"]);
    }
}

#[test]
fn sigterm_lets_a_request_in_flight_finish_and_exits_0() {
    let (mut edge, seen) = start();
    let http = edge.http;
    let slow = thread::spawn(move || body(http, "/slow"));
    eventually("the request is in flight", || seen.load(Ordering::Relaxed) == 1);
    edge.signal("-TERM");
    assert_eq!(slow.join().unwrap().unwrap(), "blue");
    assert_eq!(edge.exit(), Some(0));
    assert!(TcpStream::connect(http).is_err());
    assert!(!edge.socket().exists());
}

#[test]
fn readyz_fails_before_the_listeners_close() {
    let (mut edge, seen) = start();
    assert_eq!(status(edge.admin, "/readyz").unwrap(), 200);
    let http = edge.http;
    let slow = thread::spawn(move || body(http, "/slow"));
    eventually("the request is in flight", || seen.load(Ordering::Relaxed) == 1);
    edge.signal("-TERM");
    eventually("readyz fails", || matches!(status(edge.admin, "/readyz"), Ok(503)));
    assert_eq!(slow.join().unwrap().unwrap(), "blue");
    assert_eq!(edge.exit(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let (mut edge, seen) = start();
    let http = edge.http;
    let hang = thread::spawn(move || body(http, "/hang"));
    eventually("the request is in flight", || seen.load(Ordering::Relaxed) == 1);
    edge.signal("-TERM");
    eventually("it says so", || edge.line("stopping").is_some());
    let before = Instant::now();
    edge.signal("-TERM");
    let code = edge.exit();
    // The request would have been given 25 s.
    assert!(before.elapsed() < Duration::from_secs(20));
    assert_eq!(code, Some(1));
    assert!(hang.join().unwrap().is_err());
}

#[test]
fn the_children_die_with_their_supervisor() {
    let (mut edge, _) = start();
    let children: Vec<i32> =
        ["proxy", "controller"].into_iter().map(|role| edge.child(role).unwrap()).collect();
    edge.signal("-KILL");
    edge.exit();
    eventually("both are gone", || children.iter().all(|pid| is_dead(*pid)));
}

#[test]
fn a_controller_that_dies_while_the_file_is_broken_comes_back_with_what_was_live() {
    let (edge, _) = start();
    fs::write(edge.config_path(), "nonsense").unwrap();
    eventually("it says so", || edge.line("not valid").is_some());
    let killed = kill(&edge, "controller");
    eventually("another controller answers", || {
        edge.child("controller").is_some_and(|pid| pid != killed)
            && edge.cutover(&["status"]).status.success()
    });
    eventually("the error is in status", || {
        let status = edge.cutover(&["status", "--json"]);
        String::from_utf8_lossy(&status.stdout).contains("cutover.toml:1:")
    });
    assert_eq!(body(edge.http, "/").unwrap(), "blue");
}

#[test]
fn a_changed_file_is_live_without_a_cut_connection() {
    let (edge, _) = start();
    let mut kept = TcpStream::connect(edge.http).unwrap();
    assert_eq!(exchange(&mut kept, "/").unwrap(), "blue");
    let path = edge.config_path();
    let text = fs::read_to_string(&path).unwrap();
    let new = edge.directory.path().join("new.toml");
    fs::write(&new, text.replace("[services.web]", "[services.web]\nhosts = [\"edge.test\"]"))
        .unwrap();
    fs::rename(&new, &path).unwrap();
    eventually("another host is not served any more", || {
        matches!(status_for(edge.http, "/", "other.test"), Ok(404))
    });
    assert_eq!(exchange(&mut kept, "/").unwrap(), "blue");
}

/// A Cutover in front of two upstreams, and how many requests have come for `/slow` and `/hang`.
fn start() -> (Edge, Arc<AtomicU64>) {
    let slow = Arc::new(AtomicU64::new(0));
    let (blue, green) = (app("blue", &slow), app("green", &slow));
    let edge = Edge::start(&format!(
        "[listen]\n[runtime]\nworkers = 2\nstate_dir = \"{{root}}/state\"\n[docker]\nenable = false\n\
         [services.web]\nblue = [\"{blue}\"]\ngreen = [\"{green}\"]\n\
         timeouts.hold = \"20s\"\nprobe = {{ path = \"/\", interval = \"100ms\" }}\n"
    ));
    eventually("both colors are up", || {
        let status = edge.cutover(&["status", "--json"]);
        String::from_utf8_lossy(&status.stdout).matches("\"up\":true").count() == 2
    });
    (edge, slow)
}

/// Answers with its name; `/slow` after a while, `/hang` never.
fn app(name: &'static str, slow: &Arc<AtomicU64>) -> SocketAddr {
    let slow = Arc::clone(slow);
    upstream(move |head| {
        let patience = match head.split(' ').nth(1) {
            Some("/slow") => Duration::from_secs(2),
            Some("/hang") => PATIENCE,
            _ => return ok(name),
        };
        slow.fetch_add(1, Ordering::Relaxed);
        thread::park_timeout(patience);
        ok(name)
    })
}

/// Kills the process of a role.
fn kill(edge: &Edge, role: &str) -> i32 {
    let pid = edge.child(role).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    pid
}

/// Three clients; every second request of each is on a connection that was kept.
fn load(http: SocketAddr) -> Load {
    let load = Load::on(http, "edge.test").count(3).per_connection(2).pace(Duration::ZERO).start();
    load.passes(10);
    load
}

fn body(http: SocketAddr, path: &str) -> io::Result<String> {
    exchange(&mut TcpStream::connect(http)?, path)
}

/// The body of a 200.
fn exchange(stream: &mut TcpStream, path: &str) -> io::Result<String> {
    let (status, body) = ask(stream, path, "edge.test")?;
    match status {
        200 => Ok(body),
        other => Err(io::Error::other(format!("{other}: {body}"))),
    }
}

fn status(address: SocketAddr, path: &str) -> io::Result<u16> {
    status_for(address, path, "edge.test")
}

fn status_for(address: SocketAddr, path: &str, host: &str) -> io::Result<u16> {
    Ok(ask(&mut TcpStream::connect(address)?, path, host)?.0)
}

fn ask(stream: &mut TcpStream, path: &str, host: &str) -> io::Result<(u16, String)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let head = head(&mut reader)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let length = head
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, String::from_utf8_lossy(&body).into_owned()))
}

/// Whether a process has ended, and only waits to be reaped by someone else.
fn is_dead(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_none_or(|rest| rest.trim().is_empty() || rest.trim().starts_with('Z'))
}
