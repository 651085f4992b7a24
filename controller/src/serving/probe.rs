//! A probe of an endpoint.
//!
//! Ten thousand endpoints are asked every second: a probe is one write and mostly one read, and a
//! kept connection is a socket without a buffer.

mod reply;

use std::io;
use std::io::ErrorKind::WouldBlock;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use self::reply::{Reply, ReplyError};
use crate::config::{ProbeConfig, ProbeKind};
use crate::state::health::Answer;

/// Why a probe has failed, as it is shown to people.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    /// There is no connection, or it broke.
    #[error("{}", describe(.0))]
    Connection(#[from] io::Error),
    /// What came is no answer.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// An answer that does not pass.
    #[error("HTTP {0}")]
    Status(u16),
    /// Nothing came in time.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    /// What the config says cannot be sent.
    #[error("{method} {path} at {host} cannot be asked for")]
    Unsendable {
        /// The method.
        method: String,
        /// The path.
        path: String,
        /// The host.
        host: String,
    },
}

/// Asks once, on a connection of its own. It never fails: not to answer is an answer.
///
/// An HTTP probe looks at the status alone. It follows no redirect, for where that leads is
/// somebody else's health, and reads a bounded body so that the app sees a whole exchange.
pub(crate) async fn ask(address: SocketAddr, probe: &ProbeConfig, host: &str) -> Answer {
    Prober::default().ask(address, probe, host, None).await
}

/// Asks one endpoint again and again, on one connection where the app keeps it open.
///
/// A new connection costs the kernel four times what a probe on a kept one does. Every
/// thirtieth probe opens a new one all the same, so that an app that accepts nobody any more is
/// noticed; the proxy ejects it sooner, by its own connections.
#[derive(Debug, Default)]
pub(crate) struct Prober {
    kept: Option<Kept>,
}

/// A connection between two probes.
#[derive(Debug)]
struct Kept {
    link: Link,
    /// Requests that were sent on it.
    asked: u32,
    /// One of the descriptors that may be kept.
    _permit: OwnedSemaphorePermit,
}

impl Prober {
    /// Asks once; with a permit, the connection is kept for the next probe if the app lets it.
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
                ProbeKind::Tcp => {
                    TcpStream::connect(address).await?;
                    Ok("connected".into())
                }
                ProbeKind::Http { method, path, host: fixed, status } => {
                    let host = fixed.as_deref().unwrap_or(host);
                    let request = ProbeRequest { method, path, host };
                    let got = self.status(address, &request, permit).await?;
                    let passed = status.iter().any(|&(low, high)| (low..=high).contains(&got));
                    if passed { Ok(format!("HTTP {got}")) } else { Err(ProbeError::Status(got)) }
                }
            }
        });
        let outcome = asked.await.unwrap_or(Err(ProbeError::Timeout(probe.timeout)));
        let took = start.elapsed();
        let reached = !matches!(outcome, Err(ProbeError::Connection(_)));
        match outcome {
            Ok(text) => Answer { passed: true, reached, text, took },
            Err(error) => Answer { passed: false, reached, text: error.to_string(), took },
        }
    }

    async fn status(
        &mut self,
        address: SocketAddr,
        request: &ProbeRequest<'_>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<u16, ProbeError> {
        let keep = permit.is_some();
        if let Some(mut kept) = self.kept.take().filter(Kept::is_reusable)
            && let Ok((status, open)) = kept.link.ask(request, true).await
        {
            kept.asked += 1;
            self.kept = Some(kept).filter(|_| open);
            return Ok(status);
        }
        // What failed on a kept connection says little: the app may close one at any moment.
        let mut link = Link(TcpStream::connect(address).await?);
        let (status, open) = link.ask(request, keep).await?;
        self.kept = permit.filter(|_| open).map(|_permit| Kept { link, asked: 1, _permit });
        Ok(status)
    }
}

impl Kept {
    /// Whether another request may be sent on it: an app that has said anything since the last
    /// answer, goodbye for one, will not answer it. No system call as long as it has not.
    fn is_reusable(&self) -> bool {
        let quiet = || self.link.0.try_read(&mut [0]).is_err_and(|e| e.kind() == WouldBlock);
        self.asked < MAX_REQUESTS && quiet()
    }
}

/// What a probe sends.
struct ProbeRequest<'q> {
    method: &'q str,
    path: &'q str,
    host: &'q str,
}

impl ProbeRequest<'_> {
    fn bytes(&self, keep: bool) -> Result<Vec<u8>, ProbeError> {
        let Self { method, path, host } = self;
        // Nothing that a config says may become another field, or another request.
        let fit = |word: &str| !word.is_empty() && word.bytes().all(|b| b > b' ' && b != 0x7f);
        if ![method, path, host].into_iter().all(|word| fit(word)) {
            let [method, path, host] = [method, path, host].map(|word| (*word).to_owned());
            return Err(ProbeError::Unsendable { method, path, host });
        }
        let close = if keep { "" } else { "connection: close\r\n" };
        // An app that redirects plain HTTP to HTTPS would else never be ready.
        Ok(format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: {USER_AGENT}\r\n\
             x-forwarded-proto: https\r\n{close}\r\n"
        )
        .into_bytes())
    }
}

/// One HTTP/1.1 connection.
#[derive(Debug)]
struct Link(TcpStream);

impl Link {
    /// The status of the answer, and whether another request may follow.
    ///
    /// # Cancel safety
    /// None: what is left of the answer would be taken for that of the next request.
    async fn ask(
        &mut self,
        request: &ProbeRequest<'_>,
        keep: bool,
    ) -> Result<(u16, bool), ProbeError> {
        let bytes = request.bytes(keep)?;
        // An app may answer and close before it has read all of it.
        let written = self.0.write_all(&bytes).await;
        let mut received = Vec::new();
        loop {
            received.reserve(ROOM);
            let ended = self.0.read_buf(&mut received).await? == 0;
            if let Some(reply) = Reply::read(&received, ended, request.method == "HEAD")? {
                return Ok((reply.status, keep && reply.reusable && written.is_ok()));
            }
        }
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
/// For one read of an answer.
const ROOM: usize = 2048;
/// Requests on one connection.
const MAX_REQUESTS: u32 = 30;

#[cfg(test)]
mod tests;
