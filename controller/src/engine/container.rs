//! A container as we see it: what of the engine's answer is of use, typed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::WorkloadId;

/// One container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Container {
    /// Who it is.
    pub id: WorkloadId,
    /// Its name, without the slash.
    pub name: String,
    /// Its labels, the image's among them.
    pub labels: BTreeMap<String, String>,
    /// The reference it was created with.
    pub image: String,
    /// The ID of the image it runs.
    pub image_id: String,
    /// When it was created.
    pub created: SystemTime,
    /// When it was last started; `None` where it never was.
    pub started: Option<SystemTime>,
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
    /// Every network that it is joined to, whether it has an address there or not.
    pub joined: BTreeSet<String>,
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

#[cfg(test)]
impl Container {
    /// One that runs, of no image and on no network.
    pub(crate) fn named(id: WorkloadId, name: &str) -> Self {
        Self {
            id,
            name: name.into(),
            labels: BTreeMap::new(),
            image: "app".into(),
            image_id: "sha256:app".into(),
            created: SystemTime::UNIX_EPOCH,
            started: None,
            state: State::Running,
            wellness: Wellness::Unchecked,
            restarts: 0,
            exit_code: 0,
            oom_killed: false,
            ports: BTreeSet::new(),
            networks: BTreeMap::new(),
            joined: BTreeSet::new(),
            foreign_network: None,
            published: BTreeSet::new(),
            stop_signal: None,
            stop_grace: Duration::from_secs(10),
            writable_mounts: BTreeSet::new(),
            memory: 0,
            health_checked: false,
        }
    }
}
