//! A question to an endpoint.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::config::{ProbeConfig, ProbeKind};
use crate::state::health::Answer;

/// Asks once. It never fails: not to answer is an answer.
///
/// An HTTP probe looks at the status alone. It follows no redirect, for where that leads is
/// somebody else's health, and reads a bounded body so that the app sees a whole exchange.
pub(crate) async fn ask(address: SocketAddr, probe: &ProbeConfig, host: &str) -> Answer {
    let start = Instant::now();
    let asked = timeout(probe.timeout, async {
        let stream = TcpStream::connect(address).await.map_err(|error| describe(&error))?;
        match &probe.kind {
            ProbeKind::Tcp => Ok("connected".into()),
            ProbeKind::Http { method, path, host: fixed, status } => {
                let host = fixed.as_deref().unwrap_or(host);
                let got = exchange(stream, method, path, host).await?;
                let passed = status.iter().any(|&(low, high)| (low..=high).contains(&got));
                if passed { Ok(format!("HTTP {got}")) } else { Err(format!("HTTP {got}")) }
            }
        }
    });
    let outcome = asked.await.unwrap_or_else(|_| {
        Err(format!("no answer within {}", humantime::format_duration(probe.timeout)))
    });
    let took = start.elapsed();
    match outcome {
        Ok(text) => Answer { passed: true, text, took },
        Err(text) => Answer { passed: false, text, took },
    }
}

async fn exchange(stream: TcpStream, method: &str, path: &str, host: &str) -> Result<u16, String> {
    let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, USER_AGENT)
        // An app that redirects plain HTTP to HTTPS would else never be ready.
        .header("x-forwarded-proto", HeaderValue::from_static("https"))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| describe(&error))?;
    let talk = async {
        let response = sender.send_request(request).await.map_err(|error| describe(&error))?;
        let status = response.status().as_u16();
        match Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await {
            // What lies beyond the limit is not our question.
            Err(error) if !error.is::<LengthLimitError>() => {
                Err(format!("HTTP {status}, then {error}"))
            }
            _ => Ok(status),
        }
    };
    tokio::pin!(talk);
    tokio::select! {
        status = &mut talk => status,
        // The connection may be over before `talk` has read what it brought.
        _ = connection => talk.await,
    }
}

/// The innermost cause: "connection refused" says more than "error trying to connect".
fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let text = cause.to_string();
    // "Connection refused (os error 111)": the number is for nobody.
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

const USER_AGENT: &str = concat!("cutover-probe/", env!("CARGO_PKG_VERSION"));
const MAX_BODY_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests;
