//! The app behind every proxy: one thread, epoll, answers ready in memory.
//!
//! It is faster than any proxy in front of it, so that it is never what is measured. It reads what
//! the peers send (framed by `Content-Length`, or no body at all) and nothing else.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use anyhow::Context as _;
use rustix::event::epoll;
use rustix::net::{AddressFamily, SocketType};

use crate::rig::{self, Placement, Running};

/// The field in which an upstream that has a color says it.
pub const COLOR_FIELD: &str = "x-color";

/// Serves on an address until the process ends; an upstream of a color says it in every answer.
///
/// # Errors
/// Fails when the address cannot be bound or epoll itself fails; a client's errors only end its
/// connection.
pub fn serve(address: SocketAddr, color: Option<&str>) -> anyhow::Result<()> {
    let listener = bind(address).with_context(|| format!("binding {address}"))?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let edge = epoll::EventFlags::IN
        | epoll::EventFlags::OUT
        | epoll::EventFlags::RDHUP
        | epoll::EventFlags::ET;
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(u64::MAX), epoll::EventFlags::IN)?;

    let answers = Answers::new(color);
    let mut scratch = vec![0; 256 << 10];
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free = Vec::new();
    let mut events = Vec::with_capacity(256);
    loop {
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            let Ok(slot) = usize::try_from(event.data.u64()) else {
                continue;
            };
            if slot == usize::MAX {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let slot = free.pop().unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    let data = epoll::EventData::new_u64(slot as u64);
                    epoll::add(&epoll, &stream, data, edge)?;
                    if let Some(place) = connections.get_mut(slot) {
                        *place = Some(Connection::new(stream));
                    }
                }
                continue;
            }
            let Some(place) = connections.get_mut(slot) else {
                continue;
            };
            let hung_up = { event.flags }.contains(epoll::EventFlags::RDHUP);
            let goes_on = place
                .as_mut()
                .is_some_and(|connection| connection.drive(&answers, &mut scratch, hung_up));
            if !goes_on && place.take().is_some() {
                free.push(slot);
            }
        }
    }
}

/// An upstream as a process of its own: this program once more, which needs the command
/// `upstream --listen ADDRESS [--color COLOR]`. It ends when this is dropped.
#[derive(Debug)]
pub struct Upstream {
    /// Where it can be reached.
    pub address: SocketAddr,
    _process: Running,
}

/// The addresses on which an upstream listens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// All, and with that every one of loopback.
    Loopback,
    /// Just its own.
    OneAddress,
}

impl Upstream {
    /// Starts one and waits until it listens.
    ///
    /// # Errors
    /// Fails when it cannot be started.
    pub fn start(placement: Placement, reach: Reach, color: Option<&str>) -> anyhow::Result<Self> {
        let address = rig::free_address()?;
        let mut listen = address;
        if reach == Reach::Loopback {
            listen.set_ip(Ipv4Addr::UNSPECIFIED.into());
        }
        let mut command = rig::command(std::env::current_exe()?);
        command.args(["upstream", "--listen", &listen.to_string()]);
        command.args(color.map(|color| format!("--color={color}")));
        let process = Running(placement.spawn_load(&mut command)?);
        rig::wait_until("an upstream that listens", || Ok(TcpStream::connect(address).is_ok()))?;
        Ok(Self { address, _process: process })
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 4096)?;
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Whole responses, head and body.
struct Answers {
    kib: Vec<u8>,
    last_kib: Vec<u8>,
    mib: Vec<u8>,
    short: Vec<u8>,
    unknown: Vec<u8>,
}

impl Answers {
    fn new(color: Option<&str>) -> Self {
        let field = color.map(|color| format!("\r\n{COLOR_FIELD}: {color}")).unwrap_or_default();
        let ok = format!("200 OK{field}");
        Self {
            kib: answer(&ok, &[b'k'; 1 << 10]),
            last_kib: answer(&format!("{ok}\r\nconnection: close"), &[b'k'; 1 << 10]),
            mib: answer(&ok, &vec![b'm'; 1 << 20]),
            short: answer(&ok, b"ok"),
            unknown: answer("404 Not Found", b"no such path"),
        }
    }

