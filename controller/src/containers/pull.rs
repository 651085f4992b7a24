//! Bringing an image to this host.

use std::collections::BTreeMap;
use std::path::Path;

use bollard::auth::DockerCredentials;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{Containers, DockerError, Image};

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

/// Who we are to a registry. Never stored, never shown.
#[derive(Clone, Default, Deserialize)]
pub(crate) struct Credentials(DockerCredentials);

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// Reads `X-Registry-Auth` as the Docker API has it: base64 of a JSON object.
    #[must_use]
    pub(crate) fn from_header(value: &str) -> Option<Self> {
        let bytes = base64(value)?;
        serde_json::from_slice(&bytes).ok().map(Self)
    }

    /// What a mounted Docker config file says of an image's registry.
    #[must_use]
    pub(crate) fn from_config(file: &Path, reference: &str) -> Option<Self> {
        let config: ConfigFile = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        let registry = registry(reference);
        let hub = "https://index.docker.io/v1/";
        let key = if registry == "docker.io" { hub } else { registry };
        let entry = config.auths.get(key)?;
        let decoded = String::from_utf8(base64(entry.auth.as_deref()?)?).ok()?;
        let (username, password) = decoded.split_once(':')?;
        Some(Self(DockerCredentials {
            username: Some(username.to_owned()),
            password: Some(password.to_owned()),
            serveraddress: Some(key.to_owned()),
            ..DockerCredentials::default()
        }))
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
    /// Fetches an image and says what it is, pinned.
    ///
    /// # Errors
    /// When the registry or the engine refuses (disk full, no such tag, no credentials), or does
    /// not move for a minute.
    pub(crate) async fn pull(
        &self,
        reference: &str,
        credentials: Option<Credentials>,
        mut progress: impl FnMut(PullProgress),
    ) -> Result<Image, DockerError> {
        let docker = self.docker().await?;
        let (name, tag) = split(reference);
        let options = CreateImageOptionsBuilder::default().from_image(name).tag(tag).build();
        let credentials = credentials.map(|c| c.0);
        let mut pulling = Box::pin(docker.create_image(Some(options), None, credentials));
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

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    auths: BTreeMap<String, AuthEntry>,
}

#[derive(Deserialize)]
struct AuthEntry {
    auth: Option<String>,
}

/// The registry of a reference: what is before the first slash, if it can be a host.
fn registry(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
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

/// Standard or URL-safe alphabet, padded or not: clients send all of them.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut bits = 0_u32;
    let mut held = 0;
    for byte in text.trim().trim_end_matches('=').bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).ok()?);
        }
    }
    Some(bytes)
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
        assert_eq!(registry("host:5000/app:2"), "host:5000");
        assert_eq!(registry("library/app"), "docker.io");
    }

    #[test]
    fn credentials_come_in_both_alphabets() {
        let json = br#"{"username":"u?","password":"p>>"}"#;
        let standard = "eyJ1c2VybmFtZSI6InU/IiwicGFzc3dvcmQiOiJwPj4ifQ==";
        assert_eq!(base64(standard).unwrap(), json);
        let url = standard.replace('/', "_").replace('+', "-");
        assert_eq!(base64(url.trim_end_matches('=')).unwrap(), json);
        let credentials = Credentials::from_header(standard).unwrap();
        assert_eq!(credentials.0.username.as_deref(), Some("u?"));
        assert_eq!(format!("{credentials:?}"), "Credentials(…)");
    }

    #[test]
    fn the_docker_config_file_knows_registries_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        std::fs::write(&file, r#"{"auths":{"reg.example:5000":{"auth":"dTpwOnc="}}}"#).unwrap();
        let found = Credentials::from_config(&file, "reg.example:5000/app:1").unwrap();
        assert_eq!(found.0.password.as_deref(), Some("p:w"));
        assert!(Credentials::from_config(&file, "app:1").is_none());
    }
}
