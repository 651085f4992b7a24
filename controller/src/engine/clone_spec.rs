//! A container like another, but of a new image.
//!
//! What the user said is copied; what the old image said is left out, so that the new image can say
//! it. Nothing is ever asked for that the original did not have. What cannot be carried over is a
//! [`Notice`], for a plan to show before anything is done.

mod files;
mod networks;
mod notice;
mod spec;
#[cfg(test)]
mod tests;
mod user_set;
mod volumes;

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerConfig, ContainerCreateBody, ContainerInspectResponse, HealthConfig, ImageConfig,
    NetworkingConfig,
};

pub(super) use self::files::{Changed, was_put_in};
pub(crate) use self::files::{File, Files};
pub(crate) use self::notice::Notice;
pub(crate) use self::spec::{CopyError, Spec};
use self::user_set::{Field, UserSet};
pub(super) use self::volumes::is_anonymous;
use super::EngineError;

/// What a container was made of.
#[derive(Clone, Debug)]
pub(crate) struct Blueprint {
    inspected: ContainerInspectResponse,
    user_set: UserSet,
    /// Variables of which nobody can say whether the user or the old image set them.
    unsure: Vec<String>,
    files: Files,
}

impl Blueprint {
    /// Out of what the engine says of a container, and of its image: the latter is `Err` with
    /// whether it is gone, where the engine does not say.
    ///
    /// A container that we made carries a label that says what the user set, and needs no image.
    ///
    /// # Errors
    /// [`EngineError::ImageUnknown`]: everything the container has might be the old image's, and
    /// a copy would run the new image with the old one's settings.
    pub(super) fn read(
        inspected: ContainerInspectResponse,
        image: Result<ImageConfig, bool>,
    ) -> Result<Self, EngineError> {
        let config = inspected.config.clone().unwrap_or_default();
        let labelled = UserSet::from_label(&config);
        let (user_set, unsure) = match (image, labelled) {
            // Somebody may have edited it since and kept the label: both count.
            (Ok(image), labelled) => {
                let (mut found, unsure) = UserSet::compare(&config, &image);
                found.extend(labelled.unwrap_or_default());
                (found, unsure)
            }
            (Err(_), Some(labelled)) => (labelled, Vec::new()),
            (Err(gone), None) => {
                return Err(EngineError::ImageUnknown {
                    container: name(&inspected).to_owned(),
                    image: inspected.image.unwrap_or_default(),
                    gone,
                });
            }
        };
        Ok(Self { inspected, user_set, unsure, files: Files::default() })
    }

    /// Adds the files that were put into the container before its first start.
    #[must_use]
    pub(super) fn with_files(mut self, files: Files) -> Self {
        self.user_set.files.extend(files.found.iter().map(|file| file.path.clone()));
        self.files = files;
        self
    }

    /// The files that a copy is known to need, by the label of the container that we made.
    pub(super) fn known_files(config: &ContainerConfig) -> Vec<String> {
        let known = UserSet::from_label(config).unwrap_or_default();
        known.files.into_iter().collect()
    }

    /// Describes a copy of it with another image, and labels of ours over its own.
    #[must_use]
    pub(crate) fn copy(&self, image: &str, labels: &BTreeMap<String, String>) -> Spec {
        let config = self.inspected.config.clone().unwrap_or_default();
        let set = &self.user_set;
        let has = |field| set.fields.contains(&field);
        let mut host = self.inspected.host_config.clone().unwrap_or_default();
        // What failed must be there to be looked at; we remove it ourselves.
        host.auto_remove = Some(false);
        volumes::carry(&mut host, self.inspected.mounts.as_deref().unwrap_or_default());
        let (first, rest) = networks::networks(&self.inspected, &host);
        let list = |all: Option<Vec<String>>, wanted: &dyn Fn(&String) -> bool| {
            all.map(|all| all.into_iter().filter(|entry| wanted(entry)).collect::<Vec<_>>())
        };
        let body = ContainerCreateBody {
            hostname: config.hostname.filter(|name| !networks::is_own_id(&self.inspected, name)),
            domainname: config.domainname,
            user: config.user.filter(|_| has(Field::User)),
            attach_stdin: config.attach_stdin,
            attach_stdout: config.attach_stdout,
            attach_stderr: config.attach_stderr,
            exposed_ports: list(config.exposed_ports, &|port| set.ports.contains(port)),
            tty: config.tty,
            open_stdin: config.open_stdin,
            stdin_once: config.stdin_once,
            env: list(config.env, &|variable| set.env.contains(user_set::key(variable))),
            cmd: config.cmd.filter(|_| has(Field::Cmd)),
            healthcheck: config.healthcheck.and_then(|check| self.health(check)),
            args_escaped: config.args_escaped,
            image: Some(image.to_owned()),
            volumes: list(config.volumes, &|path| set.volumes.contains(path)),
            working_dir: config.working_dir.filter(|_| has(Field::WorkingDir)),
            // An empty one that the user set is one that was cleared.
            entrypoint: has(Field::Entrypoint).then(|| config.entrypoint.unwrap_or_default()),
            network_disabled: config.network_disabled,
            on_build: None,
            labels: Some(self.labels(config.labels, labels)),
            stop_signal: config.stop_signal.filter(|_| has(Field::StopSignal)),
            stop_timeout: config.stop_timeout,
            shell: config.shell.filter(|_| has(Field::Shell)),
            host_config: Some(host),
            networking_config: Some(NetworkingConfig { endpoints_config: Some(first) }),
        };
        Spec { body, networks: rest, files: self.files.found.clone() }
    }

    /// What a copy will not have, or share, though the user set it.
    #[must_use]
    pub(crate) fn notices(&self) -> Vec<Notice> {
        let mut notices = networks::notices(&self.inspected);
        notices.extend(volumes::notices(self.inspected.mounts.as_deref().unwrap_or_default()));
        notices.extend(self.files.notices());
        if !self.unsure.is_empty() {
            notices.push(Notice::unsure_variables(&self.unsure));
        }
        notices
    }

    /// Labels of the user, and ours over them; not those of the old image.
    fn labels(
        &self,
        own: Option<HashMap<String, String>>,
        ours: &BTreeMap<String, String>,
    ) -> HashMap<String, String> {
        let mut labels = own.unwrap_or_default();
        labels.retain(|name, _| self.user_set.labels.contains(name));
        labels.extend(ours.clone());
        let (name, value) = self.user_set.to_label();
        labels.insert(name, value);
        labels
    }

    /// The fields of a health check that the user set: the new image fills in the others.
    fn health(&self, check: HealthConfig) -> Option<HealthConfig> {
        let has = |field| self.user_set.fields.contains(&field);
        let own = HealthConfig {
            test: check.test.filter(|_| has(Field::HealthTest)),
            interval: check.interval.filter(|_| has(Field::HealthInterval)),
            timeout: check.timeout.filter(|_| has(Field::HealthTimeout)),
            retries: check.retries.filter(|_| has(Field::HealthRetries)),
            start_period: check.start_period.filter(|_| has(Field::HealthStartPeriod)),
            start_interval: check.start_interval.filter(|_| has(Field::HealthStartInterval)),
        };
        (own != HealthConfig::default()).then_some(own)
    }
}

fn name(inspected: &ContainerInspectResponse) -> &str {
    inspected.name.as_deref().unwrap_or_default().trim_start_matches('/')
}
