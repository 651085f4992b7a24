//! A container like another, but of a new image.
//!
//! What the user said is copied; what the old image said is left out, so that the new image can say
//! it. Nothing is ever asked for that the original did not have.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, EndpointSettings, HostConfig, ImageConfig,
    NetworkConnectRequest, NetworkingConfig,
};
use serde::{Deserialize, Serialize};

use super::{Container, EngineError};
use crate::config::labels::INTERNAL_PREFIX;

/// What a container was made of.
#[derive(Clone, Debug)]
pub(crate) struct Blueprint {
    inspected: ContainerInspectResponse,
    image: ImageConfig,
}

/// What it takes to create a container: also what the history keeps of a release.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Spec {
    /// For the create call.
    pub body: ContainerCreateBody,
    /// Networks to join before the start, beside the first.
    pub networks: Vec<(String, NetworkConnectRequest)>,
}

/// Something that the original did not have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a copy may not have what the original has not: {0}")]
pub(crate) struct CopyError(pub String);

impl Blueprint {
    /// Out of what the engine says of a container, and of its image: the latter is `Err` with
    /// whether it is gone, where the engine does not say.
    ///
    /// # Errors
    /// [`EngineError::ImageUnknown`].
    pub(super) fn read(
        inspected: ContainerInspectResponse,
        image: Result<ImageConfig, bool>,
    ) -> Result<Self, EngineError> {
        match image {
            Ok(image) => Ok(Self { inspected, image }),
            Err(gone) => Err(EngineError::ImageUnknown {
                container: inspected.name.unwrap_or_default().trim_start_matches('/').to_owned(),
                image: inspected.image.unwrap_or_default(),
                gone,
            }),
        }
    }

    /// Describes a copy of it with another image, and labels of ours over its own.
    #[must_use]
    pub(crate) fn copy(&self, image: &str, labels: &BTreeMap<String, String>) -> Spec {
        let config = self.inspected.config.clone().unwrap_or_default();
        let mut host = self.inspected.host_config.clone().unwrap_or_default();
        // Its corpse must be there to be looked at; we remove it ourselves.
        host.auto_remove = Some(false);
        let (first, rest) = self.networks(&host);
        let from_image = &self.image;
        let entrypoint = unless_same(config.entrypoint, &from_image.entrypoint);
        // A command of the image belongs to the entrypoint of the image.
        let cmd = match entrypoint {
            None => unless_same(config.cmd, &from_image.cmd),
            Some(_) => config.cmd,
        };
        let body = ContainerCreateBody {
            hostname: config.hostname.filter(|name| !self.is_own_id(name)),
            domainname: config.domainname,
            user: unless_same(config.user, &from_image.user),
            attach_stdin: config.attach_stdin,
            attach_stdout: config.attach_stdout,
            attach_stderr: config.attach_stderr,
            exposed_ports: minus(config.exposed_ports, &from_image.exposed_ports),
            tty: config.tty,
            open_stdin: config.open_stdin,
            stdin_once: config.stdin_once,
            env: minus(config.env, &from_image.env),
            cmd,
            healthcheck: unless_same(config.healthcheck, &from_image.healthcheck),
            args_escaped: config.args_escaped,
            image: Some(image.to_owned()),
            volumes: minus(config.volumes, &from_image.volumes),
            working_dir: unless_same(config.working_dir, &from_image.working_dir),
            entrypoint,
            network_disabled: config.network_disabled,
            on_build: None,
            labels: Some(relabelled(config.labels, from_image.labels.as_ref(), labels)),
            stop_signal: unless_same(config.stop_signal, &from_image.stop_signal),
            stop_timeout: config.stop_timeout,
            shell: unless_same(config.shell, &from_image.shell),
            host_config: Some(host),
            networking_config: Some(NetworkingConfig { endpoints_config: Some(first) }),
        };
        Spec { body, networks: rest }
    }