    fn to(&self, what: Answer) -> &[u8] {
        match what {
            Answer::Kib => &self.kib,
            Answer::LastKib => &self.last_kib,
            Answer::Mib => &self.mib,
            Answer::Short => &self.short,
            Answer::Unknown => &self.unknown,
        }
    }
}

fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let mut whole = format!(
        "HTTP/1.1 {status}\r\nserver: bench\r\ncontent-type: application/octet-stream\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    whole.extend_from_slice(body);
    whole
}

#[derive(Clone, Copy)]
enum Answer {
    Kib,
    LastKib,
    Mib,
    Short,
    Unknown,
}

struct Connection {
    stream: TcpStream,
    /// What was read and belongs to a head that is not whole yet.
    head: Vec<u8>,
    phase: Phase,
    close: bool,
}

enum Phase {
    Head,
    Body { left: usize, then: Answer },
    Reply { what: Answer, sent: usize },
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self { stream, head: Vec::with_capacity(2048), phase: Phase::Head, close: false }
    }

    /// Goes on until the socket has no more to give or take; `false` ends the connection.
    ///
    /// A short read has emptied the socket, so the next edge will tell; only a hangup must be read
    /// to its end.
    fn drive(&mut self, answers: &Answers, scratch: &mut [u8], hung_up: bool) -> bool {
        loop {
            if let Phase::Reply { what, sent } = &mut self.phase {
                let left = answers.to(*what).get(*sent..).unwrap_or_default();
                match self.stream.write(left) {
                    Ok(n) => *sent += n,
                    Err(error) => return error.kind() == ErrorKind::WouldBlock,
                }
                if *sent < answers.to(*what).len() {
                    continue;
                }
                if self.close {
                    return false;
                }
                self.phase = Phase::Head;
                self.advance(0);
                continue;
            }
            let room = scratch.len();
            match self.stream.read(scratch) {
                Ok(0) => return false,
                Ok(n) => {
                    self.feed(scratch.get(..n).unwrap_or_default());
                    let replies = matches!(self.phase, Phase::Reply { .. });
                    if n < room && !hung_up && !replies {
                        return true;
                    }
                }
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        match &mut self.phase {
            Phase::Body { left, then } if bytes.len() <= *left => {
                *left -= bytes.len();
                if *left == 0 {
                    self.phase = Phase::Reply { what: *then, sent: 0 };
                }
            }
            Phase::Body { .. } | Phase::Head | Phase::Reply { .. } => {
                let seen = self.head.len();
                self.head.extend_from_slice(bytes);
                self.advance(seen);
            }
        }
    }

    /// Looks for the end of a head in what was read; the first `seen` bytes hold none.
    fn advance(&mut self, seen: usize) {
        if let Phase::Body { left, then } = self.phase {
            if self.head.len() >= left {
                self.head.drain(..left);
                self.phase = Phase::Reply { what: then, sent: 0 };
            }
            return;
        }
        let from = seen.saturating_sub(3);
        let tail = self.head.get(from..).unwrap_or_default();
        let Some(end) = memchr::memmem::find(tail, b"\r\n\r\n").map(|at| from + at + 4) else {
            return;
        };
        let head = self.head.get(..end).unwrap_or_default();
        let (length, close) = framing(head);
        self.close = close;
        let what = match head.split(|b| *b == b' ').nth(1) {
            Some(b"/1k") if close => Answer::LastKib,
            Some(b"/1k") => Answer::Kib,
            Some(b"/1m") => Answer::Mib,
            Some(b"/health" | b"/post") => Answer::Short,
            _ => Answer::Unknown,
        };
        let early = self.head.len() - end;
        if early >= length {
            self.head.drain(..end + length);
            self.phase = Phase::Reply { what, sent: 0 };
        } else {
            self.head.clear();
            self.phase = Phase::Body { left: length - early, then: what };
        }
    }
}

/// The body's length, and whether the client wants the connection closed.
fn framing(head: &[u8]) -> (usize, bool) {
    let (mut length, mut close) = (0, false);
    for line in head.split(|b| *b == b'\n') {
        let mut halves = line.splitn(2, |b| *b == b':');
        let (Some(name), Some(value)) = (halves.next(), halves.next()) else {
            continue;
        };
        let value = value.trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            length =
                std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0);
        } else if name.eq_ignore_ascii_case(b"connection") {
            close = value.eq_ignore_ascii_case(b"close");
        }
    }
    (length, close)
}
