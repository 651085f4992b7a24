//! The fake as an [`Engine`]: each call passes its crash points and meets its faults.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::faults::{Call, Fault};
use super::host::{DOWN, Host};
use super::workload::Workload;
use super::{CALL, FakeEngine, inspect, refused};
use crate::config::labels;
use crate::engine::container::Wellness;
use crate::engine::docker::read;
use crate::engine::drained::Drained;
use crate::engine::{
    Blueprint, Changes, Container, Engine, EngineError, EngineVersion, Image, Listing,
    PullProgress, Spec, State, WorkloadId,
};
use crate::registry::Login;

impl FakeEngine {
    /// Carries a call out. What changes something passes a crash point before and one after; what
    /// only asks has one, as a crash after it is a crash before the next.
    async fn call<T>(
        &self,
        call: Call,
        target: &str,
        act: impl FnOnce(&mut Host) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        self.shared.points.point(format!("{call:?} {target}")).await;
        let fault = self.faults().next(call, target);
        let name = call.name();
        let hung_up = || EngineError::Unavailable { call: name, source: "hung up".into() };
        match &fault {
            Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
            Some(Fault::Fail) => return Err(hung_up()),
            Some(Fault::Hang) => return Err(self.hang(call).await),
            Some(Fault::Refuse(status, message)) => return Err(refused(name, *status, *message)),
            Some(Fault::Kill(container)) => self.kill(container, "KILL"),
            Some(Fault::FailAfter | Fault::HangAfter) | None => {}
        }
        let outcome = {
            let mut host = self.advanced();
            match host.up {
                true => act(&mut host),
                false => Err(EngineError::Unavailable { call: name, source: DOWN.into() }),
            }
        };
        self.shared.changed.notify_waiters();
        match &fault {
            Some(Fault::FailAfter) => return Err(hung_up()),
            Some(Fault::HangAfter) => return Err(self.hang(call).await),
            _ => {}
        }
        if call.changes() {
            self.shared.points.point(format!("{call:?} {target}: done")).await;
        }
        outcome
    }

    async fn hang(&self, call: Call) -> EngineError {
        let _unseen = (call == Call::List).then(|| Unseen::new(&self.shared.unseen));
        tokio::time::sleep(CALL).await;
        EngineError::Timeout { call: call.name(), after: CALL }
    }

    /// Waits until a container that was told to stop has ended.
    async fn until_ended(&self, id: &str, limit: Duration) -> Result<(), EngineError> {
        let ended = async {
            loop {
                let changed = self.shared.changed.notified();
                if !self.advanced().find(id).is_some_and(Workload::runs) {
                    return;
                }
                changed.await;
            }
        };
        let ended = tokio::time::timeout(limit, ended).await;
        ended.map_err(|_| EngineError::Timeout { call: "stop", after: limit })
    }
}

/// While it lives the controller cannot see what there is.
struct Unseen<'a>(&'a AtomicUsize);

impl<'a> Unseen<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Unseen<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Host {
    /// Creates a container; its name is free, or an error.
    pub(super) fn create(&mut self, name: &str, spec: Spec) -> Result<String, EngineError> {
        if self.workloads.values().any(|workload| workload.name == name) {
            return Err(refused("create", 409, format!("the name {name} is in use")));
        }
        let reference = spec.body.image.clone().unwrap_or_default();
        let Some(image) = self.images.find(&reference).cloned() else {
            return Err(refused("create", 404, format!("No such image: {reference}")));
        };
        let first = spec.body.networking_config.as_ref();
        let first = first.and_then(|config| config.endpoints_config.as_ref());
        let first = first.into_iter().flat_map(|networks| networks.keys());
        let names: Vec<_> = first.chain(spec.networks.iter().map(|(name, _)| name)).collect();
        if let Some(missing) = names.iter().find(|name| !self.networks.contains_key(**name)) {
            return Err(refused("create", 404, format!("network {missing} not found")));
        }
        let networks = names.into_iter().map(|name| (name.clone(), None)).collect();
        self.last_id += 1;
        let id = format!("{:012x}{:052x}", self.last_id, 0);
        let workload = Workload {
            id: id.clone(),
            name: name.to_owned(),
            spec,
            image_id: image.id.clone(),
            image: image.config,
            behaviour: image.behaviour,
            // Two are never created at the same time.
            created: self.now + Duration::from_nanos(self.last_id),
            started: None,
            state: State::Created,
            wellness: Wellness::Unchecked,
            restarts: 0,
            exit_code: 0,
            networks,
            epoch: 0,
            told_to_stop: false,
        };
        self.workloads.insert(id.clone(), workload);
        self.look_at(&id);
        Ok(id)
    }

    fn image(&self, reference: &str) -> Option<Image> {
        self.images.find(reference).map(super::FakeImage::seen)
    }

    fn no_such(call: &'static str, id: &str) -> EngineError {
        refused(call, 404, format!("No such container: {id}"))
    }
}

