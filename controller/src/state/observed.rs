//! What has been observed of containers: the last that Docker said of each, and who was told to end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cutover_proxy::table::ServiceName;
use tokio::time::Instant;

use crate::config::ServiceConfig;
use crate::config::labels::{LabelErrors, Labels};
use crate::engine::{Container, State, Transition, WorkloadId};
use crate::state::classify::EdgeNetwork;

/// One container with labels of ours.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Workload {
    /// As Docker shows it.
    pub container: Container,
    /// What its labels say, or all that is wrong with them.
    pub labels: Result<Labels, LabelErrors>,
    /// Its settings: its labels over those of the config file.
    pub settings: Arc<ServiceConfig>,
}

impl Workload {
    /// Reads its labels. `None` is a container that is none of our business.
    #[must_use]
    pub(crate) fn read(
        container: Container,
        services: &BTreeMap<ServiceName, ServiceConfig>,
    ) -> Option<Self> {
        let labels = container.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let labels = Labels::parse(labels).transpose()?;
        let mut workload = Self { container, labels, settings: Arc::default() };
        workload.settle(services);
        Some(workload)
    }

    /// Whether it has an address to be reached at.
    #[must_use]
    pub(crate) fn runs(&self) -> bool {
        matches!(self.container.state, State::Running | State::Paused)
    }

    fn settle(&mut self, services: &BTreeMap<ServiceName, ServiceConfig>) {
        if let Ok(labels) = &self.labels {
            let unconfigured = ServiceConfig::default();
            let base = services.get(&labels.service).unwrap_or(&unconfigured);
            self.settings = labels.over(base).into();
        }
    }
}

/// All that has been observed. Changed by the discovery as the engine tells; read by the
/// classification.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    /// Where we are; `None` until all containers have been looked at once.
    pub network: Option<EdgeNetwork>,
    /// The compose project that we are in ourselves.
    pub project: Option<String>,
    workloads: BTreeMap<WorkloadId, Workload>,
    /// Containers that were told to end, and until when that is believed.
    doomed: BTreeMap<WorkloadId, Instant>,
    /// How many transitions there have been.
    transitions: u64,
    /// Which was the last of a container: a look that was begun before it says nothing about it.
    moved: BTreeMap<WorkloadId, u64>,
}

impl Observed {
    /// Every container of ours.
    pub(crate) fn workloads(&self) -> impl Iterator<Item = &Workload> {
        self.workloads.values()
    }

    /// Those whose labels cannot be read.
    pub(crate) fn unreadable(&self) -> impl Iterator<Item = &Workload> {
        self.workloads.values().filter(|workload| workload.labels.is_err())
    }

    /// The containers of one service.
    pub(crate) fn of<'s>(&'s self, service: &ServiceName) -> impl Iterator<Item = &'s Workload> {
        let ours = move |workload: &&Workload| {
            workload.labels.as_ref().is_ok_and(|labels| labels.service == *service)
        };
        self.workloads.values().filter(ours)
    }

    /// How many transitions there have been: whoever looks asks this before.
    #[must_use]
    pub(crate) fn transitions(&self) -> u64 {
        self.transitions
    }

    /// Replaces all; those of `unanswered` stay as they were known, and so do those to which something
    /// has happened since the look was `begun`: they are looked at again. Gives those that are no
    /// more.
    pub(crate) fn replace(
        &mut self,
        containers: Vec<Container>,
        unanswered: &[WorkloadId],
        services: &BTreeMap<ServiceName, ServiceConfig>,
        begun: u64,
    ) -> BTreeSet<String> {
        let mut before = std::mem::take(&mut self.workloads);
        for container in containers {
            let known =
                before.remove(&container.id).filter(|_| self.has_moved(&container.id, begun));
            let found = known.or_else(|| Workload::read(container, services));
            self.workloads.extend(found.map(|found| (found.container.id.clone(), found)));
        }
        for id in unanswered {
            self.workloads.extend(before.remove(id).map(|known| (id.clone(), known)));
        }
        let gone: BTreeSet<_> = before.into_keys().collect();
        for id in &gone {
            self.doomed.remove(id);
            self.moved.remove(id);
        }
        gone.into_iter().map(String::from).collect()
    }

    /// Takes note of what one container is now; `None` is no more. Says whether it was known and has
    /// gone.
    pub(crate) fn update(
        &mut self,
        id: &WorkloadId,
        container: Option<Container>,
        services: &BTreeMap<ServiceName, ServiceConfig>,
        begun: u64,
    ) -> bool {
        match container.and_then(|container| Workload::read(container, services)) {
            Some(_) if self.has_moved(id, begun) && self.workloads.contains_key(id) => false,
            Some(workload) => {
                self.workloads.insert(id.clone(), workload);
                false
            }
            None => {
                self.doomed.remove(id);
                self.moved.remove(id);
                self.workloads.remove(id).is_some()
            }
        }
    }

    /// Whether something has happened to a container since a look was begun.
    #[must_use]
    pub(crate) fn has_moved(&self, id: &WorkloadId, begun: u64) -> bool {
        self.moved.get(id).is_some_and(|moved| *moved > begun)
    }

    /// Takes note of what has happened to a container. Gives its name where it can serve no longer.
    pub(crate) fn happened(
        &mut self,
        id: &WorkloadId,
        transition: &Transition,
        now: Instant,
    ) -> Option<String> {
        let container = &mut self.workloads.get_mut(id)?.container;
        match transition {
            Transition::Signalled(signal) => {
                if !signal.ends(container.stop_signal.as_deref()) {
                    return None;
                }
                self.doomed.insert(id.clone(), now + container.stop_grace + BELIEVED);
                return Some(container.name.clone());
            }
            Transition::Started => {
                self.doomed.remove(id);
            }
            Transition::Ended => {
                self.doomed.remove(id);
                container.state = State::Stopped;
            }
            Transition::Left(network) => {
                container.networks.remove(network);
            }
        }
        self.transitions += 1;
        self.moved.insert(id.clone(), self.transitions);
        (*transition != Transition::Started).then(|| container.name.clone())
    }

    /// Whether a container was told to end and may still do so.
    #[must_use]
    pub(crate) fn is_doomed(&self, id: &WorkloadId) -> bool {
        self.doomed.contains_key(id)
    }

    /// Takes back those that were told to end, have outlived that, and are ready again. Says
    /// whether there are any.
    pub(crate) fn take_back(&mut self, now: Instant, ready: &BTreeSet<String>) -> bool {
        let before = self.doomed.len();
        self.doomed.retain(|id, until| now < *until || !ready.contains(id.as_str()));
        self.doomed.len() < before
    }

    /// When to look next whether a container has outlived what it was told.
    #[must_use]
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.doomed.values().min().copied()
    }

    /// The config file has other services now.
    pub(crate) fn reread(&mut self, services: &BTreeMap<ServiceName, ServiceConfig>) {
        for workload in self.workloads.values_mut() {
            workload.settle(services);
        }
    }
}

/// How long after its grace a container that was told to end, and did not, is taken back.
const BELIEVED: Duration = Duration::from_secs(5);
