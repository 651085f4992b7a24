//! A container and an image as we see them: what of the engine's answer is of use, typed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, HealthStatusEnum, ImageInspect,
};
use serde::{Deserialize, Serialize};

use super::pull::split;
use crate::registry::familiar;

/// A container's full ID: who it is, whatever its name and address.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub(crate) struct ContainerId(pub String);

impl ContainerId {
    /// The ID as text.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Container {
    /// Who it is.
    pub id: ContainerId,
    /// Its name, without the slash.
    pub name: String,
    /// Its labels, the image's among them.
    pub labels: BTreeMap<String, String>,
    /// The reference it was created with.
    pub image: String,
    /// The ID of the image it runs.
    pub image_id: String,
    /// When it was created, RFC 3339; sorts by time.
    pub created: String,
    /// Whether it runs.
    pub state: State,
    /// What Docker says of its health.
    pub wellness: Wellness,
    /// How often the engine has restarted it.
    pub restarts: u64,
    /// The exit code of its last end.
    pub exit_code: i64,
    /// Whether the kernel ended it for its memory.
    pub oom_killed: bool,
    /// TCP ports that the image or the user exposes.
    pub ports: BTreeSet<u16>,
    /// Its address in each network it is in, by the network's name.
    pub networks: BTreeMap<String, IpAddr>,
    /// It has no network of its own: `host` or `container:…`.
    pub foreign_network: Option<String>,
    /// Host ports that are bound to it.
    pub published: BTreeSet<u16>,
    /// The signal that stops it.
    pub stop_signal: Option<String>,
    /// From that signal to SIGKILL.
    pub stop_grace: Duration,
    /// Volumes and paths that it can write to.
    pub writable_mounts: BTreeSet<String>,
    /// Its memory limit in bytes; 0 is none.
    pub memory: u64,
    /// Whether it has a health check.
    pub health_checked: bool,
}

/// Whether a container runs.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Never started.
    Created,
    /// Frozen by `docker pause`.
    Paused,
    /// Between two tries of its restart policy.
    Restarting,
    /// As it says.
    Running,
    /// Over, or about to be.
    Stopped,
}

/// What Docker says of a running container's health.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wellness {
    /// Its health check passes.
    Healthy,
    /// Nobody checks.
    Unchecked,
    /// Its health check has not passed yet.
    Starting,
    /// Its health check fails; what it printed last.
    Unhealthy(String),
}

impl Container {
    pub(super) fn from_inspect(inspected: ContainerInspectResponse) -> Option<Self> {
        let id = ContainerId(inspected.id?);
        let config = inspected.config.unwrap_or_default();
        let host = inspected.host_config.unwrap_or_default();
        let state = inspected.state.unwrap_or_default();
        let settings = inspected.network_settings.unwrap_or_default();
        let health = state.health.unwrap_or_default();
        let wellness = match health.status {
            Some(HealthStatusEnum::HEALTHY) => Wellness::Healthy,
            Some(HealthStatusEnum::STARTING) => Wellness::Starting,
            Some(HealthStatusEnum::UNHEALTHY) => {
                let last = health.log.unwrap_or_default().pop();
                Wellness::Unhealthy(last.and_then(|log| log.output).unwrap_or_default())
            }
            Some(HealthStatusEnum::EMPTY | HealthStatusEnum::NONE) | None => Wellness::Unchecked,
        };
        let networks = settings.networks.unwrap_or_default();
        let networks = networks.into_iter().filter_map(|(name, endpoint)| {
            let v4 = endpoint.ip_address.filter(|ip| !ip.is_empty());
            let ip = v4.or(endpoint.global_ipv6_address)?;
            Some((name, ip.parse().ok()?))
        });
        let mode = host.network_mode.unwrap_or_default();
        let foreign = mode == "host" || mode == "none" || mode.starts_with("container:");
        let port = |spec: &str| spec.strip_suffix("/tcp")?.parse().ok();
        let bindings = host.port_bindings.unwrap_or_default();
        let published = bindings.into_values().flatten().flatten();
        let mounts = inspected.mounts.unwrap_or_default();
        let writable = mounts.into_iter().filter(|mount| mount.rw == Some(true));
        Some(Self {
            id,
            name: inspected.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            labels: config.labels.unwrap_or_default().into_iter().collect(),
            image: config.image.unwrap_or_default(),
            image_id: inspected.image.unwrap_or_default(),
            created: inspected.created.unwrap_or_default(),
            state: match state.status {
                Some(ContainerStateStatusEnum::CREATED) => State::Created,
                Some(ContainerStateStatusEnum::PAUSED) => State::Paused,
                Some(ContainerStateStatusEnum::RESTARTING) => State::Restarting,
                Some(ContainerStateStatusEnum::RUNNING) => State::Running,
                _ => State::Stopped,
            },
            wellness,
            restarts: inspected.restart_count.and_then(|n| n.try_into().ok()).unwrap_or(0),
            exit_code: state.exit_code.unwrap_or(0),
            oom_killed: state.oom_killed.unwrap_or(false),
            ports: config.exposed_ports.iter().flatten().filter_map(|p| port(p)).collect(),
            networks: networks.collect(),
            foreign_network: foreign.then_some(mode),
            published: published
                .filter_map(|b| b.host_port?.parse().ok())
                .filter(|p| *p > 0)
                .collect(),
            stop_signal: config.stop_signal,
            stop_grace: config
                .stop_timeout
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map_or(STOP_GRACE, Duration::from_secs),
            writable_mounts: writable
                .filter_map(|mount| mount.name.filter(|n| !anonymous(n)).or(mount.source))
                .collect(),
            memory: host.memory.and_then(|bytes| bytes.try_into().ok()).unwrap_or(0),
            health_checked: config.healthcheck.is_some_and(|check| {
                check.test.is_some_and(|test| !test.is_empty() && test != ["NONE"])
            }),
        })
    }

