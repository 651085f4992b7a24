//! A whole Cutover without Docker as a user runs it, in front of one upstream, and a plain client.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::{PATIENCE, Port, binary, eventually};

/// A running Cutover without Docker.
#[derive(Debug)]
pub struct StaticEdge {
    /// Everything of it lies here.
    pub directory: tempfile::TempDir,
    /// The first process.
    pub supervisor: Child,
    /// Where it serves.
    pub http: SocketAddr,
    /// Where its metrics are.
    pub admin: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    _port: Port,
}

impl StaticEdge {
    /// `{root}` in `config` is a directory of its own; what listens where is added.
    pub fn start(config: &str) -> Self {
        Self::start_as(config, "exec \"$@\"")
    }

    /// As `start`, by a shell script that ends with `"$@"`.
    pub fn start_as(config: &str, script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::start_in(directory, config, script)
    }

    /// As `start_as`, in a directory that is there.
    pub fn start_in(directory: tempfile::TempDir, config: &str, script: &str) -> Self {
        let port = Port::claim();
        let admin = port.address();
        let root = directory.path().display().to_string();
        let listen = format!(
            "[listen]\nhttp = \"127.0.0.1:0\"\nadmin = \"{admin}\"\ncontrol = \"{root}/run/control.sock\"\n"
        );
        let config = config.replace("{root}", &root).replace("[listen]\n", &listen);
        let path = directory.path().join("conf/cutover.toml");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, config).unwrap();
        let mut supervisor = Command::new("/bin/sh")
            .args(["-c", script, "sh"])
            .arg(binary())
            .args(["run", "--config"])
            .arg(&path)
            .env("A_SECRET", "of the controller")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = supervisor.stderr.take().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                lines.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
            }
        });
        let mut edge = Self { directory, supervisor, http: admin, admin, log, _port: port };
        eventually("it listens", || match edge.line("listening address=") {
            Some(line) => {
                let address = line.split("address=").nth(1).unwrap().split(' ').next().unwrap();
                edge.http = address.parse().unwrap();
                true
            }
            None => false,
        });
        eventually("a table is live", || get(edge.http, "/").is_ok());
        edge
    }

    /// Its file.
    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("conf/cutover.toml")
    }

    /// Its directory, as `{root}` in a config.
    pub fn root(&self) -> String {
        self.directory.path().display().to_string()
    }

    /// Its control socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("run/control.sock")
    }

    /// The lines of its log.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The first line of its log with this in it.
    pub fn line(&self, part: &str) -> Option<String> {
        self.log().into_iter().find(|line| line.contains(part))
    }

    /// Runs a verb of the command line to its end.
    pub fn cutover(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.arg("--socket").arg(self.socket()).args(arguments).output().unwrap()
    }

    /// Of the control socket.
    pub fn ask(&self, request: &str) -> io::Result<String> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = format!("{request} HTTP/1.1\r\nhost: c\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Whether its control socket answers.
    pub fn answers(&self) -> bool {
        self.ask("GET /v1/status").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    }

    /// The value of a metric, by its line's beginning.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let answer = self.ask("GET /metrics").ok()?;
        let line = answer.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// The process of a role, if it lives.
    pub fn child(&self, role: &str) -> Option<i32> {
        let pid = self.supervisor.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).nth(1) == Some(role.as_bytes())
        })
    }

    /// Sends the first process a signal, as `-TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.supervisor.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Waits for the end of the first process; its exit code.
    pub fn exit(&mut self) -> Option<i32> {
        let mut status = None;
        eventually("the supervisor ends", || {
            status = self.supervisor.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }

    /// What every test ends with: nobody has panicked, and the edge still serves.
    pub fn is_well(&self) {
        eventually("it serves", || get(self.http, "/").is_ok());
        eventually("its control socket answers", || self.answers());
        assert_eq!(self.line("panicked at"), None);
        assert_eq!(self.metric("cutover_panics_total"), Some(0.0));
    }
}

impl Drop for StaticEdge {
    fn drop(&mut self) {
        // Its children die with it.
        self.supervisor.kill().ok();
        self.supervisor.wait().ok();
        if thread::panicking() {
            eprintln!("{}", self.log().join("\n"));
        }
    }
}

/// Answers each request with what `reply` makes of its head.
pub fn upstream(reply: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let reply = Arc::new(reply);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let reply = Arc::clone(&reply);
            thread::spawn(move || {
                let mut reader = BufReader::new(&stream);
                while let Ok(head) = head(&mut reader) {
                    let answer = reply(&head);
                    if answer.is_empty() || (&stream).write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A 200 with this body.
pub fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The head of a message; an error at the end of the connection.
pub fn head(reader: &mut impl BufRead) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// A connection with a deadline for each step.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything that comes until the connection is closed.
pub fn rest(mut stream: &TcpStream) -> String {
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "not closed in time");
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends bytes as they are; the whole answer.
pub fn talk(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = connect(address);
    // Refused before it was all read: the answer counts.
    stream.write_all(bytes.as_ref()).ok();
    rest(&stream)
}

/// One request of a connection of its own; its whole answer, if that is a 200.
pub fn get(address: SocketAddr, path: &str) -> Result<String, String> {
    let head = format!("GET {path} HTTP/1.1\r\nhost: edge.test\r\nconnection: close\r\n\r\n");
    let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(head.as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(|error| error.to_string())?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    if answer.starts_with("HTTP/1.1 200 ") { Ok(answer) } else { Err(answer) }
}

/// CPU time that a process has used, in clock ticks.
pub fn cpu_ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
