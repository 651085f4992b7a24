//! What the journal knows of a rollout: enough to finish or undo it after a crash.

pub(super) use cutover_api::Kind;
use cutover_proxy::table::{Color, ServiceName};
use serde::{Deserialize, Serialize};

use super::actions::Millis;
use super::machine::Rollout;
use super::pair::Pair;
use super::phase::Phase;
use crate::config::OnFailure;
use crate::engine::{PullPolicy, Spec};
use crate::state::weights::Weights;

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
    /// What follows, where both colors serve.
    #[serde(default)]
    pub pair: Pair,
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
#[derive(Clone, Debug, Deserialize, Serialize)]
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
