//! What the journal knows of a rollout: enough to finish or undo it after a crash.

use std::collections::BTreeMap;

use cutover_api::Kind;
use cutover_api::Weights;
use cutover_proxy::table::{Color, ServiceName};
use cutover_rollout::{Millis, Rollout, Set, Side};
use serde::{Deserialize, Serialize};

use crate::config::OnFailure;
use crate::engine::{PullPolicy, Spec};
use crate::state::counted::Counted;
use crate::state::drains::DrainEnd;
use crate::state::history::Release;

/// One rollout, as it stands.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Record {
    /// Which rollout; never used twice.
    pub id: String,
    /// What kind of rollout it is.
    pub kind: Kind,
    /// When it began, RFC 3339.
    pub at: String,
    /// Who asked.
    pub by: String,
    /// The machine's clock when this was written.
    pub clock: Millis,
    /// The same moment in milliseconds since 1970: what has passed until a restart counts.
    pub written_ms: u64,
    /// The order of it, and where it stands.
    pub machine: Rollout,
    /// What it changes: one part per service, or where both of its colors serve one per color.
    pub parts: Vec<Part>,
    /// What the services had counted when it began, and at the last flip.
    #[serde(default)]
    pub figures: BTreeMap<ServiceName, Baseline>,
    /// How the drains that are over have ended.
    #[serde(default)]
    pub drained: BTreeMap<ServiceName, DrainEnd>,
}

/// What a service had counted at the moments that a judgement compares.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Baseline {
    /// When the rollout began.
    pub before: Counted,
    /// At its last flip.
    pub at_flip: Counted,
}

/// What a rollout changes of one color of a service: the containers to come, and those that they
/// replace. How it is rolled out, and in what time, is a [`cutover_rollout::RolloutService`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Part {
    /// The service.
    pub service: ServiceName,
    /// When it is its turn; see [`cutover_rollout::Step::batch`].
    #[serde(default)]
    pub batch: usize,
    /// The number of the release.
    pub revision: u64,
    /// The color that served, or where both do, the other one.
    pub from: Color,
    /// The color that is to serve.
    pub to: Color,
    /// The image as it was asked for.
    pub image: String,
    /// What it was pinned to.
    pub digest: Option<String>,
    /// The ID of the image.
    pub image_id: Option<String>,
    /// When to ask the registry.
    pub pull: PullPolicy,
    /// Those to come, or those that are there already.
    pub replicas: Vec<Replica>,
    /// IDs of the containers that served.
    pub old: Vec<String>,
    /// IDs of the containers that were in the color that is to serve.
    pub displaced: Vec<String>,
    /// Whether containers name their color themselves: then the old ones stay, stopped, as what the
    /// next release is copied from.
    pub labelled: bool,
    /// Stopped containers of former releases that are kept.
    pub retain: usize,
    /// What becomes of a failed candidate.
    pub keep_failed: bool,
    /// The new containers were found and not made by us: what becomes of them if they fail, where
    /// the config says anything.
    #[serde(default)]
    pub found: Option<Found>,
    /// How long a candidate must stay ready.
    pub min_ready_ms: u64,
    /// Where both colors serve: the shares that they have now and are to have in the end.
    #[serde(default)]
    pub both: Option<Weights>,
}

/// What becomes of containers that somebody else has started, should they fail.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Found {
    /// They are left as they are, idle: who started them may want to look.
    Left,
    /// As those that we have made.
    Stopped,
}

/// One container to come.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Replica {
    /// The container it is a copy of.
    pub template: String,
    /// The name it has in the end.
    pub name: String,
    /// Its number within its compose service.
    #[serde(default)]
    pub number: Option<i64>,
    /// The name it has until then.
    pub candidate: String,
    /// Its ID, once it is there.
    pub id: Option<String>,
    /// What it is made of.
    pub spec: Option<Spec>,
}

impl Record {
    /// All its services, each once.
    #[must_use]
    pub(crate) fn services(&self) -> Vec<ServiceName> {
        self.machine.services().iter().map(|service| service.name.clone()).collect()
    }

