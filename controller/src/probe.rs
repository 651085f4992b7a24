//! A question to an endpoint, and what the answers add up to.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{ProbeConfig, ProbeKind};

/// What one probe saw.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Whether it passes.
    pub passed: bool,
    /// For people: `HTTP 200`, `connection refused`.
    pub text: String,
    /// How long it took.
    pub took: Duration,
}

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

/// What the answers of one endpoint add up to: it takes several in a row to change our mind, so
/// that one slow answer does not empty a pool and one lucky answer does not fill it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Health {
    verdict: Verdict,
    /// Answers in a row against the verdict.
    against: u32,
    last: Option<Answer>,
}

impl Health {
    /// Not yet judged. A trusted endpoint counts as up until it has failed `fall` times in a row,
    /// any other as down until it has passed once.
    #[must_use]
    pub fn unjudged(trusted: bool) -> Self {
        Self { verdict: Verdict::Unjudged { trusted }, against: 0, last: None }
    }

    /// Whether it is fit to serve.
    #[must_use]
    pub fn up(&self) -> bool {
        matches!(self.verdict, Verdict::Up | Verdict::Unjudged { trusted: true })
    }

    /// Takes an answer into account. `Some` when [`Health::up`] has changed, with its new value.
    pub fn judge(&mut self, answer: Answer, rise: u32, fall: u32) -> Option<bool> {
        let before = self.up();
        // How many answers like this one, in a row, make the verdict.
        let needed = match (self.verdict, answer.passed) {
            (Verdict::Up, true) | (Verdict::Down, false) => 0,
            (Verdict::Down, true) => rise,
            (Verdict::Up | Verdict::Unjudged { trusted: true }, false) => fall,
            // The first answer ever will do: there is nothing to be wary of yet.
            (Verdict::Unjudged { .. }, _) => 1,
        };
        self.against = if needed == 0 { 0 } else { self.against + 1 };
        if needed > 0 && self.against >= needed {
            self.verdict = if answer.passed { Verdict::Up } else { Verdict::Down };
            self.against = 0;
        }
        self.last = Some(answer);
        (before != self.up()).then(|| self.up())
    }

    /// Makes it up at once: `rise` answers in a row have been seen elsewhere.
    pub fn ready(&mut self, answer: Answer) -> bool {
        let changed = !self.up();
        *self = Self { verdict: Verdict::Up, against: 0, last: Some(answer) };
        changed
    }

    /// How long to wait for the next question: shorter while it may be about to come up.
    #[must_use]
    pub fn interval(&self, interval: Duration) -> Duration {
        match self.verdict {
            Verdict::Unjudged { .. } => interval.min(EAGER),
            Verdict::Down if self.against > 0 => interval.min(EAGER),
            Verdict::Up | Verdict::Down => interval,
        }
    }

    /// The last answer.
    #[must_use]
    pub fn last(&self) -> Option<&Answer> {
        self.last.as_ref()
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Down,
    Unjudged { trusted: bool },
    Up,
}

const USER_AGENT: &str = concat!("cutover-probe/", env!("CARGO_PKG_VERSION"));
const MAX_BODY_BYTES: usize = 64 << 10;
const EAGER: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
