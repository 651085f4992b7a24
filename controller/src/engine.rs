//! Docker: the only room that speaks to the engine.
//!
//! Every call has a deadline of its own, and the API version is the older of what bollard knows and
//! what the engine offers (1.41 and newer). Nothing in here decides: it says what is, and does what
//! it is told.

mod clone_spec;
mod container;
pub(crate) mod drained;
mod error;
mod pull;
mod events;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, RenameContainerOptions, StopContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::StreamExt;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::debug;

pub(crate) use self::clone_spec::{Blueprint, Spec};
#[cfg(test)]
pub(crate) use self::container::Wellness;
pub(crate) use self::container::{Container, ContainerId, Image, State};
pub(crate) use self::error::DockerError;
pub(crate) use self::events::{Change, Signal};
pub(crate) use self::pull::split as split_reference;
pub(crate) use self::pull::{PullPolicy, PullProgress};
use crate::config::labels;
use crate::engine::drained::Drained;
use crate::registry::ONE_HEADER;

/// The engine behind one Unix socket. Clones share the connection.
#[derive(Clone, Debug)]
pub(crate) struct Containers {
    socket: PathBuf,
    /// Connected and negotiated, once there is an engine.
    docker: std::sync::Arc<Mutex<Option<Docker>>>,
}

