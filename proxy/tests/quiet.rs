//! Clients that do nothing cost nothing. Alone in its process: it reads the process's CPU time.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests"
)]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use common::{Edge, Then, Upstream, eventually};

/// The process's CPU time, read through one descriptor: there may be no other.
struct Cpu(File);

impl Cpu {
    /// In hundredths of a second.
    fn spent(&self) -> u64 {
        let mut stat = [0; 1024];
        let read = self.0.read_at(&mut stat, 0).unwrap();
        let stat = std::str::from_utf8(&stat[..read]).unwrap();
        let fields = stat.rsplit(')').next().unwrap().split_whitespace();
        fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    fn assert_quiet(&self, what: &str) {
        thread::park_timeout(Duration::from_millis(300));
        let before = self.spent();
        thread::park_timeout(Duration::from_secs(1));
        let spent = self.spent() - before;
        assert!(spent < 20, "{what}: {spent} % of a core");
    }
}

#[test]
fn neither_waiting_clients_nor_a_lack_of_descriptors_spin() {
    let upstream = Upstream::scripted(|seen| match seen.path() {
        "/never" => Then::Take(Box::new(|stream| drop(stream.read(&mut [0])))),
        _ => {
            let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n".to_vec();
            answer.resize(answer.len() + 9_000_000, b'x');
            Then::Answer(answer)
        }
    });
    let cpu = Cpu(File::open("/proc/self/stat").unwrap());
    let edge = Edge::in_front_of(&[upstream.address]);
    let open = |bytes: &str| {
        let mut stream = TcpStream::connect(edge.address).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream
    };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let mut waiting = vec![
        open(""),
        open("GET / HT"),
        open(&get("/never")),
        open(&get("/blocked")),
        // A next request that comes ahead of its turn.
        open(&format!("{}{}", get("/never"), get("/ahead"))),
        open("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhe"),
    ];
    let half_closed = open(&get("/never"));
    half_closed.shutdown(Shutdown::Write).unwrap();
    waiting.push(half_closed);
    eventually("all are with the upstream", || upstream.requests() >= 4);
    cpu.assert_quiet("waiting clients");
    drop(waiting);

    // No descriptor is left: the queue stays readable, and nothing can be taken from it.
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let lack = |current| {
        let lack = rustix::process::Rlimit { current, maximum: limit.maximum };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, lack).unwrap();
    };
    let crowd = "import socket,sys\nc=[socket.create_connection(('127.0.0.1',int(sys.argv[1]))) for _ in range(60)]\nprint('open',flush=True)\nsys.stdin.read()";
    let mut child = Command::new("python3")
        .args(["-c", crowd, &edge.address.port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed to be a crowd");
    lack(Some(descriptors + 20));
    let mut line = [0; 5];
    child.stdout.take().unwrap().read_exact(&mut line).unwrap();
    cpu.assert_quiet("a lack of descriptors");
    lack(limit.current);
    eventually("the crowd is let in", || edge.snapshot().connections.values().sum::<u64>() >= 60);
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(edge.get("/").status, 200);
}