    /// The value of a label.
    #[must_use]
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }

    /// Why it may not get requests though it runs; `None` is well.
    #[must_use]
    pub(crate) fn unwell(&self) -> Option<String> {
        match (&self.state, &self.wellness) {
            (State::Paused, _) => Some("paused".into()),
            (State::Running, Wellness::Healthy | Wellness::Unchecked) => None,
            (State::Running, Wellness::Starting) => Some("docker health: starting".into()),
            (State::Running, Wellness::Unhealthy(output)) => {
                let first = output.lines().next().unwrap_or_default().trim();
                Some(format!("docker health: unhealthy: {first}"))
            }
            (State::Created | State::Restarting | State::Stopped, _) => Some("not running".into()),
        }
    }

    /// How it ended, for people.
    #[must_use]
    pub(crate) fn end(&self) -> String {
        if self.oom_killed {
            return format!("out of memory (exit code {})", self.exit_code);
        }
        format!("exit code {}", self.exit_code)
    }
}

/// An image that is on this host.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Image {
    /// Its ID: the digest of its config.
    pub id: String,
    /// What registries call it, as `repository@sha256:…`; none where it never saw one.
    pub digests: Vec<String>,
    /// Bytes on disk.
    pub bytes: u64,
}

impl Image {
    pub(super) fn from_inspect(inspected: ImageInspect) -> Option<Self> {
        Some(Self {
            id: inspected.id?,
            digests: inspected.repo_digests.unwrap_or_default(),
            bytes: inspected.size.and_then(|bytes| bytes.try_into().ok()).unwrap_or(0),
        })
    }

    /// What the registry of a reference calls it.
    #[must_use]
    pub(crate) fn digest(&self, reference: &str) -> Option<&str> {
        let repository = split(reference).0;
        // A name may have a tag before its digest.
        let wanted = familiar(split(repository).0);
        let mut all = self.digests.iter();
        let found = all.find(|digest| digest.split_once('@').is_some_and(|(r, _)| r == wanted));
        found.map(String::as_str)
    }

    /// What it is pinned to under a reference: the registry's digest, or else its ID.
    #[must_use]
    pub(crate) fn pin(&self, reference: &str) -> String {
        self.digest(reference).unwrap_or(&self.id).to_owned()
    }
}

/// An anonymous volume is never shared.
fn anonymous(volume: &str) -> bool {
    volume.len() == 64 && volume.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Docker's own.
const STOP_GRACE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_pinned_to_the_digest_of_the_registry_it_is_named_after() {
        let digests =
            ["one.example/app@sha256:aa", "two.example:5000/app@sha256:bb", "app@sha256:cc"];
        let digests = digests.map(str::to_owned).to_vec();
        let image = Image { id: "sha256:dd".into(), digests, bytes: 0 };
        assert_eq!(image.pin("two.example:5000/app:7"), "two.example:5000/app@sha256:bb");
        assert_eq!(image.pin("two.example:5000/app:7@sha256:bb"), "two.example:5000/app@sha256:bb");
        assert_eq!(image.pin("docker.io/library/app"), "app@sha256:cc");
        assert_eq!(image.pin("three.example/app:7"), "sha256:dd");
    }
}
