//! The controller and a real proxy, joined by a real link: flips under traffic.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests"
)]

use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cutover_api::{ConfigStatus, Target};
use cutover_controller::config::{Config, ServiceConfig, StaticEndpoint};
use cutover_controller::serving::controller::Controller;
use cutover_controller::serving::outside::Outside;
use cutover_controller::state::store::Disk;
use cutover_proxy::table::{Color, Pause, ServiceName};
use cutover_proxy::{Listener, Proxy, Settings, serve_link};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// No wait in a test is longer.
const DEADLINE: Duration = Duration::from_secs(20);

/// An app that says its name to every request, and everything twice to whoever upgrades.
async fn app(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answer(stream, name));
        }
    });
    address
}

async fn answer(stream: TcpStream, name: &'static str) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut upgrade, mut line) = (false, String::new());
        while stream.read_line(&mut line).await? > 2 {
            upgrade |= line.to_lowercase().starts_with("upgrade:");
            line.clear();
        }
        if line.is_empty() {
            return Ok(());
        }
        if upgrade {
            let switch =
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
            stream.write_all(switch.as_bytes()).await?;
            let (mut input, mut output) = tokio::io::split(stream);
            tokio::io::copy(&mut input, &mut output).await?;
            return Ok(());
        }
        let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
        stream.write_all(reply.as_bytes()).await?;
    }
}

/// A proxy with its link, and a controller that has found it.
struct Fixture {
    dir: tempfile::TempDir,
    config: Config,
    edge: SocketAddr,
    controller: Controller,
    proxy: Option<Proxy>,
}

impl Fixture {
    async fn open() -> Self {
        Self::open_with(start).await
    }

    async fn open_with(start: impl FnOnce(&Path, &Config) -> Controller) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let edge = socket.local_addr().unwrap();
        let proxy = Proxy::start(Settings {
            listeners: vec![Listener { address: edge, sockets: vec![socket] }],
            shutdown_timeout: Duration::from_secs(1),
            trim: None,
        })
        .unwrap();
        let link = UnixListener::bind(dir.path().join("proxy.sock")).unwrap();
        tokio::spawn(serve_link(link, proxy.handle()));
        let mut service = ServiceConfig {
            blue: vec![fixed(app("blue").await)],
            green: vec![fixed(app("green").await)],
            ..ServiceConfig::default()
        };
        service.drain.timeout = Duration::from_millis(100);
        service.drain.streams = Duration::from_millis(400);
        let config = Config { services: [(web(), service)].into(), ..Config::default() };
        let controller = start(dir.path(), &config);
        let fixture = Self { dir, config, edge, controller, proxy: Some(proxy) };
        fixture.until(|fixture| fixture.controller.unready().is_none()).await;
        fixture
    }

    async fn until(&self, met: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !met(self) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, waiting).await.expect("it never came to be");
    }

    async fn flip(&self, to: Target) -> cutover_api::Flipped {
        self.controller.flip(&web(), to, false).await.unwrap()
    }

    async fn client(&self) -> Client {
        Client(BufReader::new(TcpStream::connect(self.edge).await.unwrap()))
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        drop(self.proxy.take());
    }
}

fn start(dir: &Path, config: &Config) -> Controller {
    let store = Arc::new(Disk::new(dir.join("state")));
    let status = ConfigStatus { ok: true, ..ConfigStatus::default() };
    Controller::start(config.clone(), status, Outside::new(store, &dir.join("proxy.sock")))
}

fn fixed(address: SocketAddr) -> StaticEndpoint {
    StaticEndpoint { host: address.ip().to_string(), port: address.port(), weight: 1 }
}

fn web() -> ServiceName {
    "web".parse().unwrap()
}

/// A connection that is kept.
struct Client(BufReader<TcpStream>);

