//! What the controller works with that lies outside of it: the disk, the proxy and the apps. A
//! simulation puts others in their place; the engine is one already (`crate::engine::Engine`).

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use crate::serving::edge::connection::{Connect, ProxySocket};
use crate::serving::probing::ProbeTarget;
use crate::state::health::Answer;
use crate::state::store::Store;

/// The disk, the proxy and the apps that a controller works with.
#[derive(Clone, Debug)]
pub struct Outside {
    /// Where the journal is kept.
    pub(crate) store: Arc<dyn Store>,
    /// Where the proxy listens for tables.
    pub(crate) proxy: Arc<dyn Connect>,
    /// Who answers probes; `None` is whoever listens at an endpoint's address.
    pub(crate) apps: Option<Arc<dyn Apps>>,
}

impl Outside {
    /// The proxy behind a Unix socket, and apps that are reached over the network.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, link: &Path) -> Self {
        Self { store, proxy: Arc::new(ProxySocket(link.into())), apps: None }
    }
}

/// Apps that answer probes without a connection.
#[async_trait]
pub(crate) trait Apps: fmt::Debug + Send + Sync {
    /// What a probe gets.
    async fn answer(&self, target: &ProbeTarget) -> Answer;
}
