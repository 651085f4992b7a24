//! The container engine: what it can be asked, and what it tells.
//!
//! [`Engine`] is the whole of it. [`docker`] is the one that runs in production; tests use
//! `fake`, which is complete and in memory. Nothing in here decides: it says what is, and does what it
//! is told.
//!
//! bollard's client is used in [`docker`] only. Its *models* are the schema of Docker's API as plain
//! serde types, and [`clone_spec`] uses them as data: a copy has to carry every field that an engine
//! knows, and types of our own would be the same hundred fields again.

mod change;
mod clone_spec;
mod compose;
mod container;
pub(crate) mod docker;
pub(crate) mod drained;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod image;
mod signal;
mod workload;

use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

pub(crate) use self::change::{Change, Changes, Transition};
pub(crate) use self::clone_spec::{Blueprint, CopyError, Notice, Spec};
pub(crate) use self::compose::{base_name, without_color};
#[cfg(test)]
pub(crate) use self::container::Wellness;
pub(crate) use self::container::{Container, State};
pub(crate) use self::error::EngineError;
pub(crate) use self::image::{Image, PullPolicy, PullProgress, split_reference};
pub(crate) use self::signal::Signal;
pub(crate) use self::workload::WorkloadId;
use crate::engine::docker::Docker;
use crate::engine::drained::Drained;
use crate::registry::Login;

/// An engine that runs containers.
///
/// A container is named by the text of its [`WorkloadId`]; [`Engine::inspect`] takes a name as well.
/// Every call has a deadline of its own, and may be dropped at any time: what the engine has begun by
/// then it may still finish, so each can be repeated.
#[async_trait]
pub(crate) trait Engine: fmt::Debug + Send + Sync {
    /// Whether there is an engine to ask at all. Asks nothing.
    fn is_there(&self) -> bool;

    /// Which engine it is; answers if, and only if, the engine does.
    ///
    /// # Errors
    /// When it does not answer, or not in time.
    async fn version(&self) -> Result<EngineVersion, EngineError>;

    /// Every container that has a label of ours, whatever its state.
    ///
    /// # Errors
    /// When the engine does not answer. One container that cannot be inspected in time is no error:
    /// it is in [`Listing::unanswered`].
    async fn list(&self) -> Result<Listing, EngineError>;

    /// One container by ID or name; `None` where there is none.
    ///
    /// # Errors
    /// When the engine does not answer, or not in time.
    async fn inspect(&self, id: &str) -> Result<Option<Container>, EngineError>;

    /// What a container was made of, to make another like it.
    ///
    /// # Errors
    /// When there is no such container, the engine does not answer, or nothing says what of it the
    /// user set ([`EngineError::ImageUnknown`]).
    async fn blueprint(&self, id: &str) -> Result<Blueprint, EngineError>;

    /// An image that is here already, by reference or ID; `None` where there is none.
    ///
    /// # Errors
    /// When the engine does not answer, or not in time.
    async fn image(&self, reference: &str) -> Result<Option<Image>, EngineError>;

    /// Asks the registry whether it has an image, without fetching it.
    ///
    /// # Errors
    /// When it has not, or will not say so to us.
    async fn registry_has(&self, reference: &str, login: Option<Login>) -> Result<(), EngineError>;

    /// Fetches an image by its tag or its digest, and says what it is, pinned.
    ///
    /// # Errors
    /// When the registry or the engine refuses (disk full, no such tag, no credentials), or does
    /// not move for a minute.
    async fn pull(
        &self,
        reference: &str,
        login: Option<Login>,
        progress: &mut (dyn FnMut(PullProgress) + Send),
    ) -> Result<Image, EngineError>;

    /// Creates a container and joins it to its networks; does not start it. One of that name that
    /// the same rollout has made (by its label) is finished and taken for it.
    ///
    /// # Errors
    /// When the engine refuses or does not answer, and [`EngineError::NameTaken`]. A container that
    /// could not be joined to all its networks is removed again.
    async fn create(&self, name: &str, spec: Spec) -> Result<WorkloadId, EngineError>;

    /// Starts a container; one that runs is left alone.
    ///
    /// # Errors
    /// When the engine refuses or does not answer.
    async fn start(&self, id: &str) -> Result<(), EngineError>;

    /// Stops a container by its own stop signal and grace; one that is stopped or gone is fine.
    ///
    /// # Errors
    /// When the engine refuses or does not answer.
    async fn stop(&self, id: &str, proof: &Drained) -> Result<(), EngineError>;

    /// Removes a stopped container, and never a volume; one that is gone is fine.
    ///
    /// # Errors
    /// When the engine refuses (it runs) or does not answer.
    async fn remove(&self, id: &str) -> Result<(), EngineError>;

    /// Gives a container another name.
    ///
    /// # Errors
    /// When the name is taken or the engine does not answer.
    async fn rename(&self, id: &str, name: &str) -> Result<(), EngineError>;

    /// The last lines of a container's output, oldest first.
    ///
    /// # Errors
    /// When the engine does not answer. A log driver that cannot be read gives no lines.
    async fn last_words(&self, id: &str) -> Result<Vec<String>, EngineError>;

    /// Watches the engine for as long as the answer is held, through its restarts.
    fn changes(&self) -> Changes;
}

/// Which engine it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct EngineVersion {
    /// Its own version.
    pub version: String,
    /// The version of the API that we speak with it.
    pub api_version: String,
}

/// One look at all containers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    /// Those that answered.
    pub containers: Vec<Container>,
    /// Those that are there and could not be inspected in time: what was known of them still holds.
    pub unanswered: Vec<WorkloadId>,
}

/// A shared handle of an [`Engine`]; its calls are the engine's.
#[derive(Clone, Debug)]
pub(crate) struct Containers(Arc<dyn Engine>);

impl Containers {
    /// The engine behind a Unix socket; connects when first used.
    #[must_use]
    pub(crate) fn docker(socket: &Path) -> Self {
        Self(Arc::new(Docker::new(socket)))
    }
}

impl From<Arc<dyn Engine>> for Containers {
    fn from(engine: Arc<dyn Engine>) -> Self {
        Self(engine)
    }
}

impl Deref for Containers {
    type Target = dyn Engine;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}
