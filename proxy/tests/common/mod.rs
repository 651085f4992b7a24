//! A real proxy in this process, scripted upstreams, and a client that sees raw bytes.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a test harness"
)]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use cutover_proxy::table::{
    Balance, Color, EndpointId, EndpointSpec, Generation, HostPattern, Policy, PoolSpec, RouteSpec,
    ServiceSpec, Snapshot, TableSpec, Timeouts,
};
use cutover_proxy::{Handle, Listener, Proxy, Settings};
use socket2::{Domain, Socket, Type};

/// No wait in a test is longer.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// A running proxy with one service, `web`, on every host.
pub struct Edge {
    pub address: SocketAddr,
    pub handle: Handle,
    proxy: Option<Proxy>,
    pub spec: TableSpec,
}

impl Edge {
    /// A proxy with two workers and no table yet.
    pub fn start() -> Self {
        let sockets = reuse_port_sockets(2);
        let address = sockets[0].local_addr().unwrap();
        let proxy = Proxy::start(Settings {
            listeners: vec![Listener { address, sockets }],
            shutdown_timeout: Duration::from_secs(5),
            trim: None,
        })
        .unwrap();
        let spec = TableSpec {
            generation: Generation(0),
            routes: vec![RouteSpec {
                host: HostPattern::Any,
                path: "/".into(),
                strip_prefix: false,
                service: "web".parse().unwrap(),
            }],
            services: vec![ServiceSpec {
                name: "web".parse().unwrap(),
                pools: vec![],
                balance: Balance::RoundRobin,
                host: None,
                max_body: None,
                timeouts: Timeouts::default(),
                pause: None,
            }],
            policy: Policy::default(),
        };
        Self { address, handle: proxy.handle(), proxy: Some(proxy), spec }
    }

    /// A proxy whose blue color is at `endpoints`.
    pub fn in_front_of(endpoints: &[SocketAddr]) -> Self {
        let mut edge = Self::start();
        edge.serve(Color::Blue, endpoints);
        edge
    }

    /// Makes one color the only one that serves.
    pub fn serve(&mut self, color: Color, endpoints: &[SocketAddr]) {
        self.spec.services[0].pools = vec![pool(color, endpoints)];
        self.apply();
    }

    /// Makes the present spec the live table.
    pub fn apply(&mut self) {
        self.spec.generation = self.spec.generation.next();
        self.handle.apply(self.spec.clone()).unwrap();
    }

    pub fn service(&mut self) -> &mut ServiceSpec {
        &mut self.spec.services[0]
    }

    pub fn snapshot(&self) -> Snapshot {
        self.handle.snapshot()
    }

    pub fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.address).unwrap())
    }

    /// One request on a connection of its own.
    pub fn get(&self, path: &str) -> Response {
        let mut client = self.connect();
        client.get(path)
    }

    pub fn shutdown(&mut self) {
        self.proxy.take().unwrap().shutdown();
    }
}

pub fn pool(color: Color, endpoints: &[SocketAddr]) -> PoolSpec {
    let endpoint = |address: &SocketAddr| EndpointSpec {
        id: EndpointId::from(address.to_string().as_str()),
        address: *address,
        weight: 1,
        up: true,
    };
    PoolSpec { color, weight: 1, endpoints: endpoints.iter().map(endpoint).collect() }
}

fn reuse_port_sockets(count: usize) -> Vec<TcpListener> {
    let mut address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut sockets = Vec::new();
    for _ in 0..count {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(1024).unwrap();
        let socket = TcpListener::from(socket);
        address = socket.local_addr().unwrap();
        sockets.push(socket);
    }
    sockets
}

/// An address where nobody listens.
pub fn dead_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A client connection that counts nothing away: bytes out, bytes in.
pub struct Client {
    pub stream: BufReader<TcpStream>,
}

