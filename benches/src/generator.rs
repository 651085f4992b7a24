//! A load generator for machines without `wrk`: one thread, epoll, closed loop.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::epoll;

use crate::case::Case;
use crate::load::Figures;

/// Keeps every client of a case busy for a while.
///
/// # Errors
/// Fails when nobody listens on the target or epoll itself fails; what goes wrong later is counted.
pub fn run(target: SocketAddr, case: &Case, duration: Duration) -> anyhow::Result<Figures> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let request = request(target, case);
    let mut scratch = vec![0; 256 << 10];
    let mut latencies = Vec::with_capacity(1 << 17);
    let mut errors = 0;

    let mut clients = Vec::with_capacity(case.connections);
    for slot in 0..case.connections {
        let stream = connect(&epoll, target, slot)?;
        clients.push(Client::new(stream));
    }
    let start = Instant::now();
    let mut events = Vec::with_capacity(256);
    while let Some(left) = duration.checked_sub(start.elapsed()) {
        let wait = rustix::event::Timespec::try_from(left)?;
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&wait)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            let Ok(slot) = usize::try_from(event.data.u64()) else {
                continue;
            };
            let Some(client) = clients.get_mut(slot) else {
                continue;
            };
            loop {
                let outcome = client.drive(&request, &mut scratch);
                match outcome {
                    Outcome::Waits => break,
                    Outcome::Answered => latencies.push(client.sent_at.elapsed()),
                    Outcome::Failed => errors += 1,
                }
                if case.close || matches!(outcome, Outcome::Failed) {
                    *client = Client::new(connect(&epoll, target, slot)?);
                } else {
                    client.start();
                }
            }
        }
    }

    let seconds = start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let at = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index within the list"
        )]
        let index = (latencies.len() as f64 * share) as usize;
        latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
    };
    Ok(Figures {
        requests: latencies.len() as u64,
        seconds,
        p50_us: at(0.5),
        p99_us: at(0.99),
        errors,
    })
}

fn request(target: SocketAddr, case: &Case) -> Vec<u8> {
    let (method, length) = match case.body_bytes {
        0 => ("GET", String::new()),
        bytes => ("POST", format!("Content-Length: {bytes}\r\n")),
    };
    let close = if case.close { "Connection: close\r\n" } else { "" };
    let path = case.path;
    let mut whole =
        format!("{method} {path} HTTP/1.1\r\nHost: {target}\r\n{length}{close}\r\n").into_bytes();
    whole.resize(whole.len() + case.body_bytes, b'p');
    whole
}

fn connect(
    epoll: impl std::os::fd::AsFd,
    target: SocketAddr,
    slot: usize,
) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(target)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let edge = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
    epoll::add(epoll, &stream, epoll::EventData::new_u64(slot as u64), edge)?;
    Ok(stream)
}

struct Client {
    stream: TcpStream,
    sent: usize,
    sent_at: Instant,
    answer: Answer,
}

enum Answer {
    Head(Vec<u8>),
    Body { left: usize },
}

enum Outcome {
    Answered,
    Failed,
    Waits,
}

impl Client {
    fn new(stream: TcpStream) -> Self {
        Self { stream, sent: 0, sent_at: Instant::now(), answer: Answer::Head(Vec::new()) }
    }

    fn start(&mut self) {
        self.sent = 0;
        self.sent_at = Instant::now();
        self.answer = Answer::Head(Vec::new());
    }

    fn drive(&mut self, request: &[u8], scratch: &mut [u8]) -> Outcome {
        while let Some(rest) = request.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return Outcome::Failed,
            }
        }
        loop {
            let bytes = match self.stream.read(scratch) {
                Ok(n) if n > 0 => scratch.get(..n).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Outcome::Waits,
                Ok(_) | Err(_) => return Outcome::Failed,
            };
            let left = match &mut self.answer {
                Answer::Body { left } => left.checked_sub(bytes.len()),
                Answer::Head(head) => {
                    head.extend_from_slice(bytes);
                    let Some(end) = memchr::memmem::find(head, b"\r\n\r\n") else {
                        continue;
                    };
                    let (head, body) = head.split_at(end + 4);
                    if !head.starts_with(b"HTTP/1.1 2") {
                        return Outcome::Failed;
                    }
                    content_length(head).and_then(|length| length.checked_sub(body.len()))
                }
            };
            match left {
                Some(0) => return Outcome::Answered,
                Some(left) => self.answer = Answer::Body { left },
                None => return Outcome::Failed,
            }
        }
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    head.split(|b| *b == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(b"content-length:".len())?;
        if !name.eq_ignore_ascii_case(b"content-length:") {
            return None;
        }
        std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()
    })
}
