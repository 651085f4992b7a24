//! A client that asks without pause and counts what fails.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::eventually;

/// Requests without pause, on kept-alive connections, until stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    workers: Vec<JoinHandle<Served>>,
}

#[derive(Debug, Default)]
pub(crate) struct Served {
    pub(crate) requests: u64,
    /// The longest that one of them took.
    pub(crate) longest: Duration,
    pub(crate) failures: Vec<String>,
    /// How many answers began with which word.
    pub(crate) words: BTreeMap<String, u64>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let worker = |_| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || ask_until(&stop, &answered, address))
        };
        let workers = (0..4).map(worker).collect();
        Self { stop, answered, workers }
    }

    /// Waits until so many more requests have been answered.
    pub(crate) fn passes(&self, more: u64) {
        let goal = self.answered.load(Ordering::Relaxed) + more;
        eventually("the load goes on", || self.answered.load(Ordering::Relaxed) >= goal);
    }

    pub(crate) fn stop(mut self) -> Served {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Served::default();
        for worker in self.workers.drain(..) {
            let served = worker.join().unwrap();
            all.requests += served.requests;
            all.longest = all.longest.max(served.longest);
            all.failures.extend(served.failures);
            for (word, count) in served.words {
                *all.words.entry(word).or_default() += count;
            }
        }
        all
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn ask_until(stop: &AtomicBool, answered: &AtomicU64, address: SocketAddr) -> Served {
    let mut served = Served::default();
    let mut connection = None;
    while !stop.load(Ordering::Relaxed) {
        served.requests += 1;
        let since = Instant::now();
        let open = match connection.take() {
            Some(open) => Ok(open),
            None => connect(address),
        };
        match open.and_then(ask) {
            Ok((open, word)) => {
                connection = Some(open);
                *served.words.entry(word).or_default() += 1;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => served.failures.push(error.to_string()),
        }
        served.longest = served.longest.max(since.elapsed());
        // Light: the machine has an edge and an engine to run beside it.
        std::thread::park_timeout(Duration::from_millis(2));
    }
    served
}

/// One request on a connection of its own: the first word of the answer, which must be a 200.
pub(crate) fn fetch(address: SocketAddr) -> std::io::Result<String> {
    connect(address).and_then(ask).map(|(_, word)| word)
}

/// Of the apps of this process: other tests on this engine have hosts of their own.
pub(crate) fn host() -> String {
    format!("app-{}.test", std::process::id())
}

/// An answer that has begun and goes on until somebody ends it.
pub(crate) fn begin(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", host()).unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200", "{path}");
    stream
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn ask(mut stream: TcpStream) -> std::io::Result<(TcpStream, String)> {
    write!(stream, "GET / HTTP/1.1\r\nHost: {}\r\n\r\n", host())?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
            let length: usize = length.and_then(|l| l.trim().parse().ok()).unwrap_or(0);
            if body.len() >= length {
                let first = head.lines().next().unwrap_or_default().to_owned();
                if first.starts_with("http/1.1 200") {
                    let word = body.split_whitespace().next().unwrap_or_default().to_owned();
                    return Ok((stream, word));
                }
                return Err(std::io::Error::other(format!("{first}: {}", body.trim())));
            }
        }
        match stream.read(&mut chunk)? {
            0 => return Err(std::io::Error::other("closed before the end of the answer")),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(60);
