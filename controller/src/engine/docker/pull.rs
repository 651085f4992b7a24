//! Bringing an image to this host.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::{Docker, SLOW, refused, within};
use crate::engine::error::{ASK_REGISTRY, PULL};
use crate::engine::{Engine, EngineError, Image, PullProgress, split_reference};
use crate::registry::Login;

impl From<Login> for DockerCredentials {
    fn from(login: Login) -> Self {
        Self {
            username: login.username,
            password: login.password,
            serveraddress: login.serveraddress,
            identitytoken: login.identitytoken,
            registrytoken: login.registrytoken,
            ..Self::default()
        }
    }
}

impl Docker {
    pub(super) async fn ask_registry(
        &self,
        reference: &str,
        login: Option<Login>,
    ) -> Result<(), EngineError> {
        let client = self.client().await?;
        let login = login.map(DockerCredentials::from);
        let asked = client.inspect_registry_image(reference, login);
        within(ASK_REGISTRY, SLOW, asked).await.map(drop)
    }

    pub(super) async fn fetch(
        &self,
        reference: &str,
        login: Option<Login>,
        progress: &mut (dyn FnMut(PullProgress) + Send),
    ) -> Result<Image, EngineError> {
        let client = self.client().await?;
        let (name, tag) = split_reference(reference);
        let options = CreateImageOptionsBuilder::default().from_image(name).tag(tag).build();
        let login = login.map(DockerCredentials::from);
        let mut pulling = Box::pin(client.create_image(Some(options), None, login));
        let mut layers: BTreeMap<String, PullProgress> = BTreeMap::new();
        loop {
            let step = timeout(STALL, pulling.next()).await;
            let step = step.map_err(|_| EngineError::Timeout { call: PULL, after: STALL })?;
            let Some(step) = step else { break };
            let info = step.map_err(|error| refused(PULL, error))?;
            let (Some(layer), Some(detail)) = (info.id, info.progress_detail) else {
                continue;
            };
            let (Some(current), Some(total)) = (detail.current, detail.total) else {
                continue;
            };
            // The same layer is first fetched, then unpacked: only the first is news.
            if info.status.as_deref() == Some("Downloading") {
                let (bytes, total) =
                    (current.try_into().unwrap_or(0), total.try_into().unwrap_or(0));
                layers.insert(layer, PullProgress { bytes, total });
                progress(PullProgress {
                    bytes: layers.values().map(|l| l.bytes).sum(),
                    total: layers.values().map(|l| l.total).sum(),
                });
            }
        }
        self.image(reference).await?.ok_or(EngineError::Refused {
            call: PULL,
            status: 404,
            message: format!("{reference} was pulled and is not there"),
        })
    }
}

/// For the next line of a pull's progress.
const STALL: Duration = Duration::from_secs(60);