    /// The network that the container is created in, and those it joins after. Before API 1.44 a
    /// container can be created in one network only.
    fn networks(
        &self,
        host: &HostConfig,
    ) -> (HashMap<String, EndpointSettings>, Vec<(String, NetworkConnectRequest)>) {
        let settings = self.inspected.network_settings.clone().unwrap_or_default();
        let mut networks: BTreeMap<_, _> =
            settings.networks.unwrap_or_default().into_iter().collect();
        let mode = match host.network_mode.as_deref() {
            None | Some("" | "default") => "bridge",
            Some(mode) => mode,
        };
        let is_first = |name: &str, endpoint: &EndpointSettings| {
            name == mode || endpoint.network_id.as_deref() == Some(mode)
        };
        let first = networks
            .iter()
            .find(|(name, endpoint)| is_first(name, endpoint))
            .map(|(name, _)| name.clone());
        let first = first
            .and_then(|name| networks.remove_entry(&name))
            .map(|(name, endpoint)| (name.clone(), self.endpoint(&name, endpoint)));
        let rest = networks.into_iter().map(|(name, endpoint)| {
            let request = NetworkConnectRequest {
                container: String::new(),
                endpoint_config: Some(self.endpoint(&name, endpoint)),
            };
            (name, request)
        });
        (first.into_iter().collect(), rest.collect())
    }

    /// What the user said of a network; addresses are the engine's, or taken by the original.
    fn endpoint(&self, network: &str, endpoint: EndpointSettings) -> EndpointSettings {
        // Only networks of the user know aliases.
        if matches!(network, "bridge" | "host" | "none") {
            return EndpointSettings::default();
        }
        let aliases = endpoint.aliases.map(|aliases| {
            let own = aliases.into_iter().filter(|alias| !self.is_own_id(alias));
            own.collect()
        });
        EndpointSettings {
            aliases,
            links: endpoint.links,
            driver_opts: endpoint.driver_opts,
            gw_priority: endpoint.gw_priority,
            ..EndpointSettings::default()
        }
    }

    fn is_own_id(&self, name: &str) -> bool {
        let id = self.inspected.id.as_deref().unwrap_or_default();
        name.len() == SHORT_ID && id.starts_with(name)
    }
}

impl Spec {
    /// The container of the wanted name, where the same rollout made it; `None` where the name is
    /// free.
    ///
    /// # Errors
    /// [`EngineError::NameTaken`] by anything else.
    pub(super) fn adopt(
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
    /// networks, and what Compose knows it by.
    pub(crate) fn take_the_place_of(&mut self, other: &Self) {
        self.body.image.clone_from(&other.body.image);
        self.body.networking_config.clone_from(&other.body.networking_config);
        self.networks.clone_from(&other.networks);
        let mode = other.body.host_config.as_ref().and_then(|host| host.network_mode.clone());
        self.body.host_config.get_or_insert_default().network_mode = mode;
        let labels = self.body.labels.get_or_insert_default();
        labels.retain(|name, _| !name.starts_with(COMPOSE));
        let theirs = other.body.labels.iter().flatten();
        let of_compose = theirs.filter(|(name, _)| name.starts_with(COMPOSE));
        labels.extend(of_compose.map(|(name, value)| (name.clone(), value.clone())));
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
        let lists = [
            ("mount", &ours.binds, &theirs.binds),
            ("capability", &ours.cap_add, &theirs.cap_add),
            ("security option", &ours.security_opt, &theirs.security_opt),
            ("volumes from", &ours.volumes_from, &theirs.volumes_from),
        ];
        for (name, ours, theirs) in lists {
            if let Some(more) = extra(ours.as_deref(), theirs.as_deref()) {
                return refuse(format!("{name} {more}"));
            }
        }
        if let Some(more) = extra(ours.mounts.as_deref(), theirs.mounts.as_deref()) {
            return refuse(format!("mount of {}", more.source.clone().unwrap_or_default()));
        }
        if let Some(more) = extra(ours.devices.as_deref(), theirs.devices.as_deref()) {
            return refuse(format!("device {}", more.path_on_host.clone().unwrap_or_default()));
        }
        Ok(())
    }
}

/// What every label of Compose starts with.
const COMPOSE: &str = "com.docker.compose.";

/// Labels of the user, and ours over them; not those of the old image.
fn relabelled(
    own: Option<HashMap<String, String>>,
    of_image: Option<&HashMap<String, String>>,
    ours: &BTreeMap<String, String>,
) -> HashMap<String, String> {
    let mut labels = own.unwrap_or_default();
    labels.retain(|name, value| of_image.and_then(|image| image.get(name)) != Some(value));
    labels.extend(ours.clone());
    labels
}

fn unless_same<T: PartialEq>(own: Option<T>, of_image: &Option<T>) -> Option<T> {
    own.filter(|own| of_image.as_ref() != Some(own))
}

fn minus(own: Option<Vec<String>>, of_image: &Option<Vec<String>>) -> Option<Vec<String>> {
    let of_image = of_image.as_deref().unwrap_or_default();
    let own = own?.into_iter().filter(|entry| !of_image.contains(entry));
    Some(own.collect())
}

fn extra<'l, T: PartialEq>(ours: Option<&'l [T]>, theirs: Option<&[T]>) -> Option<&'l T> {
    let theirs = theirs.unwrap_or_default();
    ours?.iter().find(|one| !theirs.contains(one))
}