    /// The parts whose turn a batch is.
    pub(crate) fn batch(&self, batch: usize) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(move |part| part.batch == batch)
    }

    /// The part that a set belongs to.
    #[must_use]
    pub(crate) fn part(&self, set: &Set) -> Option<&Part> {
        self.parts.iter().find(|part| part.service == set.service && part.batch == set.batch)
    }

    /// The same, to be changed.
    pub(crate) fn part_mut(&mut self, set: &Set) -> Option<&mut Part> {
        self.parts.iter_mut().find(|part| part.service == set.service && part.batch == set.batch)
    }

    /// What a report on a service is about: the part that it has come to.
    #[must_use]
    pub(crate) fn reached(&self, service: &ServiceName) -> Option<&Part> {
        let ours = || self.parts.iter().filter(|part| part.service == *service);
        let come_to = self.machine.flipped().min(1);
        ours().rfind(|part| part.batch <= come_to).or_else(|| ours().next())
    }

    /// The release that it brings to a service, of both colors where both serve.
    #[must_use]
    pub(crate) fn release(&self, part: &Part) -> Release {
        let mut release = part.release();
        let ours = self.parts.iter().filter(|other| other.service == part.service);
        for part in ours.filter(|part| part.both.is_some()) {
            release.both.insert(part.to, part.release().specs);
        }
        release
    }
}

impl Part {
    /// The new or the old set of it.
    #[must_use]
    pub(crate) fn set(&self, side: Side) -> Set {
        Set { service: self.service.clone(), batch: self.batch, side }
    }

    /// The containers that the new ones replace.
    #[must_use]
    pub(crate) fn replaced(&self) -> &[String] {
        if self.both.is_some() { &self.displaced } else { &self.old }
    }

    /// What a registry knows the image by, if one does.
    #[must_use]
    pub(crate) fn registry_digest(&self) -> Option<&str> {
        self.digest.as_deref().filter(|digest| digest.contains('@'))
    }

    /// That the image of a former release can be had from nowhere.
    #[must_use]
    pub(crate) fn lost(&self) -> String {
        format!(
            "the image that was {} then is not on this host any more, and no registry has it",
            self.image
        )
    }

    /// IDs of the new containers, as far as they are there.
    #[must_use]
    pub(crate) fn new_ids(&self) -> Vec<String> {
        self.replicas.iter().filter_map(|replica| replica.id.clone()).collect()
    }

    /// What becomes of a failed candidate, by the config.
    #[must_use]
    pub(crate) fn keeps_failed(on_failure: OnFailure, compose: bool) -> bool {
        match on_failure {
            OnFailure::KeepUnlessCompose => !compose,
            OnFailure::Keep => true,
            OnFailure::Remove => false,
        }
    }

    /// What it takes to have the new containers again.
    fn release(&self) -> Release {
        Release {
            image: self.image.clone(),
            digest: self.digest.clone(),
            image_id: self.image_id.clone(),
            specs: self.replicas.iter().filter_map(|replica| replica.spec.clone()).collect(),
            both: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use cutover_rollout::{Limits, Origin, RolloutService, Strategy};

    use super::*;

    /// One service of a rollout to green that has nothing to do.
    pub(crate) fn part(service: &ServiceName) -> Part {
        Part {
            service: service.clone(),
            batch: 0,
            revision: 1,
            from: Color::Blue,
            to: Color::Green,
            image: "app".into(),
            digest: None,
            image_id: None,
            pull: PullPolicy::Never,
            replicas: Vec::new(),
            old: Vec::new(),
            displaced: Vec::new(),
            labelled: false,
            retain: 0,
            keep_failed: true,
            found: None,
            min_ready_ms: 0,
            both: None,
        }
    }

    /// A rollout of these services that has not begun.
    pub(crate) fn record(id: &str, services: &[&ServiceName], limits: Limits) -> Record {
        let blue_green = |service: &&ServiceName| RolloutService {
            name: (*service).clone(),
            strategy: Strategy::BlueGreen,
            limits,
        };
        let of_rollout = services.iter().map(blue_green).collect();
        Record {
            id: id.into(),
            kind: Kind::Deploy,
            at: String::new(),
            by: String::new(),
            clock: Millis(1),
            written_ms: 0,
            machine: Rollout::new(of_rollout, Origin::Running, Millis(1)),
            parts: services.iter().map(|service| part(service)).collect(),
            figures: BTreeMap::new(),
            drained: BTreeMap::new(),
        }
    }
}
