//! The clients: kept-alive and fresh connections, uploads, downloads, streams.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use cutover_proxy::table::Color;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::app::{COLOR_FIELD, NUMBER_FIELD, PATTERN};
use crate::counters::Counters;
use crate::course::Course;
use crate::streams;

/// Clients that keep their connection.
const KEPT: usize = 16;
/// Clients that open a connection per request.
const FRESH: usize = 4;
/// Clients that upload, and clients that download.
const BULK: usize = 2;
/// WebSockets and event streams that live as long as the demo, and as many that live for a second.
const STREAMS: usize = 2;

/// For one request, from the connection to the last byte.
const PATIENCE: Duration = Duration::from_secs(15);
const UPLOAD_BYTES: usize = 256 << 10;
const DOWNLOAD_BYTES: usize = 1 << 20;
/// Between two requests of one client: enough of them to catch any drop, and some processor time
/// left for the proxy on a small machine.
const PAUSE: Duration = Duration::from_millis(2);

/// Everyone who asks something of the edge.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    edge: SocketAddr,
    course: Arc<Course>,
    counters: Arc<Counters>,
    upload: Bytes,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Download,
    Page,
    Upload,
}

impl Clients {
    pub(super) fn new(edge: SocketAddr, course: &Arc<Course>, counters: &Arc<Counters>) -> Self {
        Self {
            edge,
            course: Arc::clone(course),
            counters: Arc::clone(counters),
            upload: PATTERN.iter().copied().cycle().take(UPLOAD_BYTES).collect(),
        }
    }

    /// Starts all of them; each ends by itself when the time is up.
    pub(super) fn start(&self, tasks: &mut JoinSet<()>) {
        for _ in 0..KEPT {
            tasks.spawn(self.clone().keep_asking(Ask::Page, Connections::Kept));
        }
        for _ in 0..FRESH {
            tasks.spawn(self.clone().keep_asking(Ask::Page, Connections::Fresh));
        }
        for _ in 0..BULK {
            tasks.spawn(self.clone().keep_asking(Ask::Upload, Connections::Kept));
            tasks.spawn(self.clone().keep_asking(Ask::Download, Connections::Kept));
        }
        for _ in 0..STREAMS {
            for life in [Duration::MAX, Duration::from_secs(1)] {
                tasks.spawn(self.clone().keep_talking(life));
                tasks.spawn(self.clone().keep_listening(life));
            }
        }
    }

