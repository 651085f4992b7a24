//! The app of the demo: one color of a web service, small, honest about what it was asked.
//!
//! It is also what `compose.yaml` and the Docker tests deploy, so it can be told to be a bad release.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use cutover_proxy::table::Color;
use futures_util::stream;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::streams;

/// `cutover demo-app`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct AppArguments {
    /// Where to listen.
    #[arg(long, default_value = "0.0.0.0:8000", env = "DEMO_LISTEN")]
    pub listen: SocketAddr,
    /// What to call itself: blue or green.
    #[arg(long, default_value = "blue", env = "DEMO_COLOR")]
    pub color: Color,
    /// What is wrong with this release.
    #[arg(long, value_enum, env = "DEMO_FAULT")]
    pub fault: Option<Fault>,
    /// Ends when standard input does, so that no app outlives its demo.
    #[arg(long, hide = true)]
    pub with_stdin: bool,
}

/// The ways in which a release can be bad.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Fault {
    /// Ready, but everything else is answered with 500.
    Errors,
    /// Every other answer is a 500; `/health` is not.
    HalfErrors,
    /// Ends at once with an error.
    Exit,
    /// Ready, and ends with an error three seconds later.
    ExitLater,
    /// Accepts connections and never answers.
    Hang,
    /// `/leak` is answered without an end, and keeps what it has sent in memory.
    Leak,
    /// `/health` is 503 for ever.
    NeverReady,
    /// Does not end when it is told to.
    NeverEnds,
    /// Listens only after five seconds.
    SlowStart,
    /// Listens on the next port.
    WrongPort,
}

/// What an app says of itself in every answer.
pub(super) const COLOR_FIELD: &str = "x-demo-color";
/// The number of a request: told back, and kept for POSTs.
pub(super) const NUMBER_FIELD: &str = "x-demo-number";

/// How long work may go on after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);
/// How many POSTs an app remembers.
const MAX_POSTS: usize = 1 << 24;

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

pub(super) async fn run(arguments: AppArguments) -> anyhow::Result<ExitCode> {
    // First of all: a container's first process does not hear a signal that it has no handler for, and
    // whoever stops it just then waits for its whole grace.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut address = arguments.listen;
    match arguments.fault {
        Some(Fault::Exit) => anyhow::bail!("this release ends at once, as it was told to"),
        Some(Fault::SlowStart) => tokio::time::sleep(Duration::from_secs(5)).await,
        Some(Fault::WrongPort) => address.set_port(address.port().wrapping_add(1)),
        _ => {}
    }
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("binding {address}"))?;
    // The demo reads the port from this line.
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;

    let asked_to_end = async {
        if arguments.fault == Some(Fault::NeverEnds) {
            return std::future::pending().await;
        }
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = stdin_ends(arguments.with_stdin) => {}
        }
    };
    let later = async {
        match arguments.fault {
            Some(Fault::ExitLater) => tokio::time::sleep(Duration::from_secs(3)).await,
            _ => std::future::pending().await,
        }
    };
    tokio::select! {
        () = serve(listener, arguments.color, arguments.fault, asked_to_end) => {}
        () = later => anyhow::bail!("this release ends after a while, as it was told to"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Serves until told to end, then finishes what is in flight.
pub(super) async fn serve(
    listener: TcpListener,
    color: Color,
    fault: Option<Fault>,
    asked_to_end: impl Future<Output = ()>,
) {
    let app =
        App { color, fault, names: names(), answers: AtomicU64::new(0), posts: Mutex::default() };
    let app = Arc::new(app);
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(asked_to_end);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(converse(Arc::clone(&app), stream, stopped.clone()));
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = &mut asked_to_end => break,
        }
    }
    drop(listener);
    stop.send_replace(true);
    let finish = async { while connections.join_next().await.is_some() {} };
    // What is left after that is cut by the end of the process.
    tokio::time::timeout(GRACE, finish).await.ok();
}

/// Waits for the end of standard input, or for ever. The thread costs nothing and dies with us.
async fn stdin_ends(matters: bool) {
    if !matters {
        return std::future::pending().await;
    }
    let (end, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        end.send(()).ok();
    });
    ended.await.ok();
}

async fn converse(app: Arc<App>, stream: TcpStream, mut stopped: watch::Receiver<bool>) {
    stream.set_nodelay(true).ok();
    let service = service_fn(move |request| {
        let app = Arc::clone(&app);
        async move { Ok::<_, Infallible>(app.answer(request).await) }
    });
    let connection =
        http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        // A client that breaks off is its own affair.
        _ended = connection.as_mut() => return,
        _changed = stopped.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    connection.await.ok();
}

