//! What the journal knows of a rollout: enough to finish or undo it after a crash.

use cutover_proxy::table::{Color, ServiceName};
use serde::{Deserialize, Serialize};

use super::actions::{Ending, Millis};
use super::machine::{Member, Origin, Rollout};
use super::phase::Phase;
use crate::config::OnFailure;
use crate::containers::{PullPolicy, Spec};
use crate::weights::Weights;

/// One rollout, as it stands.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Record {
    /// Which rollout; unique among those of its services.
    pub id: String,
    /// `deploy` or `rollback`.
    pub kind: Kind,
    /// Where it stands; the machine's, for those who read status.
    pub phase: Phase,
    /// When it began, RFC 3339.
    pub at: String,
    /// Who asked.
    pub by: String,
    /// The machine's clock when this was written.
    pub clock: Millis,
    /// The state machine.
    pub machine: Rollout,
    /// The services.
    pub parts: Vec<Part>,
    /// What follows once this is done: the other color, where both serve.
    #[serde(default)]
    pub then: Vec<Part>,
}

/// What kind of rollout it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// A release that became ready by itself.
    Auto,
    /// A new release.
    Deploy,
    /// One that served before.
    Rollback,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
        }
    }
}

/// One service of a rollout.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Part {
    /// The service.
    pub service: ServiceName,
    /// The number of the release.
    pub revision: u64,
    /// The color that served.
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
    /// How long a candidate must stay ready.
    pub min_ready_ms: u64,
    /// Where both colors serve: the shares that they have now and are to have in the end.
    #[serde(default)]
    pub both: Option<Weights>,
}

/// One container to come.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Replica {
    /// The container it is a copy of.
    pub template: String,
    /// The name it has in the end.
    pub name: String,
    /// The name it has until then.
    pub candidate: String,
    /// Its ID, once it is there.
    pub id: Option<String>,
    /// What it is made of.
    pub spec: Option<Spec>,
}

impl Record {
    /// The rollout of the other color, once this one is done; `now` is the machine's clock.
    #[must_use]
    pub(super) fn follow_up(&self, now: Millis) -> Option<Self> {
        if self.then.is_empty() || self.machine.reported() != Some(Ending::Done) {
            return None;
        }
        let mut parts = self.then.clone();
        for part in &mut parts {
            let Some(first) = self.parts.iter().find(|p| p.service == part.service) else {
                continue;
            };
            part.old = first.new_ids();
            part.image_id.clone_from(&first.image_id);
            part.digest.clone_from(&first.digest);
        }
        let ours = |member: &&Member| parts.iter().any(|part| part.service == member.service);
        let members = self.machine.members().iter().filter(ours).cloned().collect();
        Some(Self {
            id: format!("{}-second", self.id),
            phase: Phase::Plan,
            clock: now,
            machine: Rollout::new(members, Origin::Created, now),
            parts,
            then: Vec::new(),
            ..self.clone()
        })
    }
}

impl Part {
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

    pub(crate) fn keeps_failed(on_failure: OnFailure, compose: bool) -> bool {
        match on_failure {
            OnFailure::KeepUnlessCompose => !compose,
            OnFailure::Keep => true,
            OnFailure::Remove => false,
        }
    }
}
