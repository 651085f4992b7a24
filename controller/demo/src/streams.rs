//! WebSockets and event streams: the app's end, and the clients that watch them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::app::Body;
use crate::load;

/// Between two messages of a WebSocket.
const MESSAGE_INTERVAL: Duration = Duration::from_millis(50);
/// For one echo or one event.
const PATIENCE: Duration = Duration::from_secs(10);

/// Turns a request into a WebSocket that sends everything back (RFC 6455 §4.2.2).
pub(super) fn accept(mut request: Request<Incoming>) -> Response<Body> {
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
    let accepted =
        key.and_then(|key| HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok());
    let mut response = Response::new(Full::default().boxed_unsync());
    let Some(accepted) = accepted else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(&mut request).await {
            echo(TokioIo::new(upgraded)).await;
        }
    });
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let fields = response.headers_mut();
    fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    fields.insert(header::SEC_WEBSOCKET_ACCEPT, accepted);
    response
}

async fn echo(upgraded: TokioIo<hyper::upgrade::Upgraded>) {
    let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        let is_data = message.is_text() || message.is_binary();
        if is_data && socket.send(message).await.is_err() {
            break;
        }
    }
}

/// Talks to the echo until a moment comes; returns the messages that came back.
///
/// # Errors
/// Fails when the connection breaks, or anything but what was sent comes back.
pub(super) async fn talk(edge: SocketAddr, until: Instant) -> anyhow::Result<u64> {
    let stream = TcpStream::connect(edge).await?;
    let (mut socket, _) =
        tokio_tungstenite::client_async(format!("ws://{edge}/ws"), stream).await?;
    let mut messages = 0;
    while Instant::now() < until {
        let sent = Message::text(messages.to_string());
        socket.send(sent.clone()).await?;
        let came = timeout(PATIENCE, socket.next()).await.context("no echo")?;
        let came = came.context("closed amid the talk")??;
        ensure!(came == sent, "sent {sent:?}, got {came:?}");
        messages += 1;
        tokio::time::sleep(MESSAGE_INTERVAL).await;
    }
    socket.close(None).await?;
    Ok(messages)
}

/// Listens to the events until a moment comes; returns how many came.
///
/// # Errors
/// Fails when the stream ends by itself, or an event is missing.
pub(super) async fn listen(edge: SocketAddr, until: Instant) -> anyhow::Result<u64> {
    let mut sender = load::connect(edge).await?;
    let response = sender.send_request(load::request(edge, "/sse")?).await?;
    ensure!(response.status().is_success(), "status {}", response.status());
    let mut body = response.into_body();
    let (mut events, mut text) = (0, String::new());
    while Instant::now() < until {
        let frame = timeout(PATIENCE, body.frame()).await.context("no event")?;
        let Some(data) = frame.context("ended by itself")??.into_data().ok() else {
            bail!("trailers amid the events");
        };
        text.push_str(std::str::from_utf8(&data)?);
        while let Some((event, rest)) = text.split_once("\n\n") {
            ensure!(event == format!("data: {events}"), "event {events} was {event:?}");
            events += 1;
            text = rest.to_owned();
        }
    }
    Ok(events)
}