struct App {
    color: Color,
    fault: Option<Fault>,
    /// What tells this container from others, for every answer.
    names: Vec<(&'static str, HeaderValue)>,
    /// How many it has given, of which every other may be an error.
    answers: AtomicU64,
    /// Numbers of POSTs, in order of arrival. Never held across an await.
    posts: Mutex<Vec<u64>>,
}

impl App {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if self.fault == Some(Fault::Hang) {
            return std::future::pending().await;
        }
        let number = request.headers().get(NUMBER_FIELD).cloned();
        let mut response = self.route(request, number.as_ref()).await;
        let fields = response.headers_mut();
        fields.insert(COLOR_FIELD, HeaderValue::from_static(self.color.as_str()));
        for (name, value) in &self.names {
            fields.insert(*name, value.clone());
        }
        if let Some(number) = number {
            fields.insert(NUMBER_FIELD, number);
        }
        response
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        number: Option<&HeaderValue>,
    ) -> Response<Body> {
        match (request.uri().path(), self.fault) {
            ("/health", Some(Fault::NeverReady)) => {
                text(StatusCode::SERVICE_UNAVAILABLE, "not ready, as it was told to be\n")
            }
            ("/health", _) => text(StatusCode::OK, "ready\n"),
            (_, Some(Fault::HalfErrors)) if self.fails_now() => {
                text(StatusCode::INTERNAL_SERVER_ERROR, "failed, as it was told to\n")
            }
            (_, Some(Fault::Errors)) => {
                text(StatusCode::INTERNAL_SERVER_ERROR, "failed, as it was told to\n")
            }
            ("/", _) => {
                let id = request
                    .headers()
                    .get("x-request-id")
                    .and_then(|id| id.to_str().ok())
                    .unwrap_or("-");
                text(StatusCode::OK, &format!("{} {id}\n", self.color))
            }
            ("/upload", _) if request.method() == Method::POST => {
                self.upload(request, number).await
            }
            ("/download", _) => download(request.uri().query()),
            ("/leak", Some(Fault::Leak)) => leak(),
            ("/posts", _) => {
                let posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner);
                text(StatusCode::OK, &format!("{posts:?}"))
            }
            ("/sse", _) => events(),
            ("/ws", _) => streams::accept(request),
            _ => text(
                StatusCode::NOT_FOUND,
                "there is /, /health, /upload, /download?bytes=N, /sse and /ws\n",
            ),
        }
    }

    fn fails_now(&self) -> bool {
        self.answers.fetch_add(1, Ordering::Relaxed).is_multiple_of(2)
    }

    /// Answers with the length and the CRC-32 of what came.
    async fn upload(
        &self,
        request: Request<Incoming>,
        number: Option<&HeaderValue>,
    ) -> Response<Body> {
        let (mut bytes, mut crc) = (0, crc32fast::Hasher::new());
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                return text(StatusCode::BAD_REQUEST, "the body broke off\n");
            };
            if let Some(data) = frame.data_ref() {
                bytes += data.len();
                crc.update(data);
            }
        }
        let number = number.and_then(|number| number.to_str().ok()?.parse().ok());
        if let Some(number) = number {
            let mut posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner);
            if posts.len() < MAX_POSTS {
                posts.push(number);
            }
        }
        text(StatusCode::OK, &format!("{bytes} {:08x}\n", crc.finalize()))
    }
}

/// Of the container that it runs in, and of the release that it is.
fn names() -> Vec<(&'static str, HeaderValue)> {
    let fields =
        [("x-demo-host", "HOSTNAME"), ("x-demo-name", "DEMO_NAME"), ("x-demo-release", "RELEASE")];
    let value = |variable| HeaderValue::from_str(&std::env::var(variable).ok()?).ok();
    fields.into_iter().filter_map(|(name, variable)| Some((name, value(variable)?))).collect()
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    let body = Full::new(Bytes::copy_from_slice(text.as_bytes())).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// `?bytes=N`: so many bytes of a pattern, in constant memory.
fn download(query: Option<&str>) -> Response<Body> {
    let length = query
        .and_then(|query| query.strip_prefix("bytes=")?.parse::<u64>().ok())
        .unwrap_or(1 << 20);
    let chunks = stream::unfold(length, |left| async move {
        let size = left.min(PATTERN.len() as u64);
        // Lossless: no longer than the pattern.
        let chunk = PATTERN.get(..usize::try_from(size).ok()?)?;
        let frame = Ok(Frame::data(Bytes::from_static(chunk)));
        (size > 0).then_some((frame, left - size))
    });
    let mut response = Response::new(StreamBody::new(chunks).boxed_unsync());
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// Four megabytes every few milliseconds, all of them kept: the kernel ends this in the middle.
fn leak() -> Response<Body> {
    let chunks = stream::unfold(Vec::new(), |mut kept| async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        // Written to, or it would be no memory.
        kept.push(PATTERN.repeat(64));
        Some((Ok(Frame::data(Bytes::from_static(&PATTERN))), kept))
    });
    Response::new(StreamBody::new(chunks).boxed_unsync())
}

/// The bytes of downloads: a prime number of different ones, so that a lost or doubled chunk shows.
pub(super) static PATTERN: [u8; 65_521] = {
    let mut pattern = [0; 65_521];
    let (mut at, mut value) = (0, 1_u32);
    while at < pattern.len() {
        value = value.wrapping_mul(48_271) % 2_147_483_647;
        #[expect(clippy::indexing_slicing, reason = "below its length, at compile time")]
        {
            pattern[at] = value.to_le_bytes()[0];
        }
        at += 1;
    }
    pattern
};

/// A numbered event every 50 ms, without an end.
fn events() -> Response<Body> {
    let events = stream::unfold(0_u64, |number| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let event = Bytes::from(format!("data: {number}\n\n"));
        Some((Ok(Frame::data(event)), number + 1))
    });
    let mut response = Response::new(StreamBody::new(events).boxed_unsync());
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