impl Client {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    pub fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
        self.response().unwrap()
    }

    pub fn post(&mut self, path: &str, body: &[u8]) -> Response {
        let length = body.len();
        self.send(format!(
            "POST {path} HTTP/1.1\r\nHost: app.test\r\nContent-Length: {length}\r\n\r\n"
        ));
        self.send(body);
        self.response().unwrap()
    }

    /// The next response, framed by RFC 9112 §6.3; an error if it ends before its end.
    pub fn response(&mut self) -> io::Result<Response> {
        let mut response = self.head()?;
        response.body = self.body(&response)?;
        Ok(response)
    }

    /// The next head.
    pub fn head(&mut self) -> io::Result<Response> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let status = lines[0].split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or(io::ErrorKind::InvalidData)?;
        let headers = lines[1..].iter().filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        });
        Ok(Response { status, headers: headers.collect(), body: Vec::new() })
    }

    fn body(&mut self, head: &Response) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if head.header("transfer-encoding") == Some("chunked") {
            loop {
                let mut line = String::new();
                self.stream.read_line(&mut line)?;
                let size = usize::from_str_radix(line.trim_end(), 16)
                    .map_err(|_| io::ErrorKind::InvalidData)?;
                let start = body.len();
                body.resize(start + size, 0);
                self.stream.read_exact(&mut body[start..])?;
                line.clear();
                self.stream.read_line(&mut line)?;
                if size == 0 {
                    return Ok(body);
                }
            }
        } else if let Some(length) = head.header("content-length") {
            body.resize(length.parse().map_err(|_| io::ErrorKind::InvalidData)?, 0);
            self.stream.read_exact(&mut body)?;
        }
        Ok(body)
    }

    /// Whether the proxy has closed (or reset) the connection.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn reason(&self) -> &str {
        self.header("x-cutover-reason").unwrap_or_default()
    }
}

/// One request as an upstream saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Request line and fields, without the empty line.
    pub head: String,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// A scripted upstream: each request is answered by the bytes that `script` returns.
pub struct Upstream {
    pub address: SocketAddr,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    pub connections: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

/// What an upstream does with a connection after a request.
pub enum Then {
    /// Sends this and reads the next request.
    Answer(Vec<u8>),
    /// Sends this and closes.
    Close(Vec<u8>),
    /// Lets this function go on with the connection, then closes.
    Take(Box<dyn FnOnce(&mut TcpStream) + Send>),
}

impl Upstream {
    /// Answers everything with 200 and `text`.
    pub fn saying(text: &'static str) -> Self {
        Self::scripted(move |_| Then::Answer(ok(text)))
    }

    pub fn scripted(script: impl Fn(&Seen) -> Then + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    pub fn on(
        listener: TcpListener,
        script: impl Fn(&Seen) -> Then + Send + Sync + 'static,
    ) -> Self {
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            connections: Arc::default(),
            stopped: Arc::default(),
            open: Arc::default(),
        };
        let script = Arc::new(script);
        let (seen, connections) = (Arc::clone(&upstream.seen), Arc::clone(&upstream.connections));
        let (stopped, open) = (Arc::clone(&upstream.stopped), Arc::clone(&upstream.open));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                stream.set_nodelay(true).unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                open.lock().unwrap().push(stream.try_clone().unwrap());
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                thread::spawn(move || converse(stream, &*script, &seen));
            }
        });
        upstream
    }

    pub fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().unwrap().clone()
    }

    /// Stops listening and closes every connection, as a stopped container does.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address).ok();
        for stream in self.open.lock().unwrap().drain(..) {
            stream.shutdown(std::net::Shutdown::Both).ok();
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A plain 200.
pub fn ok(text: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

fn converse(stream: TcpStream, script: &dyn Fn(&Seen) -> Then, seen: &Mutex<Vec<Seen>>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        seen.lock().unwrap().push(request.clone());
        match script(&request) {
            Then::Answer(bytes) => {
                if reader.get_mut().write_all(&bytes).is_err() {
                    break;
                }
            }
            Then::Close(bytes) => {
                reader.get_mut().write_all(&bytes).ok();
                break;
            }
            Then::Take(go_on) => {
                go_on(reader.get_mut());
                break;
            }
        }
    }
    reader.get_mut().shutdown(std::net::Shutdown::Both).ok();
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut head = String::new();
    loop {
        let start = head.len();
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
        if &head[start..] == "\r\n" {
            head.truncate(start);
            break;
        }
    }
    let mut seen = Seen { head, body: Vec::new() };
    if seen.header("transfer-encoding") == Some("chunked") {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let size = usize::from_str_radix(line.trim_end(), 16).ok()?;
            let start = seen.body.len();
            seen.body.resize(start + size, 0);
            reader.read_exact(&mut seen.body[start..]).ok()?;
            line.clear();
            reader.read_line(&mut line).ok()?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = seen.header("content-length") {
        seen.body = vec![0; length.parse().ok()?];
        reader.read_exact(&mut seen.body).ok()?;
    }
    Some(seen)
}
