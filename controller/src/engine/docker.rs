//! Docker's engine behind its Unix socket: the only place that uses bollard's client.
//!
//! Every call has a deadline of its own, and the API version is the older of what bollard knows and
//! what the engine offers (1.41 and newer).

mod create;
mod events;
mod files;
mod list;
mod pull;
pub(super) mod read;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::API_DEFAULT_VERSION;
use bollard::query_parameters::{
    LogsOptionsBuilder, RemoveContainerOptionsBuilder, RenameContainerOptions,
    StopContainerOptionsBuilder,
};
use futures_util::StreamExt;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::debug;

use super::{
    Blueprint, Changes, Container, Engine, EngineError, EngineVersion, Image, Listing,
    PullProgress, Spec, WorkloadId,
};
use crate::engine::drained::Drained;
use crate::registry::{Login, ONE_HEADER};

/// The engine behind one Unix socket. Clones share the connection.
#[derive(Clone, Debug)]
pub(super) struct Docker {
    socket: PathBuf,
    /// Connected and negotiated, once there is an engine.
    client: Arc<Mutex<Option<bollard::Docker>>>,
}

impl Docker {
    /// Names the socket; connects when first used.
    pub(super) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), client: Arc::default() }
    }

    async fn client(&self) -> Result<bollard::Docker, EngineError> {
        let mut connected = self.client.lock().await;
        if let Some(client) = &*connected {
            return Ok(client.clone());
        }
        let socket = self.socket.to_string_lossy();
        let client = bollard::Docker::connect_with_unix(&socket, LONGEST, API_DEFAULT_VERSION);
        let client = client.map_err(|error| refused("connect", error))?;
        let client = within("version", CALL, client.negotiate_version()).await?;
        let client = client.with_request_modifier(url_safe);
        *connected = Some(client.clone());
        Ok(client)
    }

    /// Forgets the connection: another engine may be behind the socket by now.
    async fn disconnect(&self) {
        *self.client.lock().await = None;
    }
}

#[async_trait]
impl Engine for Docker {
    fn is_there(&self) -> bool {
        self.socket.exists()
    }

    async fn version(&self) -> Result<EngineVersion, EngineError> {
        let client = self.client().await?;
        let said = within("version", CALL, client.version()).await?;
        let api_version = client.client_version().to_string();
        Ok(EngineVersion { version: said.version.unwrap_or_default(), api_version })
    }

    async fn list(&self) -> Result<Listing, EngineError> {
        self.look().await
    }