fn seen(workload: &Workload) -> Option<Container> {
    read::container(inspect::inspect(workload))
}

#[async_trait]
impl Engine for FakeEngine {
    fn is_there(&self) -> bool {
        true
    }

    async fn version(&self) -> Result<EngineVersion, EngineError> {
        let said = EngineVersion { version: "fake".into(), api_version: "1.41".into() };
        self.call(Call::Version, "", |_| Ok(said)).await
    }

    async fn list(&self) -> Result<Listing, EngineError> {
        self.call(Call::List, "", |host| {
            let all = host.workloads.values().filter_map(seen);
            let ours = |c: &Container| c.labels.keys().any(|key| key.starts_with(labels::PREFIX));
            Ok(Listing { containers: all.filter(ours).collect(), unanswered: Vec::new() })
        })
        .await
    }

    async fn inspect(&self, id: &str) -> Result<Option<Container>, EngineError> {
        self.call(Call::Inspect, id, |host| Ok(host.find(id).and_then(seen))).await
    }

    async fn blueprint(&self, id: &str) -> Result<Blueprint, EngineError> {
        self.call(Call::Blueprint, id, |host| {
            let workload = host.find(id).ok_or_else(|| Host::no_such("inspect", id))?;
            let image = host.images.find(&workload.image_id).map(|image| image.config.clone());
            Blueprint::read(inspect::inspect(workload), image.ok_or(true))
        })
        .await
    }

    async fn image(&self, reference: &str) -> Result<Option<Image>, EngineError> {
        self.call(Call::Image, reference, |host| Ok(host.image(reference))).await
    }

    async fn registry_has(&self, reference: &str, _: Option<Login>) -> Result<(), EngineError> {
        self.call(Call::RegistryHas, reference, |host| match host.registry.find(reference) {
            Some(_) => Ok(()),
            None => Err(refused(Call::RegistryHas.name(), 404, "manifest unknown")),
        })
        .await
    }

    async fn pull(
        &self,
        reference: &str,
        _: Option<Login>,
        progress: &mut (dyn FnMut(PullProgress) + Send),
    ) -> Result<Image, EngineError> {
        let pulled = self.call(Call::Pull, reference, |host| {
            let Some(image) = host.registry.find(reference).cloned() else {
                return Err(refused(Call::Pull.name(), 404, "manifest unknown"));
            };
            let seen = image.seen();
            host.images.add(reference, image);
            Ok(seen)
        });
        let image = pulled.await?;
        progress(PullProgress { bytes: image.bytes, total: image.bytes });
        Ok(image)
    }

    async fn create(&self, name: &str, spec: Spec) -> Result<WorkloadId, EngineError> {
        self.call(Call::Create, name, |host| {
            let there = host.workloads.values().find(|workload| workload.name == name);
            if let Some(there) = spec.adopt(name, there.and_then(seen))? {
                return Ok(there.id);
            }
            host.create(name, spec).map(WorkloadId::local)
        })
        .await
    }

    async fn start(&self, id: &str) -> Result<(), EngineError> {
        self.call(Call::Start, id, |host| {
            let found = host.find(id).map(|workload| workload.id.clone());
            host.start(&found.ok_or_else(|| Host::no_such("start", id))?);
            Ok(())
        })
        .await
    }

    async fn stop(&self, id: &str, _: &Drained) -> Result<(), EngineError> {
        let grace = self.call(Call::Stop, id, |host| {
            let Some(workload) = host.find(id) else { return Ok(None) };
            let (id, grace) = (workload.id.clone(), workload.grace());
            host.stop(&id);
            Ok(Some(grace))
        });
        match grace.await? {
            Some(grace) => self.until_ended(id, grace + CALL).await,
            None => Ok(()),
        }
    }

    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        self.call(Call::Remove, id, |host| {
            let Some(workload) = host.find(id) else { return Ok(()) };
            if workload.runs() || workload.state == State::Restarting {
                return Err(refused("remove", 409, "You cannot remove a running container"));
            }
            let id = workload.id.clone();
            host.remove(&id);
            Ok(())
        })
        .await
    }

    async fn rename(&self, id: &str, name: &str) -> Result<(), EngineError> {
        self.call(Call::Rename, id, |host| {
            if host.workloads.values().any(|workload| workload.name == name) {
                return Err(refused("rename", 409, format!("the name {name} is in use")));
            }
            let workload = host.find_mut(id).ok_or_else(|| Host::no_such("rename", id))?;
            name.clone_into(&mut workload.name);
            let id = workload.id.clone();
            host.look_at(&id);
            Ok(())
        })
        .await
    }

    async fn last_words(&self, id: &str) -> Result<Vec<String>, EngineError> {
        self.call(Call::LastWords, id, |host| {
            let workload = host.find(id).ok_or_else(|| Host::no_such("logs", id))?;
            Ok(vec![format!("last words of {}", workload.name)])
        })
        .await
    }

    fn changes(&self) -> Changes {
        self.advanced().watch()
    }
}
