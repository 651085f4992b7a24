//! Bringing an image to this host.

use std::collections::BTreeMap;

use bollard::auth::DockerCredentials;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{Containers, DockerError, Image, SLOW, within};
use crate::registry::Login;

/// When an image is fetched though it may be here.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PullPolicy {
    /// Always.
    Always,
    /// Only where it is not here.
    #[default]
    Missing,
    /// Never: it is here or the rollout is refused.
    Never,
}

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

/// How far a pull is, over all layers that have begun.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct PullProgress {
    /// Bytes fetched.
    pub bytes: u64,
    /// Bytes in all, as far as known.
    pub total: u64,
}

impl Containers {
    /// Asks the registry whether it has an image, without fetching it.
    ///
    /// # Errors
    /// When it has not, or will not say so to us.
    pub(crate) async fn registry_has(
        &self,
        reference: &str,
        login: Option<Login>,
    ) -> Result<(), DockerError> {
        let docker = self.docker().await?;
        let login = login.map(DockerCredentials::from);
        let asked = docker.inspect_registry_image(reference, login);
        within("ask the registry", SLOW, asked).await.map(drop)
    }

    /// Fetches an image by its tag or its digest, and says what it is, pinned.
    ///
    /// # Errors
    /// When the registry or the engine refuses (disk full, no such tag, no credentials), or does
    /// not move for a minute.
    pub(crate) async fn pull(
        &self,
        reference: &str,
        login: Option<Login>,
        mut progress: impl FnMut(PullProgress),
    ) -> Result<Image, DockerError> {
        let docker = self.docker().await?;
        let (name, tag) = split(reference);
        let options = CreateImageOptionsBuilder::default().from_image(name).tag(tag).build();
        let login = login.map(DockerCredentials::from);
        let mut pulling = Box::pin(docker.create_image(Some(options), None, login));
        let mut layers: BTreeMap<String, PullProgress> = BTreeMap::new();
        loop {
            let step = timeout(STALL, pulling.next()).await;
            let step = step.map_err(|_| DockerError::Timeout { call: "pull", after: STALL })?;
            let Some(step) = step else { break };
            let info = step.map_err(|error| DockerError::new("pull", error))?;
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
        self.image(reference).await?.ok_or(DockerError::Refused {
            call: "pull",
            status: 404,
            message: format!("{reference} was pulled and is not there"),
        })
    }
}

/// `name` and `tag` (or digest) of a reference; `latest` where there is none, or the engine would
/// fetch every tag there is.
pub(crate) fn split(reference: &str) -> (&str, &str) {
    if let Some((name, digest)) = reference.split_once('@') {
        return (name, digest);
    }
    match reference.rsplit_once(':') {
        // A colon before a slash is a port.
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (reference, "latest"),
    }
}

/// For the next line of a pull's progress.
const STALL: std::time::Duration = std::time::Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(split("host:5000/app"), ("host:5000/app", "latest"));
        assert_eq!(split("host:5000/app:2"), ("host:5000/app", "2"));
        assert_eq!(split("app@sha256:aa"), ("app", "sha256:aa"));
    }
}
