//! What must survive a crash: which color serves, which containers are of which color, what was
//! about to change that, the rollouts under way, and the history.
//!
//! Plain data. [`codec`] makes bytes of it and reads them, [`crate::state::store`] keeps the bytes.

pub mod codec;
mod hosts;
mod migrate;

use std::collections::BTreeMap;
use std::fs;

use cutover_api::Weights;
use cutover_proxy::table::{Color, Generation, ServiceName};
use serde::{Deserialize, Serialize};

pub use self::hosts::{HostOwner, Hosts};
use crate::state::rollout::{Part, Record};
use crate::state::service::ServiceState;

/// Everything the journal holds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Journal {
    /// Who we are among the edges of an engine: what we have made is marked with it.
    pub edge: String,
    /// The last table that is known to have been live.
    pub generation: Generation,
    /// By service; also of services that are not configured at present, for they may come back.
    pub services: BTreeMap<ServiceName, ServiceState>,
    /// Shares that were about to go live. Whether they did is unknown to a reader who finds this:
    /// the flip was decided and is finished at the next start.
    pub intent: Option<BTreeMap<ServiceName, Intent>>,
    /// Which project has which host, with all its paths.
    pub hosts: Hosts,
    /// The rollouts under way, once each however many services they have.
    rollouts: BTreeMap<RolloutId, Record>,
    /// Colors that no longer serve and whose work was not finished.
    drains: Vec<StoredDrain>,
}

/// Shares that are about to go live.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Intent {
    /// Of blue.
    pub blue: u32,
    /// Of green.
    pub green: u32,
    /// The colors that serve then do so whatever their probes say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

impl Intent {
    /// The intent to make these shares live.
    #[must_use]
    pub fn new(weights: Weights, force: bool) -> Self {
        Self { blue: weights.blue, green: weights.green, force }
    }

    /// The shares.
    #[must_use]
    pub fn weights(&self) -> Weights {
        Weights { blue: self.blue, green: self.green }
    }
}

/// Which rollout; never used twice.
pub type RolloutId = String;

/// A drain under way: enough to go on with the time that is left after a crash.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StoredDrain {
    /// The service.
    pub service: ServiceName,
    /// The color that has stopped serving.
    pub color: Color,
    /// The first table without it. With service and color it names the drain.
    pub generation: Generation,
    /// When it stopped serving, in milliseconds since 1970.
    pub since_ms: u64,
    /// How long its requests may go on, in milliseconds.
    pub timeout_ms: u64,
    /// How long its streams may go on, in milliseconds.
    pub streams_ms: u64,
    /// What deadlines of the color had closed before: requests and streams.
    #[serde(default)]
    pub forced_before: Option<(u64, u64)>,
}

impl Journal {
    /// Gives the edge a name that no other has, unless it has one.
    #[must_use]
    pub fn with_edge_name(mut self) -> Self {
        if self.edge.is_empty() {
            let random = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
            random.trim().clone_into(&mut self.edge);
        }
        self
    }

    /// Takes note of shares that are about to go live.
    pub fn intend(&mut self, changes: &[(ServiceName, Weights)], force: bool) {
        let noted =
            changes.iter().map(|(name, weights)| (name.clone(), Intent::new(*weights, force)));
        self.intent.get_or_insert_default().extend(noted);
    }

    /// Whether these shares are noted as about to go live.
    #[must_use]
    pub fn intends(&self, changes: &[(ServiceName, Weights)], force: bool) -> bool {
        let noted = |(service, weights): &(ServiceName, Weights)| {
            let intent = self.intent.as_ref().and_then(|intent| intent.get(service));
            intent == Some(&Intent::new(*weights, force))
        };
        changes.iter().all(noted)
    }

    /// Forgets what was about to go live, of these services.
    pub fn forget_intent(&mut self, changes: &[(ServiceName, Weights)]) {
        if let Some(intent) = &mut self.intent {
            intent.retain(|service, _| !changes.iter().any(|(changed, _)| changed == service));
        }
        self.intent.take_if(|intent| intent.is_empty());
    }

    /// Carries a pending intent out, as a start after a crash does.
    pub fn settle(&mut self) {
        for (service, intent) in self.intent.take().into_iter().flatten() {
            self.service_mut(&service).serve(intent.weights(), intent.force);
        }
    }

    /// What is kept of a service; begins with nothing.
    pub fn service_mut(&mut self, service: &ServiceName) -> &mut ServiceState {
        self.services.entry(service.clone()).or_default()
    }

    /// The rollouts under way.
    pub(crate) fn rollouts(&self) -> impl Iterator<Item = &Record> {
        self.rollouts.values()
    }

    /// The rollouts of a service that are under way, and how each changes it.
    pub(crate) fn rollouts_of(
        &self,
        service: &ServiceName,
    ) -> impl Iterator<Item = (&Record, &Part)> {
        self.rollouts().filter_map(move |record| Some((record, record.reached(service)?)))
    }

    /// The newest rollout of a service that is under way: one before it may still tidy up.
    pub(crate) fn rollout_of(&self, service: &ServiceName) -> Option<(&Record, &Part)> {
        self.rollouts_of(service).max_by_key(|(_, part)| part.revision)
    }

    /// Notes where a rollout stands. Its revisions are given out from then on: another may begin
    /// while it drains, long before it is reported.
    pub(crate) fn put_rollout(&mut self, record: Record) {
        for part in &record.parts {
            self.service_mut(&part.service).members.give_out(part.revision);
        }
        self.rollouts.insert(record.id.clone(), record);
    }

    /// Forgets a rollout that has ended.
    pub fn end_rollout(&mut self, id: &str) {
        self.rollouts.remove(id);
    }

    /// The drains under way.
    #[must_use]
    pub fn drains(&self) -> &[StoredDrain] {
        &self.drains
    }

    /// Notes a drain that begins; one that is noted already keeps its clock.
    pub fn begin_drain(&mut self, drain: StoredDrain) {
        if !self.drains.iter().any(|other| other.is(&drain.service, drain.color, drain.generation))
        {
            self.drains.push(drain);
        }
    }

    /// Forgets a drain that has ended.
    pub fn end_drain(&mut self, service: &ServiceName, color: Color, generation: Generation) {
        self.drains.retain(|drain| !drain.is(service, color, generation));
    }
}

impl StoredDrain {
    /// Whether this names it.
    #[must_use]
    pub fn is(&self, service: &ServiceName, color: Color, generation: Generation) -> bool {
        self.service == *service && self.color == color && self.generation == generation
    }
}

#[cfg(test)]
mod tests;
