//! The Docker API with the containers of one test alone.
//!
//! An edge takes in every container of its engine that has labels of ours. Behind this socket it sees
//! those only that carry the label of its test, so that tests run side by side on one engine. Everything
//! else is passed on as it is. A test can also make calls fail.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Which containers are seen: those with `cutover-test=NAME`.
pub(crate) const LABEL: &str = "cutover-test";

/// A socket in front of an engine; it listens until the test ends.
#[derive(Debug)]
pub struct EngineView {
    socket: PathBuf,
    faults: Arc<Mutex<Vec<String>>>,
}

impl EngineView {
    /// Listens at `socket` for who is to see the containers of `test`.
    pub(crate) fn begin(socket: PathBuf, engine: PathBuf, test: &str) -> Self {
        let listener = UnixListener::bind(&socket).unwrap();
        let faults = Arc::<Mutex<Vec<String>>>::default();
        let view = Arc::new(View { engine, test: test.to_owned(), faults: Arc::clone(&faults) });
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let view = Arc::clone(&view);
                // A client that breaks off is its own affair.
                std::thread::spawn(move || view.serve(stream).ok());
            }
        });
        Self { socket, faults }
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// From now on every call whose first line contains this is answered with 500.
    pub fn fail(&self, part: &str) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push(part.to_owned());
    }

    /// No call is made to fail any more.
    pub fn heal(&self) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

struct View {
    engine: PathBuf,
    test: String,
    faults: Arc<Mutex<Vec<String>>>,
}

impl View {
    /// One request, and the bytes of its connection after that: no second request is read from it.
    fn serve(&self, client: UnixStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(client.try_clone()?);
        let mut first = String::new();
        reader.read_line(&mut first)?;
        let mut head = String::new();
        while reader.read_line(&mut head)? > 2 {}
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if faults.iter().any(|part| first.contains(part)) {
            let body = "{\"message\":\"the test wants this to fail\"}";
            return answer(&client, "500 Internal Server Error", body);
        }
        let mut engine = UnixStream::connect(&self.engine)?;
        let is_list = first.contains("/containers/json");
        if is_list {
            first = self.only_ours(&first);
        }
        let upgrades = head.to_ascii_lowercase().contains("\r\nupgrade:");
        if !upgrades {
            head = without(&head, "connection");
            head.insert_str(0, "Connection: close\r\n");
        }
        engine.write_all(first.as_bytes())?;
        engine.write_all(head.as_bytes())?;
        let mut back = engine.try_clone()?;
        let up = std::thread::spawn(move || {
            std::io::copy(&mut reader, &mut engine).ok();
            engine.shutdown(Shutdown::Write).ok();
        });
        if first.starts_with("GET ") && first.contains("/containers/") && is_inspection(&first) {
            let mut whole = Vec::new();
            back.read_to_end(&mut whole)?;
            let label = format!("\"{LABEL}\":\"{}\"", self.test);
            if contains(&whole, label.as_bytes()) || !whole.starts_with(b"HTTP/1.1 200") {
                (&client).write_all(&whole)?;
            } else {
                answer(&client, "404 Not Found", "{\"message\":\"a container of another test\"}")?;
            }
        } else {
            std::io::copy(&mut back, &mut &client)?;
        }
        client.shutdown(Shutdown::Both)?;
        up.join().ok();
        Ok(())
    }

    /// The list's request line with one more filter.
    fn only_ours(&self, first: &str) -> String {
        let mut words = first.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let filter = format!("%7B%22label%22%3A%5B%22{LABEL}%3D{}%22%5D%7D", self.test);
        let mark = if target.contains('?') { '&' } else { '?' };
        assert!(!target.contains("filters="), "filters would have to be joined: {target}");
        format!("{method} {target}{mark}filters={filter} HTTP/1.1\r\n")
    }
}

/// `/v1.41/containers/ID/json`.
fn is_inspection(first: &str) -> bool {
    let target = first.split(' ').nth(1).unwrap_or_default();
    target.split('?').next().is_some_and(|path| path.ends_with("/json"))
        && !target.contains("/containers/json")
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A head without one of its fields.
fn without(head: &str, name: &str) -> String {
    let other = |line: &&str| {
        let field = line.split(':').next().unwrap_or_default();
        !field.eq_ignore_ascii_case(name)
    };
    head.split_inclusive("\r\n").filter(other).collect()
}

fn answer(mut client: &UnixStream, status: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(
        client,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
