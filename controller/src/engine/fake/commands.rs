//! What people do with `docker` and `docker compose` by hand. Each is done at once.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, NetworkConnectRequest, NetworkingConfig,
    RestartPolicy, RestartPolicyNameEnum,
};

use super::network::Network;
use super::{FakeEngine, FakeImage};
use crate::engine::container::Container;
use crate::engine::docker::read;
use crate::engine::{Signal, Spec, State};

/// `docker run`: what of it matters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    /// Its name.
    pub name: String,
    /// Its image, which must be there.
    pub image: String,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// Variables, as `NAME=value`.
    pub env: Vec<String>,
    /// Networks; none is `bridge`. They are made where they are missing.
    pub networks: Vec<String>,
    /// Whether the engine starts it again when it ends by itself.
    pub restart: bool,
    /// What stops it.
    pub stop_signal: Option<String>,
    /// From that to SIGKILL.
    pub grace: Option<Duration>,
}

impl FakeEngine {
    /// Adds an image to the host.
    pub(crate) fn add_image(&self, name: &str, image: FakeImage) -> String {
        self.host().images.add(name, image)
    }

    /// Removes an image from the host, whatever was made from it.
    pub(crate) fn remove_image(&self, reference: &str) {
        let mut host = self.host();
        if let Some(id) = host.images.find(reference).map(|image| image.id.clone()) {
            host.images.remove(&id);
        }
    }

    /// Adds an image to the registry, to be pulled.
    pub(crate) fn publish(&self, name: &str, image: FakeImage) -> String {
        self.host().registry.add(name, image)
    }

    /// Creates a container without starting it.
    pub(crate) fn create_by_hand(&self, run: &Run) -> String {
        let names = match run.networks.as_slice() {
            [] => vec!["bridge".to_owned()],
            names => names.to_vec(),
        };
        let mut host = self.advanced();
        for name in &names {
            let nth = u8::try_from(host.networks.len()).unwrap();
            host.networks.entry(name.clone()).or_insert_with(|| Network::new(nth));
        }
        let policy = RestartPolicy {
            name: run.restart.then_some(RestartPolicyNameEnum::ALWAYS),
            maximum_retry_count: None,
        };
        let first = HashMap::from([(names[0].clone(), EndpointSettings::default())]);
        let body = ContainerCreateBody {
            image: Some(run.image.clone()),
            labels: Some(run.labels.iter().cloned().collect()),
            env: Some(run.env.clone()),
            stop_signal: run.stop_signal.clone(),
            stop_timeout: run.grace.map(|grace| grace.as_secs().try_into().unwrap()),
            host_config: Some(HostConfig {
                network_mode: Some(names[0].clone()),
                restart_policy: Some(policy),
                ..HostConfig::default()
            }),
            networking_config: Some(NetworkingConfig { endpoints_config: Some(first) }),
            ..ContainerCreateBody::default()
        };
        let more =
            names.iter().skip(1).map(|name| (name.clone(), NetworkConnectRequest::default()));
        let spec = Spec { body, networks: more.collect(), files: Vec::new() };
        host.create(&run.name, spec).unwrap()
    }

    /// Creates and starts a container.
    pub(crate) fn run_by_hand(&self, run: &Run) -> String {
        let id = self.create_by_hand(run);
        self.start_by_hand(&id);
        id
    }

    /// `docker start`.
    pub(crate) fn start_by_hand(&self, id: &str) {
        self.by_hand(id, |host, id| host.start(id));
    }

    /// `docker stop`: begins; it ends when its program does, or after its grace.
    pub(crate) fn stop_by_hand(&self, id: &str) {
        self.by_hand(id, |host, id| host.stop(id));
    }

    /// `docker kill -s SIGNAL`.
    pub(crate) fn kill(&self, id: &str, signal: &str) {
        let signal = Signal::parse(signal).unwrap();
        self.by_hand(id, |host, id| host.signal(id, signal));
    }

    /// Its program ends by itself.
    pub(crate) fn crash(&self, id: &str, code: i64) {
        self.by_hand(id, |host, id| host.end(id, code));
    }

    /// `docker rm -f`.
    pub(crate) fn remove_by_hand(&self, id: &str) {
        self.by_hand(id, |host, id| {
            host.signal(id, Signal::KILL);
            host.remove(id);
        });
    }

    /// `docker rename`.
    pub(crate) fn rename_by_hand(&self, id: &str, name: &str) {
        self.by_hand(id, |host, id| {
            if let Some(workload) = host.find_mut(id) {
                name.clone_into(&mut workload.name);
            }
            host.look_at(id);
        });
    }

    /// `docker pause` and `docker unpause`.
    pub(crate) fn pause(&self, id: &str, paused: bool) {
        self.by_hand(id, |host, id| {
            if let Some(workload) = host.find_mut(id).filter(|workload| workload.runs()) {
                workload.state = if paused { State::Paused } else { State::Running };
            }
            host.look_at(id);
        });
    }

    /// `docker network disconnect`.
    pub(crate) fn disconnect(&self, id: &str, network: &str) {
        self.by_hand(id, |host, id| host.leave(id, network));
    }

    /// `docker network connect`.
    pub(crate) fn connect(&self, id: &str, network: &str) {
        self.by_hand(id, |host, id| host.join(id, network));
    }

    /// What there is, whether the engine answers or not.
    pub(crate) fn snapshot(&self) -> Vec<Container> {
        let host = self.advanced();
        host.workloads
            .values()
            .filter_map(|w| read::container(super::inspect::inspect(w)))
            .collect()
    }

    fn by_hand(&self, id: &str, act: impl FnOnce(&mut super::host::Host, &str)) {
        let mut host = self.advanced();
        let found = host.find(id).map(|workload| workload.id.clone());
        let id = found.unwrap_or_else(|| panic!("there is no container {id}"));
        act(&mut host, &id);
        drop(host);
        self.shared.changed.notify_waiters();
    }
}
