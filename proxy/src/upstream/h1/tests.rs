//! Exchanges with an upstream that plays a script, over real sockets.

mod answers;
mod authentication;
mod failures;
mod requests;
mod upgrades;
mod wire;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::HeaderMap;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::message::decoder::{self, Framing};
use crate::message::forwarded::{Origin, Peer, RequestIds, Scheme};
use crate::message::headers::Outgoing;
use crate::upstream::{Connection, Failure, Progress, Reply, RequestBody, Stage, Watch};

/// Nothing in these tests takes that long unless it hangs.
const DEADLINE: Duration = Duration::from_secs(20);

/// Starts an upstream whose every connection plays `script`.
async fn upstream<S, F>(script: S) -> SocketAddr
where
    S: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(script(stream));
        }
    });
    address
}

/// A connection to us, and the upstream's end of it.
async fn pair() -> (Box<Connection>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connection, accepted) = tokio::join!(Connection::connect(address), listener.accept());
    (connection.unwrap(), accepted.unwrap().0)
}

/// Reads up to the end of a request's head, and gives back all that came.
async fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    read_until(stream, |bytes| memchr::memmem::find(bytes, b"\r\n\r\n").is_some()).await
}

async fn read_until(stream: &mut TcpStream, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !enough(&bytes) {
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            break;
        }
    }
    bytes
}

fn reset(stream: TcpStream) {
    let linger = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    linger.unwrap();
    drop(stream);
}

/// What a client asks.
struct Ask {
    request: Request<()>,
    upgrade: Option<HeaderValue>,
}

impl Ask {
    fn get() -> Self {
        Self::new(Method::GET)
    }

    fn new(method: Method) -> Self {
        let request = Request::builder().method(method).uri("/x?y=1").header("host", "app.test");
        Self { request: request.body(()).unwrap(), upgrade: None }
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        let value = HeaderValue::from_static(value);
        self.request.headers_mut().append(name, value);
        self
    }

    fn upgrading(mut self, protocol: &'static str) -> Self {
        self.upgrade = Some(HeaderValue::from_static(protocol));
        self.with("connection", "upgrade").with("upgrade", protocol)
    }

    /// Sends it without a body.
    async fn over(self, connection: Box<Connection>) -> Result<Reply<Pieces>, Failure<io::Error>> {
        self.send(connection, &mut None).await
    }

    async fn send<B: RequestBody>(
        self,
        connection: Box<Connection>,
        body: &mut Option<B>,
    ) -> Result<Reply<B>, Failure<B::Error>> {
        let progress = Progress::default();
        self.watched(connection, body, &progress, &mut |_, _| {}).await
    }

    async fn watched<B: RequestBody>(
        self,
        connection: Box<Connection>,
        body: &mut Option<B>,
        progress: &Progress,
        interim: &mut dyn FnMut(StatusCode, &HeaderMap),
    ) -> Result<Reply<B>, Failure<B::Error>> {
        let (parts, ()) = self.request.into_parts();
        let peer = Peer::new("192.0.2.7:4711".parse().unwrap(), Scheme::Http);
        let origin =
            Origin::new(&peer, &parts.headers, &[], &RequestIds::new(), SystemTime::UNIX_EPOCH);
        let outgoing = Outgoing {
            target: "/x?y=1",
            authority: Some("app.test"),
            host: None,
            origin: &origin,
            upgrade: self.upgrade.as_ref(),
            trusted: false,
        };
        let watch = Watch { progress, interim };
        timeout(DEADLINE, exchange(connection, &parts, &outgoing, body, watch))
            .await
            .expect("the exchange hangs")
    }
}

/// A client's body, piece by piece.
#[derive(Debug)]
struct Pieces {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    length: Option<u64>,
    polled: Rc<Cell<bool>>,
    put_back: Vec<Bytes>,
}

impl RequestBody for Pieces {
    fn put_back(&mut self, pieces: Vec<Bytes>) {
        self.put_back.extend(pieces.into_iter().rev());
    }
}

impl Pieces {
    fn new(length: Option<u64>) -> (mpsc::Sender<io::Result<Bytes>>, Self) {
        let (sender, pieces) = mpsc::channel(1);
        let polled = Rc::default();
        (sender, Self { pieces, length, polled, put_back: Vec::new() })
    }

    /// A body that is all there.
    fn whole(length: Option<u64>, pieces: &[&[u8]]) -> Self {
        let (sender, receiver) = mpsc::channel(pieces.len().max(1));
        for piece in pieces {
            sender.try_send(Ok(Bytes::copy_from_slice(piece))).unwrap();
        }
        Self { pieces: receiver, length, polled: Rc::default(), put_back: Vec::new() }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.polled.set(true);
        if let Some(piece) = self.put_back.pop() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let piece = std::task::ready!(self.pieces.poll_recv(cx));
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A response that has been read to its end.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Result<Bytes, Failure<io::Error>>,
    trailers: Option<HeaderMap>,
    connection: Option<Box<Connection>>,
}

impl Answer {
    fn body(&self) -> &[u8] {
        self.body.as_ref().unwrap()
    }
}

async fn read(reply: Reply<Pieces>) -> Answer {
    let Reply::Response(parts, mut body) = reply else {
        panic!("a response, not {reply:?}");
    };
    let mut bytes = Vec::new();
    let mut trailers = None;
    let body_of = async {
        while let Some(frame) = body.frame().await {
            match frame?.into_data() {
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        Ok(())
    };
    let end = timeout(DEADLINE, body_of).await.expect("the body hangs");
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: end.map(|()| bytes.into()),
        trailers,
        connection: body.take_connection(),
    }
}

/// What an upstream does once it has answered.
#[derive(Clone, Copy, PartialEq)]
enum After {
    Close,
    Keep,
    Reset,
}

/// Asks an upstream that answers with `raw`, whatever it is asked.
async fn answer(
    ask: Ask,
    raw: impl Into<Vec<u8>>,
    after: After,
) -> Result<Answer, Failure<io::Error>> {
    let (connection, mut stream) = pair().await;
    let raw = raw.into();
    let script: JoinHandle<Option<TcpStream>> = tokio::spawn(async move {
        read_head(&mut stream).await;
        stream.write_all(&raw).await.ok()?;
        match after {
            After::Keep => return Some(stream),
            After::Close => drop(stream),
            After::Reset => reset(stream),
        }
        None
    });
    let reply = ask.over(connection).await?;
    let answer = read(reply).await;
    drop(script);
    Ok(answer)
}