impl Client {
    /// One request: status and body.
    async fn ask(&mut self, method: &str) -> std::io::Result<(u16, String)> {
        let request = format!("{method} / HTTP/1.1\r\nhost: web\r\ncontent-length: 0\r\n\r\n");
        self.0.write_all(request.as_bytes()).await?;
        let (mut status, mut length, mut line) = (0, 0, String::new());
        while self.0.read_line(&mut line).await? > 2 {
            let lower = line.trim_end().to_lowercase();
            if let Some(rest) = lower.strip_prefix("http/1.1 ") {
                status = rest[..3].parse().unwrap();
            }
            if let Some(value) = lower.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        Ok((status, String::from_utf8(body).unwrap()))
    }

    async fn get(&mut self) -> (u16, String) {
        timeout(DEADLINE, self.ask("GET")).await.expect("no answer").unwrap()
    }
}

#[tokio::test]
async fn no_request_fails_and_none_meets_the_old_color_after_the_answer_of_a_flip() {
    let fixture = Fixture::open().await;
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicU64::new(0));
    let mut load: JoinSet<()> = JoinSet::new();
    for _ in 0..8 {
        let (mut client, stop, asked) =
            (fixture.client().await, Arc::clone(&stop), Arc::clone(&asked));
        load.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let (status, body) = client.get().await;
                assert_eq!(status, 200, "{body}");
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut kept = fixture.client().await;
    let mut last = 0;
    for n in 0..20 {
        let (to, name) = if n % 2 == 0 { (Target::Green, "green") } else { (Target::Blue, "blue") };
        let flipped = fixture.flip(to).await;
        assert!(flipped.generation.0 > last, "generations only grow");
        last = flipped.generation.0;
        assert_eq!(kept.get().await, (200, name.into()));
        assert_eq!(fixture.client().await.get().await, (200, name.into()));
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.unwrap();
    }
    assert!(asked.load(Ordering::Relaxed) > 20);
}

#[tokio::test]
async fn a_tunnel_outlives_the_flip_until_its_deadline_closes_and_counts_it() {
    let fixture = Fixture::open().await;
    let mut tunnel = fixture.client().await;
    let upgrade = "GET / HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    tunnel.0.write_all(upgrade.as_bytes()).await.unwrap();
    let mut line = String::new();
    while tunnel.0.read_line(&mut line).await.unwrap() > 2 {
        line.clear();
    }
    let flipped = fixture.flip(Target::Green).await;
    tunnel.0.write_all(b"still here\n").await.unwrap();
    line.clear();
    tunnel.0.read_line(&mut line).await.unwrap();
    assert_eq!(line, "still here\n");
    let status = fixture.controller.status().await;
    let draining = &status.services[0].draining;
    assert!(
        matches!(draining.as_slice(), [d] if d.color == Color::Blue && d.streams == 1),
        "{draining:?}"
    );

    let web = web();
    let drained = fixture.controller.drained(&web, Color::Blue, flipped.generation);
    let drained = timeout(DEADLINE, drained).await.unwrap().unwrap();
    assert_eq!((drained.forced_requests, drained.forced_streams), (0, 1));
    assert!(drained.longest >= Duration::from_millis(400), "{drained:?}");
    assert_eq!(tunnel.0.read(&mut [0; 1]).await.unwrap_or(0), 0);
    let metrics = cutover_controller::http::metrics::render(&fixture.controller).await;
    let line = r#"cutover_drain_forced_total{service="web",kind="stream"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn a_controller_dies_and_the_next_takes_over_without_a_request_noticing() {
    // The first has a thread of its own to die with.
    let (kill, killed) = tokio::sync::oneshot::channel::<()>();
    let mut life = None;
    let fixture = Fixture::open_with(|dir, config| {
        let (dir, config) = (dir.to_owned(), config.clone());
        let (give, take) = std::sync::mpsc::channel();
        life = Some(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                give.send(start(&dir, &config)).unwrap();
                killed.await.ok();
            });
        }));
        take.recv().unwrap()
    })
    .await;
    fixture.flip(Target::Green).await;
    let mut client = fixture.client().await;
    assert_eq!(client.get().await, (200, "green".into()));
    let before = fixture.controller.generation();
    drop(kill);
    life.unwrap().join().unwrap();
    assert_eq!(client.get().await, (200, "green".into()));
    let next = start(fixture.dir.path(), &fixture.config);
    fixture.until(|_| next.unready().is_none()).await;
    assert!(next.generation() > before);
    assert_eq!(client.get().await, (200, "green".into()));
    assert_eq!(next.status().await.services[0].active, Target::Green);
}

#[tokio::test]
async fn a_pause_holds_writes_and_a_resume_lets_them_go() {
    let fixture = Fixture::open().await;
    let pause = Pause { writes_only: true, max_pause: DEADLINE };
    fixture.controller.pause(&web(), pause).await.unwrap();
    assert_eq!(fixture.client().await.get().await.0, 200);
    let mut writer = fixture.client().await;
    let held: JoinHandle<_> = tokio::spawn(async move { writer.ask("POST").await.unwrap() });
    let waiting = async {
        while fixture.controller.status().await.services[0].waiting != 1 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, waiting).await.expect("nobody waits");
    assert!(!held.is_finished());
    fixture.controller.resume(&web()).await.unwrap();
    assert_eq!(timeout(DEADLINE, held).await.unwrap().unwrap().0, 200);
}