    async fn keep_asking(self, ask: Ask, connections: Connections) {
        let mut kept = None;
        while Instant::now() < self.counters.timeline.end {
            let started = Instant::now();
            let outcome = timeout(PATIENCE, self.ask(ask, &mut kept)).await;
            match outcome.context("no answer in time").and_then(|color| color) {
                Ok(color) => self.counters.answered(color, started),
                Err(error) => {
                    kept = None;
                    self.counters
                        .failed(format!("{ask:?} on a {connections:?} connection: {error:#}"));
                }
            }
            if matches!(connections, Connections::Fresh) {
                kept = None;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One request, checked to its last byte; returns who answered.
    async fn ask(&self, ask: Ask, kept: &mut Option<Sender>) -> anyhow::Result<Color> {
        let sender = match kept {
            Some(sender) => sender,
            None => kept.insert(connect(self.edge).await.context("connecting")?),
        };
        let mut request = request(self.edge, &ask.path())?;
        if matches!(ask, Ask::Upload) {
            *request.method_mut() = Method::POST;
            *request.body_mut() = Full::new(self.upload.clone());
            let number = self.counters.next_post().into();
            request.headers_mut().insert(NUMBER_FIELD, number);
        }
        let number = request.headers().get(NUMBER_FIELD).cloned();
        let mark = self.course.mark();
        let response = sender.send_request(request).await?;
        let color = color_of(&response)?;
        ensure!(response.headers().get(NUMBER_FIELD) == number.as_ref(), "another's answer");
        let body = response.into_body().collect().await.context("reading the body")?;
        ask.check(color, &body.to_bytes())?;
        ensure!(
            self.course.allows(mark, color),
            "served by {color} after the flip away from it was acknowledged"
        );
        Ok(color)
    }

    async fn keep_talking(self, life: Duration) {
        while let Some(until) = self.next_end(life) {
            match streams::talk(self.edge, until).await {
                Ok(messages) => self.counters.streamed(messages),
                Err(error) => self.stream_failed("WebSocket", &error).await,
            }
        }
    }

    async fn keep_listening(self, life: Duration) {
        while let Some(until) = self.next_end(life) {
            match streams::listen(self.edge, until).await {
                Ok(events) => self.counters.streamed(events),
                Err(error) => self.stream_failed("event stream", &error).await,
            }
        }
    }

    async fn stream_failed(&self, what: &str, error: &anyhow::Error) {
        self.counters.failed(format!("{what}: {error:#}"));
        tokio::time::sleep(PAUSE).await;
    }

    /// When a stream begun now is to end; `None` once the time is up.
    fn next_end(&self, life: Duration) -> Option<Instant> {
        let (now, end) = (Instant::now(), self.counters.timeline.end);
        (now < end).then(|| now.checked_add(life).map_or(end, |sooner| sooner.min(end)))
    }
}

#[derive(Clone, Copy, Debug)]
enum Connections {
    Fresh,
    Kept,
}

impl Ask {
    fn path(self) -> String {
        match self {
            Self::Download => format!("/download?bytes={DOWNLOAD_BYTES}"),
            Self::Page => "/".to_owned(),
            Self::Upload => "/upload".to_owned(),
        }
    }

    fn check(self, color: Color, body: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Download => {
                let expected = PATTERN.iter().cycle().take(DOWNLOAD_BYTES);
                ensure!(body.len() == DOWNLOAD_BYTES, "{} bytes", body.len());
                ensure!(body.iter().eq(expected), "a download with other bytes");
            }
            Self::Page => {
                let page = std::str::from_utf8(body)?;
                let whole = page.starts_with(color.as_str()) && page.ends_with('\n');
                ensure!(whole, "{color} answered {page:?}");
            }
            Self::Upload => {
                let receipt = std::str::from_utf8(body)?;
                let expected = upload_receipt();
                ensure!(receipt == expected, "sent {expected:?}, the app got {receipt:?}");
            }
        }
        Ok(())
    }
}

/// What the app says of an upload that arrived whole.
fn upload_receipt() -> &'static str {
    static RECEIPT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        let mut crc = crc32fast::Hasher::new();
        let mut left = UPLOAD_BYTES;
        while left > 0 {
            let chunk = PATTERN.get(..left).unwrap_or(&PATTERN);
            crc.update(chunk);
            left -= chunk.len();
        }
        format!("{UPLOAD_BYTES} {:08x}\n", crc.finalize())
    });
    &RECEIPT
}

type Sender = SendRequest<Full<Bytes>>;

/// Opens a connection.
///
/// # Errors
/// Fails when nobody listens.
pub(super) async fn connect(address: SocketAddr) -> anyhow::Result<Sender> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its errors are those of the requests on it.
    tokio::spawn(connection);
    Ok(sender)
}

/// A GET without a body.
pub(super) fn request(edge: SocketAddr, path: &str) -> anyhow::Result<Request<Full<Bytes>>> {
    Ok(Request::get(path).header(header::HOST, edge.to_string()).body(Full::default())?)
}

/// The body of a GET that must be answered with 200.
pub(super) async fn fetch(address: SocketAddr, path: &str) -> anyhow::Result<Bytes> {
    let exchange = async {
        let mut sender = connect(address).await?;
        let response = sender.send_request(request(address, path)?).await?;
        ensure!(response.status().is_success(), "status {}", response.status());
        Ok(response.into_body().collect().await?.to_bytes())
    };
    timeout(PATIENCE, exchange).await.context("no answer in time")?
}

fn color_of(response: &Response<Incoming>) -> anyhow::Result<Color> {
    let fields = response.headers();
    let word = |name: &str| fields.get(name).and_then(|value| value.to_str().ok());
    let reason = word("x-cutover-reason").unwrap_or("none given");
    let status = response.status();
    ensure!(status.is_success(), "status {status}, reason {reason}");
    Ok(word(COLOR_FIELD).context("no color in the answer")?.parse()?)
}
