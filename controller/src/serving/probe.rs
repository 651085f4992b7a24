//! A question to an endpoint.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use crate::config::{ProbeConfig, ProbeKind};
use crate::state::health::Answer;

/// Asks once, on a connection of its own. It never fails: not to answer is an answer.
///
/// An HTTP probe looks at the status alone. It follows no redirect, for where that leads is
/// somebody else's health, and reads a bounded body so that the app sees a whole exchange.
pub(crate) async fn ask(address: SocketAddr, probe: &ProbeConfig, host: &str) -> Answer {
    Prober::default().ask(address, probe, host, None).await
}

/// Asks one endpoint again and again, on one connection where the app keeps it open.
///
/// A new connection costs the kernel four times what a question on a kept one does. Every tenth
/// question opens a new one all the same, so that an app that accepts nobody any more is noticed.
#[derive(Debug, Default)]
pub(crate) struct Prober {
    kept: Option<Kept>,
}

/// A connection between two questions.
#[derive(Debug)]
struct Kept {
    link: Link,
    /// Questions that were asked on it.
    asked: u32,
    /// One of the descriptors that may be kept.
    _permit: OwnedSemaphorePermit,
}

impl Prober {
    /// Asks once; with a permit, the connection is kept for the next question if the app lets it.
    ///
    /// # Cancel safety
    /// Safe: the connection is closed with the future.
    pub(crate) async fn ask(
        &mut self,
        address: SocketAddr,
        probe: &ProbeConfig,
        host: &str,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Answer {
        let start = Instant::now();
        let asked = timeout(probe.timeout, async {
            match &probe.kind {
                ProbeKind::Tcp => connect(address).await.map(|_| "connected".into()),
                ProbeKind::Http { method, path, host: fixed, status } => {
                    let host = fixed.as_deref().unwrap_or(host);
                    let question = Question { method, path, host };
                    let got = self.status(address, &question, permit).await?;
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

    async fn status(
        &mut self,
        address: SocketAddr,
        question: &Question<'_>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<u16, String> {
        if let Some(mut kept) = self.kept.take().filter(|kept| kept.asked < QUESTIONS)
            && let Ok((status, open)) = kept.link.ask(question, true).await
        {
            kept.asked += 1;
            self.kept = Some(kept).filter(|_| open);
            return Ok(status);
        }
        // What failed on a kept connection says little: the app may close one at any moment.
        let mut link = Link::open(address).await?;
        let (status, open) = link.ask(question, permit.is_some()).await?;
        self.kept = permit.filter(|_| open).map(|_permit| Kept { link, asked: 1, _permit });
        Ok(status)
    }
}

/// What an endpoint is asked.
struct Question<'q> {
    method: &'q str,
    path: &'q str,
    host: &'q str,
}

impl Question<'_> {
    fn request(&self, keep: bool) -> Result<Request<Empty<Bytes>>, String> {
        let method = Method::from_bytes(self.method.as_bytes()).map_err(|e| e.to_string())?;
        let mut request = Request::builder()
            .method(method)
            .uri(self.path)
            .header(header::HOST, self.host)
            .header(header::USER_AGENT, USER_AGENT)
            // An app that redirects plain HTTP to HTTPS would else never be ready.
            .header("x-forwarded-proto", HeaderValue::from_static("https"));
        if !keep {
            request = request.header(header::CONNECTION, "close");
        }
        request.body(Empty::new()).map_err(|error| error.to_string())
    }
}

/// One HTTP/1.1 connection, driven only while a question is under way.
#[derive(Debug)]
struct Link {
    sender: http1::SendRequest<Empty<Bytes>>,
    connection: http1::Connection<TokioIo<TcpStream>, Empty<Bytes>>,
}

impl Link {
    async fn open(address: SocketAddr) -> Result<Self, String> {
        let stream = TokioIo::new(connect(address).await?);
        let (sender, connection) =
            http1::handshake(stream).await.map_err(|error| describe(&error))?;
        Ok(Self { sender, connection })
    }

    /// The status of the answer, and whether another question may follow.
    async fn ask(&mut self, question: &Question<'_>, keep: bool) -> Result<(u16, bool), String> {
        let Self { sender, connection } = self;
        let talk = async {
            sender.ready().await.map_err(|error| describe(&error))?;
            let request = question.request(keep)?;
            let response = sender.send_request(request).await.map_err(|e| describe(&e))?;
            let status = response.status().as_u16();
            match Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await {
                Ok(_) => Ok((status, keep && !sender.is_closed())),
                // What lies beyond the limit is not our question.
                Err(error) if error.is::<LengthLimitError>() => Ok((status, false)),
                Err(error) => Err(format!("HTTP {status}, then {error}")),
            }
        };
        tokio::pin!(talk);
        tokio::select! {
            answer = &mut talk => answer,
            // The connection may be over before `talk` has read what it brought.
            _ = connection => talk.await.map(|(status, _)| (status, false)),
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| describe(&error))
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
/// Questions on one connection.
const QUESTIONS: u32 = 10;

#[cfg(test)]
mod tests;