/// What Docker calls a container by where nobody gave it a name.
const SHORT_ID: usize = 12;

#[cfg(test)]
mod tests {
    use bollard::models::ContainerConfig;

    use super::*;

    fn blueprint() -> Blueprint {
        let id = "0123456789ab".to_owned() + &"c".repeat(52);
        let strings = |all: &[&str]| Some(all.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        let map = |all: &[(&str, &str)]| {
            let pairs = all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            Some(pairs.collect::<HashMap<_, _>>())
        };
        let endpoint = |aliases: &[&str]| EndpointSettings {
            aliases: strings(aliases),
            ip_address: Some("172.18.0.2".into()),
            mac_address: Some("02:42:ac:12:00:02".into()),
            ..EndpointSettings::default()
        };
        let inspected = ContainerInspectResponse {
            id: Some(id),
            config: Some(ContainerConfig {
                hostname: Some("0123456789ab".into()),
                image: Some("app:1".into()),
                env: strings(&["PATH=/bin", "VERSION=1", "SECRET=s"]),
                cmd: strings(&["serve"]),
                labels: map(&[("built", "monday"), ("com.docker.compose.project", "p")]),
                ..ContainerConfig::default()
            }),
            host_config: Some(HostConfig {
                network_mode: Some("p_default".into()),
                binds: strings(&["data:/data:rw"]),
                ..HostConfig::default()
            }),
            network_settings: Some(bollard::models::NetworkSettings {
                networks: Some(HashMap::from([
                    ("p_default".to_owned(), endpoint(&["web", "0123456789ab"])),
                    ("back".to_owned(), endpoint(&["web"])),
                ])),
                ..bollard::models::NetworkSettings::default()
            }),
            ..ContainerInspectResponse::default()
        };
        let image = ImageConfig {
            env: strings(&["PATH=/bin", "VERSION=1"]),
            cmd: strings(&["serve"]),
            labels: map(&[("built", "monday")]),
            ..ImageConfig::default()
        };
        Blueprint::read(inspected, Ok(image)).unwrap()
    }

    #[test]
    fn what_the_old_image_said_is_left_to_the_new_one() {
        let spec = blueprint().copy("app:2", &BTreeMap::new());
        assert_eq!(spec.body.image.as_deref(), Some("app:2"));
        assert_eq!(spec.body.env, Some(vec!["SECRET=s".to_owned()]));
        assert_eq!(spec.body.cmd, None);
        let labels = spec.body.labels.unwrap();
        assert_eq!(labels.len(), 1);
        assert!(labels.contains_key("com.docker.compose.project"));
    }

    #[test]
    fn what_was_the_engines_choice_is_chosen_anew() {
        let spec = blueprint().copy("app:2", &BTreeMap::new());
        assert_eq!(spec.body.hostname, None);
        let first = spec.body.networking_config.unwrap().endpoints_config.unwrap();
        assert_eq!(first.keys().collect::<Vec<_>>(), ["p_default"]);
        let endpoint = &first["p_default"];
        assert_eq!(endpoint.aliases, Some(vec!["web".to_owned()]));
        assert_eq!((&endpoint.ip_address, &endpoint.mac_address), (&None, &None));
        assert_eq!(spec.networks.len(), 1);
        assert_eq!(spec.networks[0].0, "back");
    }

    #[test]
    fn a_copy_is_refused_what_the_original_has_not() {
        let original = blueprint().copy("app:1", &BTreeMap::new());
        assert_eq!(original.check_against(&original), Ok(()));
        let with = |change: &dyn Fn(&mut HostConfig)| {
            let mut spec = original.clone();
            change(spec.body.host_config.as_mut().unwrap());
            spec.check_against(&original)
        };
        assert!(with(&|h| h.privileged = Some(true)).is_err());
        assert!(with(&|h| h.pid_mode = Some("host".into())).is_err());
        assert!(with(&|h| h.network_mode = Some("host".into())).is_err());
        assert!(with(&|h| h.binds = Some(vec!["/:/host".into()])).is_err());
        assert!(with(&|h| h.cap_add = Some(vec!["SYS_ADMIN".into()])).is_err());
        assert!(with(&|h| h.binds = None).is_ok());
    }
}
