//! What is true of the fake's containers, whatever anybody has seen of it.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::clock::date;
use super::{Answer, FakeEngine};
use crate::config::labels::{INTERNAL_PREFIX, PREFIX};
use crate::engine::State;

/// What is true of one container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Truth {
    /// Its ID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `cutover.service`.
    pub service: String,
    /// The ID of its image.
    pub image: String,
    /// A rollout has made it.
    pub made: bool,
    /// What it does.
    pub state: State,
    /// It answers well, and nobody has told it to stop.
    pub ready: bool,
}

impl FakeEngine {
    /// Every container, by ID.
    pub(crate) fn truths(&self) -> Vec<Truth> {
        let host = self.advanced();
        let all = host.workloads.values().map(|workload| {
            let label = |name: String| {
                let labels = workload.spec.body.labels.as_ref();
                labels.and_then(|labels| labels.get(&name)).cloned()
            };
            let address: Option<IpAddr> = workload.networks.values().find_map(|address| *address);
            let answer = address.map(|address| host.answer(address));
            let well = matches!(answer, Some(Answer::Status { status: 0..=399, .. }));
            Truth {
                id: workload.id.clone(),
                name: workload.name.clone(),
                service: label(format!("{PREFIX}service")).unwrap_or_default(),
                image: workload.image_id.clone(),
                made: label(format!("{INTERNAL_PREFIX}rollout")).is_some(),
                state: workload.state,
                ready: well && !workload.told_to_stop,
            }
        });
        all.collect()
    }

    /// Whether the engine's own process answers, and nobody waits in vain for what there is.
    pub(crate) fn can_be_seen(&self) -> bool {
        self.host().up && self.shared.unseen.load(Ordering::Relaxed) == 0
    }

    /// Whether a container has a process.
    pub(crate) fn runs(&self, id: &str) -> bool {
        self.advanced().workloads.get(id).is_some_and(super::workload::Workload::runs)
    }

    /// The ID of the image that has a name now.
    pub(crate) fn image_id(&self, reference: &str) -> Option<String> {
        self.host().images.find(reference).map(|image| image.id.clone())
    }

    /// Time since the engine's start.
    pub(crate) fn now(&self) -> Duration {
        self.shared.clock.now()
    }

    /// The time of day on its host.
    pub(crate) fn date(&self) -> SystemTime {
        date(self.now())
    }

    /// Waits until anything may have changed.
    pub(crate) async fn changed(&self) {
        self.shared.changed.notified().await;
    }
}
