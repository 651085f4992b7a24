//! The client's end of the control socket: HTTP/1.1 over a Unix socket, as `curl` would do it.

use std::collections::VecDeque;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use cutover_api::ErrorBody;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::failure::{Failure, code};
use super::text::plain;
use crate::registry::{self, ALL_HEADER, Logins};

/// How long an answer that is not a stream may take: a flip probes first.
const PATIENCE: Duration = Duration::from_secs(60);
const MAX_ANSWER_BYTES: usize = 64 << 20;
const MAY_HAPPEN: &str = "what was asked for may still happen: see `cutover status`";

/// A Cutover to talk to.
#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
    /// Whether stdout is for one JSON document.
    pub(super) json: bool,
    /// Logins for registries, to be sent along.
    logins: Option<HeaderValue>,
}

/// A JSON document as it came, for `--json`; [`Document::read`] understands it.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) text: String,
}

impl Document {
    fn new(bytes: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice::<IgnoredAny>(bytes).map_err(|error| broken(&error))?;
        Ok(Self { text: String::from_utf8_lossy(bytes).trim_end().to_owned() })
    }

    /// What it says.
    ///
    /// # Errors
    /// When the server is of a version whose answer this one does not understand.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(&self.text).map_err(|error| {
            let hint = "--json prints it as it is; or run the `cutover` in the edge's container";
            Failure::with_hint(
                format!("this answer is not of version {}: {error}", env!("CARGO_PKG_VERSION")),
                hint,
            )
        })
    }
}

impl Client {
    pub(super) fn new(socket: PathBuf, json: bool) -> Self {
        Self { socket, json, logins: None }
    }

    /// The same, that sends what the caller's `docker login` has left: for one image's registry, or
    /// for all where only the controller knows which image it will be.
    pub(super) fn with_logins(&self, image: Option<&str>) -> Self {
        let logins = Logins::from_dir(&registry::config_dir(), image).unwrap_or_else(|error| {
            // It may not be needed; if it is, the registry will say so.
            drop(writeln!(
                std::io::stderr(),
                "no logins for registries: {}",
                plain(&error.to_string())
            ));
            Logins::default()
        });
        let header = logins.header().and_then(|text| HeaderValue::try_from(text).ok());
        let logins = header.map(|mut header| {
            header.set_sensitive(true);
            header
        });
        Self { socket: self.socket.clone(), json: self.json, logins }
    }

    /// Asks for a document.
    pub(super) async fn document(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Document, Failure> {
        let answer = async {
            let body = self.ask(method, path, body).await?;
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| broken(&error))?.to_bytes();
            Document::new(&body)
        };
        timeout(PATIENCE, answer).await.unwrap_or_else(|_| {
            Err(Failure::with_hint(
                format!("no answer within {} s", PATIENCE.as_secs()),
                MAY_HAPPEN,
            ))
        })
    }

    /// Asks a service for something that is done at once.
    pub(super) async fn post(
        &self,
        service: &str,
        verb: &str,
        body: &impl Serialize,
    ) -> Result<Document, Failure> {
        self.document(Method::POST, &path_of(service, verb), Some(body)).await
    }

    /// Prints a document as it came with `--json`, or else what `prose` makes of it.
    pub(super) fn print<T: DeserializeOwned>(
        &self,
        answer: &Document,
        prose: impl FnOnce(&T) -> String,
    ) -> Result<u8, Failure> {
        let text = match self.json {
            true => answer.text.clone(),
            false => plain(&prose(&answer.read()?)),
        };
        writeln!(std::io::stdout(), "{text}").map_err(Failure::other)?;
        Ok(code::DONE)
    }

    /// Asks for JSON lines.
    pub(super) async fn lines(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Lines, Failure> {
        Ok(Lines { body: self.ask(method, path, body).await?, rest: VecDeque::new() })
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Incoming, Failure> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|error| Failure::no_server(&self.socket, &error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        // It ends with the answer; what goes wrong shows there.
        drop(tokio::spawn(connection));
        let bytes = body.map(serde_json::to_vec).transpose().map_err(Failure::other)?;
        let bytes = bytes.unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "cutover")
            .header("content-type", "application/json");
        if let Some(logins) = &self.logins {
            request = request.header(ALL_HEADER, logins);
        }
        let request = request.body(Full::new(Bytes::from(bytes))).map_err(Failure::other)?;
        let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
        match answer.status() {
            status if status.is_success() => Ok(answer.into_body()),
            status => Err(refusal(status, answer.into_body()).await),
        }
    }
}

/// A stream of JSON lines.
#[derive(Debug)]
pub(super) struct Lines {
    body: Incoming,
    rest: VecDeque<u8>,
}

impl Lines {
    /// The next line; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Document>, Failure> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return Document::new(&line).map(Some);
            }
            if self.rest.len() > MAX_ANSWER_BYTES {
                return Err(Failure::other("a line of the answer is too long"));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.rest.extend(frame.into_data().unwrap_or_default()),
                Some(Err(error)) => return Err(broken(&error)),
                None if self.rest.iter().all(u8::is_ascii_whitespace) => return Ok(None),
                None => {
                    let line: Vec<u8> = self.rest.drain(..).collect();
                    return Document::new(&line).map(Some);
                }
            }
        }
    }
}

async fn refusal(status: StatusCode, body: Incoming) -> Failure {
    let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
    let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
    match serde_json::from_slice::<ErrorBody>(&bytes) {
        Ok(body) => body.into(),
        Err(_) => Failure::with_hint(
            format!("unexpected answer: {status}"),
            "is this the control socket of a Cutover?",
        ),
    }
}

fn broken(error: &dyn std::fmt::Display) -> Failure {
    Failure::with_hint(format!("the connection to Cutover broke: {error}"), MAY_HAPPEN)
}

/// A name as one segment of a path.
fn segment(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    let encode = |b: u8| match plain(b) {
        true => char::from(b).to_string(),
        false => format!("%{b:02X}"),
    };
    name.bytes().map(encode).collect()
}

/// The path of a verb of a service.
pub(super) fn path_of(service: &str, verb: &str) -> String {
    format!("/v1/services/{}/{verb}", segment(service))
}