impl Containers {
    /// Names the socket; connects when first used.
    #[must_use]
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), docker: std::sync::Arc::default() }
    }

    /// Whether there is a socket at all.
    #[must_use]
    pub(crate) fn is_there(&self) -> bool {
        self.socket.exists()
    }

    /// Whether the engine answers.
    ///
    /// # Errors
    /// [`DockerError::Unavailable`] when it does not.
    pub(crate) async fn ping(&self) -> Result<(), DockerError> {
        let docker = self.docker().await?;
        within("ping", CALL, docker.ping()).await.map(drop)
    }

    /// Every container that has a label of ours, running or not.
    ///
    /// # Errors
    /// When the engine does not answer, or not in time.
    pub(crate) async fn list(&self) -> Result<Vec<Container>, DockerError> {
        let docker = self.docker().await?;
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let listed = within("list", CALL, docker.list_containers(Some(options))).await?;
        let ours = listed.into_iter().filter(|container| {
            let mut keys = container.labels.iter().flat_map(HashMap::keys);
            keys.any(|key| key.starts_with(labels::PREFIX))
        });
        let mut found = Vec::new();
        for id in ours.filter_map(|container| container.id) {
            // One that went in between is not there.
            if let Some(container) = self.inspect(&id).await? {
                found.push(container);
            }
        }
        Ok(found)
    }

    /// One container by ID or name; `None` where there is none.
    ///
    /// # Errors
    /// When the engine does not answer, or not in time.
    pub(crate) async fn inspect(&self, id: &str) -> Result<Option<Container>, DockerError> {
        let docker = self.docker().await?;
        match within("inspect", CALL, docker.inspect_container(id, None)).await {
            Ok(inspected) => Ok(Container::from_inspect(inspected)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a container was made of, to make another like it.
    ///
    /// # Errors
    /// When there is no such container, or the engine does not answer.
    pub(crate) async fn blueprint(&self, id: &str) -> Result<Blueprint, DockerError> {
        let docker = self.docker().await?;
        let inspected = within("inspect", CALL, docker.inspect_container(id, None)).await?;
        let image = match inspected.image.as_deref() {
            // Without it, what the image said cannot be told from what the user said.
            Some(image) => within("inspect image", CALL, docker.inspect_image(image)).await.ok(),
            None => None,
        };
        Ok(Blueprint::new(inspected, image))
    }

    /// An image that is here already, by reference or ID; `None` where there is none.
    ///
    /// # Errors
    /// When the engine does not answer, or not in time.
    pub(crate) async fn image(&self, reference: &str) -> Result<Option<Image>, DockerError> {
        let docker = self.docker().await?;
        match within("inspect image", CALL, docker.inspect_image(reference)).await {
            Ok(inspected) => Ok(Image::from_inspect(inspected)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a container and joins it to its networks; one of that name that is there already is
    /// taken for it. Does not start it.
    ///
    /// # Errors
    /// When the engine refuses or does not answer. A container that could not be joined to all its
    /// networks is removed again.
    pub(crate) async fn create(&self, name: &str, spec: Spec) -> Result<ContainerId, DockerError> {
        if let Some(there) = self.inspect(name).await? {
            return Ok(there.id);
        }
        let docker = self.docker().await?;
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let created = docker.create_container(Some(options), spec.body);
        let id = within("create", SLOW, created).await?.id;
        for (network, mut request) in spec.networks {
            request.container.clone_from(&id);
            let joined = within("connect", CALL, docker.connect_network(&network, request)).await;
            if let Err(error) = joined {
                self.remove(&id).await.ok();
                return Err(error);
            }
        }
        Ok(ContainerId(id))
    }

    /// Starts a container; one that runs is left alone.
    ///
    /// # Errors
    /// When the engine refuses or does not answer.
    pub(crate) async fn start(&self, id: &str) -> Result<(), DockerError> {
        let docker = self.docker().await?;
        let started = within("start", SLOW, docker.start_container(id, None)).await;
        started.or_else(DockerError::unless_unchanged)
    }

    /// Stops a container by its own stop signal and grace; one that is stopped or gone is fine.
    ///
    /// # Errors
    /// When the engine refuses or does not answer.
    pub(crate) async fn stop(&self, id: &str, proof: &Drained) -> Result<(), DockerError> {
        let Some(container) = self.inspect(id).await? else {
            return Ok(());
        };
        let docker = self.docker().await?;
        debug!(container = container.name, rest = ?proof.rest(), "stopping a container");
        let grace = container.stop_grace;
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        let stopped = docker.stop_container(id, Some(options));
        let stopped = within("stop", grace + SLOW, stopped).await;
        stopped.or_else(DockerError::unless_unchanged)
    }

    /// Removes a stopped container and its anonymous volumes; one that is gone is fine.
    ///
    /// # Errors
    /// When the engine refuses (it runs) or does not answer.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), DockerError> {
        let docker = self.docker().await?;
        let options = RemoveContainerOptionsBuilder::default().v(true).build();
        let removed = within("remove", SLOW, docker.remove_container(id, Some(options))).await;
        removed.or_else(DockerError::unless_gone)
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// When the name is taken or the engine does not answer.
    pub(crate) async fn rename(&self, id: &str, name: &str) -> Result<(), DockerError> {
        let docker = self.docker().await?;
        let options = RenameContainerOptions { name: name.to_owned() };
        within("rename", CALL, docker.rename_container(id, options)).await
    }

    /// The last lines of a container's output, oldest first.
    ///
    /// # Errors
    /// When the engine does not answer. A log driver that cannot be read gives no lines.
    pub(crate) async fn last_words(&self, id: &str) -> Result<Vec<String>, DockerError> {
        let docker = self.docker().await?;
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true);
        let options = options.tail(LAST_LINES).build();
        let mut logs = Box::pin(docker.logs(id, Some(options)));
        let mut text = String::new();
        let reading = async {
            while let Some(Ok(piece)) = logs.next().await {
                text.push_str(&String::from_utf8_lossy(&piece.into_bytes()));
            }
        };
        timeout(CALL, reading).await.ok();
        Ok(text.lines().map(str::to_owned).collect())
    }

    async fn docker(&self) -> Result<Docker, DockerError> {
        let mut connected = self.docker.lock().await;
        if let Some(docker) = &*connected {
            return Ok(docker.clone());
        }
        let socket = self.socket.to_string_lossy();
        let docker = Docker::connect_with_unix(&socket, LONGEST, API_DEFAULT_VERSION);
        let docker = docker.map_err(|error| DockerError::new("connect", error))?;
        let docker = within("version", CALL, docker.negotiate_version()).await?;
        let docker = docker.with_request_modifier(url_safe);
        *connected = Some(docker.clone());
        Ok(docker)
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
) -> Result<T, DockerError> {
    match timeout(limit, answer).await {
        Ok(answer) => answer.map_err(|error| DockerError::new(call, error)),
        Err(_) => Err(DockerError::Timeout { call, after: limit }),
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
