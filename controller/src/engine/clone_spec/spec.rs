//! What it takes to create a container.

use std::fmt;

use bollard::models::{ContainerCreateBody, HostConfig, NetworkConnectRequest};
use serde::{Deserialize, Serialize};

use super::files::File;
use super::networks::SHORT_ID;
use super::volumes;
use crate::config::labels::INTERNAL_PREFIX;
use crate::engine::{Container, EngineError};

/// For the create call: also what the history keeps of a release.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
pub(crate) struct Spec {
    /// The call's body.
    pub body: ContainerCreateBody,
    /// Networks to join before the start, beside the first.
    pub networks: Vec<(String, NetworkConnectRequest)>,
    /// Files to put into it before the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<File>,
}

/// Something that the original did not have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a copy may not have what the original has not: {0}")]
pub(crate) struct CopyError(pub String);

impl Spec {
    /// The value of a label.
    #[must_use]
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.body.labels.as_ref()?.get(name).map(String::as_str)
    }

    /// The container of the wanted name, where the same rollout made it; `None` where the name is
    /// free.
    ///
    /// # Errors
    /// [`EngineError::NameTaken`] by anything else.
    pub(in crate::engine) fn adopt(
        &self,
        name: &str,
        there: Option<Container>,
    ) -> Result<Option<Container>, EngineError> {
        let Some(there) = there else { return Ok(None) };
        let label = format!("{INTERNAL_PREFIX}rollout");
        let ours = self.body.labels.as_ref().and_then(|labels| labels.get(&label));
        if ours.is_some() && there.label(&label) == ours.map(String::as_str) {
            return Ok(Some(there));
        }
        let whose = match there.label(&label) {
            Some(rollout) => format!(", made by the rollout {rollout}"),
            None => String::new(),
        };
        let short = there.id.as_str().get(..SHORT_ID).unwrap_or(there.id.as_str());
        let by = format!("the container {} ({short}{whose})", there.name);
        Err(EngineError::NameTaken { name: name.to_owned(), by })
    }

    /// Of another release, but in this one's place: with its image reference, its names in its
    /// networks, its volumes without a name, and what Compose knows it by.
    pub(crate) fn take_the_place_of(&mut self, other: &Self) {
        self.body.image.clone_from(&other.body.image);
        self.body.networking_config.clone_from(&other.body.networking_config);
        self.networks.clone_from(&other.networks);
        let theirs = other.body.host_config.clone().unwrap_or_default();
        let host = self.body.host_config.get_or_insert_default();
        volumes::replace(host, &theirs);
        host.network_mode = theirs.network_mode;
        let labels = self.body.labels.get_or_insert_default();
        labels.retain(|name, _| !name.starts_with(COMPOSE));
        let theirs = other.body.labels.iter().flatten();
        let of_compose = theirs.filter(|(name, _)| name.starts_with(COMPOSE));
        labels.extend(of_compose.map(|(name, value)| (name.clone(), value.clone())));
    }

    /// Takes the volumes without a name off it, so that it gets new ones: it runs for good beside the
    /// container that they were of.
    pub(crate) fn leave_anonymous_volumes(&mut self) {
        volumes::replace(self.body.host_config.get_or_insert_default(), &HostConfig::default());
    }

    /// Refuses what the original does not have: privileges, devices, paths and namespaces of the
    /// host.
    ///
    /// # Errors
    /// Names the first thing found.
    pub(crate) fn check_against(&self, original: &Self) -> Result<(), CopyError> {
        let ours = self.body.host_config.clone().unwrap_or_default();
        let theirs = original.body.host_config.clone().unwrap_or_default();
        let refuse = |what: String| Err(CopyError(what));
        if ours.privileged == Some(true) && theirs.privileged != Some(true) {
            return refuse("privileged".into());
        }
        let modes = [
            ("network", &ours.network_mode, &theirs.network_mode),
            ("pid", &ours.pid_mode, &theirs.pid_mode),
            ("ipc", &ours.ipc_mode, &theirs.ipc_mode),
            ("uts", &ours.uts_mode, &theirs.uts_mode),
            ("userns", &ours.userns_mode, &theirs.userns_mode),
        ];
        for (name, ours, theirs) in modes {
            let shared =
                ours.as_deref().is_some_and(|m| m == "host" || m.starts_with("container:"));
            if shared && ours != theirs {
                return refuse(format!("{name} namespace {}", ours.clone().unwrap_or_default()));
            }
        }
        // Volumes without a name are taken from the original.
        let binds: Vec<String> = ours.binds.unwrap_or_default();
        let binds: Vec<_> =
            binds.into_iter().filter(|bind| !volumes::is_anonymous_bind(bind)).collect();
        let lists = [
            ("mount", &Some(binds), &theirs.binds),
            ("capability", &ours.cap_add, &theirs.cap_add),
            ("security option", &ours.security_opt, &theirs.security_opt),
            ("volumes from", &ours.volumes_from, &theirs.volumes_from),
        ];
        for (name, ours, theirs) in lists {
            if let Some(more) = extra(ours.as_deref(), theirs.as_deref()) {
                return refuse(format!("{name} {more}"));
            }
        }
        let named = |mounts: Option<Vec<_>>| {
            let mounts = mounts.unwrap_or_default();
            mounts.iter().map(volumes::without_anonymous_source).collect::<Vec<_>>()
        };
        let (mounts, their_mounts) = (named(ours.mounts), named(theirs.mounts));
        if let Some(more) = extra(Some(&mounts), Some(&their_mounts)) {
            return refuse(format!("mount of {}", more.source.clone().unwrap_or_default()));
        }
        if let Some(more) = extra(ours.devices.as_deref(), theirs.devices.as_deref()) {
            return refuse(format!("device {}", more.path_on_host.clone().unwrap_or_default()));
        }
        Ok(())
    }
}

/// Names only: variables and files hold secrets.
impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks: Vec<_> = self.networks.iter().map(|(name, _)| name).collect();
        f.debug_struct("Spec")
            .field("image", &self.body.image)
            .field("networks", &networks)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

fn extra<'l, T: PartialEq>(ours: Option<&'l [T]>, theirs: Option<&[T]>) -> Option<&'l T> {
    let theirs = theirs.unwrap_or_default();
    ours?.iter().find(|one| !theirs.contains(one))
}

/// What every label of Compose starts with.
pub(super) const COMPOSE: &str = "com.docker.compose.";