    async fn inspect(&self, id: &str) -> Result<Option<Container>, EngineError> {
        let client = self.client().await?;
        match within("inspect", CALL, client.inspect_container(id, None)).await {
            Ok(inspected) => Ok(read::container(inspected)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn blueprint(&self, id: &str) -> Result<Blueprint, EngineError> {
        let client = self.client().await?;
        let inspected = within("inspect", CALL, client.inspect_container(id, None)).await?;
        let image = inspected.image.clone().unwrap_or_default();
        let image = within("inspect image", CALL, client.inspect_image(&image)).await;
        let config = image.map(|image| image.config.unwrap_or_default());
        let files = self.files(&inspected).await?;
        let blueprint = Blueprint::read(inspected, config.map_err(|error| error.is_not_found()))?;
        Ok(blueprint.with_files(files))
    }

    async fn image(&self, reference: &str) -> Result<Option<Image>, EngineError> {
        let client = self.client().await?;
        match within("inspect image", CALL, client.inspect_image(reference)).await {
            Ok(inspected) => Ok(read::image(inspected)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn registry_has(&self, reference: &str, login: Option<Login>) -> Result<(), EngineError> {
        self.ask_registry(reference, login).await
    }

    async fn pull(
        &self,
        reference: &str,
        login: Option<Login>,
        progress: &mut (dyn FnMut(PullProgress) + Send),
    ) -> Result<Image, EngineError> {
        self.fetch(reference, login, progress).await
    }

    async fn create(&self, name: &str, spec: Spec) -> Result<WorkloadId, EngineError> {
        self.make(name, spec).await
    }

    async fn start(&self, id: &str) -> Result<(), EngineError> {
        let client = self.client().await?;
        let started = within("start", SLOW, client.start_container(id, None)).await;
        started.or_else(EngineError::unless_unchanged)
    }

    async fn stop(&self, id: &str, proof: &Drained) -> Result<(), EngineError> {
        let Some(container) = self.inspect(id).await? else {
            return Ok(());
        };
        let client = self.client().await?;
        debug!(container = container.name, reason = ?proof.reason(), "stopping a container");
        let grace = container.stop_grace;
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        let stopped = client.stop_container(id, Some(options));
        let stopped = within("stop", grace + SLOW, stopped).await;
        stopped.or_else(EngineError::unless_unchanged).or_else(EngineError::unless_gone)
    }

    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let client = self.client().await?;
        // Its anonymous volumes may hold data, and a copy may have them.
        let options = RemoveContainerOptionsBuilder::default().v(false).build();
        let removed = within("remove", SLOW, client.remove_container(id, Some(options))).await;
        removed.or_else(EngineError::unless_gone)
    }

    async fn rename(&self, id: &str, name: &str) -> Result<(), EngineError> {
        let client = self.client().await?;
        let options = RenameContainerOptions { name: name.to_owned() };
        within("rename", CALL, client.rename_container(id, options)).await
    }

    async fn last_words(&self, id: &str) -> Result<Vec<String>, EngineError> {
        let client = self.client().await?;
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true);
        let options = options.tail(LAST_LINES).build();
        let mut logs = Box::pin(client.logs(id, Some(options)));
        let mut text = String::new();
        let reading = async {
            while let Some(Ok(piece)) = logs.next().await {
                text.push_str(&String::from_utf8_lossy(&piece.into_bytes()));
            }
        };
        timeout(CALL, reading).await.ok();
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn changes(&self) -> Changes {
        self.watch()
    }
}

/// The engine reads base64 of the URL-safe alphabet only, and takes anything else for no login at
/// all: a password with `>` or `?` in it would be refused.
fn url_safe(mut request: bollard::BollardRequest) -> bollard::BollardRequest {
    if let Some(value) = request.headers_mut().get_mut(ONE_HEADER) {
        let safe = |byte: &u8| match byte {
            b'+' => b'-',
            b'/' => b'_',
            byte => *byte,
        };
        let bytes: Vec<u8> = value.as_bytes().iter().map(safe).collect();
        if let Ok(mut rewritten) = http::HeaderValue::from_bytes(&bytes) {
            rewritten.set_sensitive(true);
            *value = rewritten;
        }
    }
    request
}

/// Waits for an answer, but not for ever.
async fn within<T>(
    call: &'static str,
    limit: Duration,
    answer: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<T, EngineError> {
    match timeout(limit, answer).await {
        Ok(answer) => answer.map_err(|error| refused(call, error)),
        Err(_) => Err(EngineError::Timeout { call, after: limit }),
    }
}

/// What became of a call, out of bollard's words.
fn refused(call: &'static str, error: bollard::errors::Error) -> EngineError {
    use bollard::errors::Error;
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            EngineError::Refused { call, status: status_code, message }
        }
        Error::DockerStreamError { error } => {
            EngineError::Refused { call, status: 500, message: error }
        }
        source => EngineError::Unavailable { call, source: Box::new(source) },
    }
}

/// For a question.
const CALL: Duration = Duration::from_secs(10);
/// For a change: the engine may be busy with disks.
const SLOW: Duration = Duration::from_secs(30);
/// What bollard itself waits at most, in seconds; every call is bounded by its own limit before.
const LONGEST: u64 = 3600;
/// What is kept of a failed container's output.
const LAST_LINES: &str = "20";
