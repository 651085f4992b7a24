//! Clients that ask without pause and count what fails.

use std::collections::BTreeMap;
use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::{PATIENCE, eventually};

/// Requests without pause until stopped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Served>>,
}

/// What the clients of a load have seen.
#[derive(Debug, Default)]
pub struct Served {
    /// How many requests there were.
    pub requests: usize,
    /// The longest that one of them took.
    pub longest: Duration,
    /// What went wrong, one line each.
    pub failures: Vec<String>,
    /// How many answers began with which word.
    pub words: BTreeMap<String, u64>,
}

/// A whole answer of HTTP/1.1.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head, in lower case.
    pub head: String,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// The value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.split_once(": ").filter(|(n, _)| *n == name)).map(|(_, v)| v)
    }

    /// The first word of a 200; anything else is an error.
    ///
    /// # Errors
    /// Names the status and the body.
    pub fn word(&self) -> Result<String> {
        if self.status == 200 {
            return Ok(self.body.split_whitespace().next().unwrap_or_default().to_owned());
        }
        let reason = self.field("x-cutover-reason").unwrap_or_default();
        Err(Error::other(format!("{} {reason} {}", self.status, self.body.trim())))
    }
}

/// Called with each request's begin, and its answer or error.
pub type Observer = Arc<dyn Fn(Instant, &Result<Answer>) + Send + Sync>;

/// How a load asks.
#[derive(Clone)]
pub struct Clients {
    address: SocketAddr,
    host: String,
    count: usize,
    per_connection: usize,
    pace: Duration,
    paths: &'static [&'static str],
    observer: Option<Observer>,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} clients of {} at {}", self.count, self.host, self.address)
    }
}

impl Clients {
    /// So many clients that ask at once.
    #[must_use]
    pub fn count(mut self, count: usize) -> Self {
        self.count = count;
        self
    }

    /// A new connection after so many requests.
    #[must_use]
    pub fn per_connection(mut self, requests: usize) -> Self {
        self.per_connection = requests;
        self
    }

    /// So long between two requests of a client.
    #[must_use]
    pub fn pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// These paths one after the other, instead of `/`.
    #[must_use]
    pub fn paths(mut self, paths: &'static [&'static str]) -> Self {
        self.paths = paths;
        self
    }

    /// Somebody who is told of each answer.
    #[must_use]
    pub fn observer(mut self, observer: Observer) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Begins to ask.
    #[must_use]
    pub fn start(self) -> Load {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |_| {
            let (own, stop, answered) = (self.clone(), Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || own.ask_until(&stop, &answered))
        };
        let clients = (0..self.count).map(client).collect();
        Load { stop, answered, clients }
    }

    fn ask_until(&self, stop: &AtomicBool, answered: &AtomicU64) -> Served {
        let mut served = Served::default();
        let mut kept = None;
        while !stop.load(Ordering::Relaxed) {
            let path = self.paths[served.requests % self.paths.len()];
            served.requests += 1;
            let since = Instant::now();
            let open = kept.take().map_or_else(|| connect(self.address), Ok);
            let answer = open.and_then(|mut stream| {
                let answer = ask(&mut stream, &self.host, path)?;
                let closes = answer.field("connection") == Some("close");
                let renew = served.requests.is_multiple_of(self.per_connection);
                kept = Some(stream).filter(|_| !closes && !renew);
                Ok(answer)
            });
            if let Some(observer) = &self.observer {
                observer(since, &answer);
            }
            match answer.and_then(|answer| answer.word()) {
                Ok(word) => {
                    *served.words.entry(word).or_default() += 1;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => served.failures.push(error.to_string()),
            }
            served.longest = served.longest.max(since.elapsed());
            // Light: the machine has an edge and an engine to run beside it.
            std::thread::park_timeout(self.pace);
        }
        served
    }
}

impl Load {
    /// Four clients on kept connections: `Load::on(..).start()`.
    #[must_use]
    pub fn on(address: SocketAddr, host: &str) -> Clients {
        Clients {
            address,
            host: host.to_owned(),
            count: 4,
            per_connection: usize::MAX,
            pace: Duration::from_millis(2),
            paths: &["/"],
            observer: None,
        }
    }

    /// Waits until so many more requests have been answered.
    ///
    /// # Panics
    /// When they are not within a minute.
    pub fn passes(&self, more: u64) {
        let goal = self.answered.load(Ordering::Relaxed) + more;
        eventually("the load goes on", || self.answered.load(Ordering::Relaxed) >= goal);
    }

    /// Ends it.
    ///
    /// # Panics
    /// When a client has panicked.
    #[must_use]
    pub fn stop(mut self) -> Served {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Served::default();
        for client in self.clients.drain(..) {
            let served = client.join().unwrap();
            all.requests += served.requests;
            all.longest = all.longest.max(served.longest);
            all.failures.extend(served.failures);
            for (word, count) in served.words {
                *all.words.entry(word).or_default() += count;
            }
        }
        all
    }

    /// Ends it; no request may have failed.
    ///
    /// # Panics
    /// When one has.
    pub fn stop_without_failure(self) -> Served {
        self.passes(20);
        let served = self.stop();
        assert_eq!(served.failures, Vec::<String>::new());
        served
    }
}

/// A test that fails does not leave its clients behind.
impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One request on a connection of its own: the first word of the answer, which must be a 200.
///
/// # Errors
/// Fails where there is no whole answer, or another one.
pub fn fetch(address: SocketAddr, host: &str) -> Result<String> {
    connect(address).and_then(|mut stream| ask(&mut stream, host, "/")?.word())
}

/// An answer that has begun and goes on until somebody ends it.
///
/// # Panics
/// When the answer is not a 200.
#[must_use]
pub fn begin(address: SocketAddr, host: &str, path: &str) -> TcpStream {
    let mut stream = connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200", "{path}");
    stream
}

/// A connection with a deadline for each step.
///
/// # Errors
/// Fails where nobody listens.
pub fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// One request on a connection that may be kept after it; its whole answer.
///
/// # Errors
/// Fails where there is no whole answer.
pub fn ask(stream: &mut TcpStream, host: &str, path: &str) -> Result<Answer> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(answer) = whole(&bytes)? {
            return Ok(answer);
        }
        match stream.read(&mut chunk)? {
            0 => return Err(Error::other("closed before the end of the answer")),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

/// An answer, once all of it is there.
fn whole(bytes: &[u8]) -> Result<Option<Answer>> {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(None) };
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
    let length: usize = length.and_then(|l| l.trim().parse().ok()).unwrap_or(0);
    if body.len() < length {
        return Ok(None);
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| Error::other(format!("no status: {head}")))?;
    Ok(Some(Answer { status, body: body.to_owned(), head }))
}
