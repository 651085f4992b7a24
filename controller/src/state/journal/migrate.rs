//! From older versions of the journal to today's. Pure.

use std::collections::{BTreeMap, BTreeSet};

use cutover_api::{Report, Weights};
use cutover_proxy::table::{Color, Generation, Pause, ServiceName};
use serde::Deserialize;
use serde_json::Value;

use super::{Intent, Journal};
use crate::state::history::{Entry, Release};
use crate::state::membership::{Membership, Stored};
use crate::state::service::ServiceState;

/// The version that has no hosts, no slots, and a copy of a rollout in each of its services.
pub(super) const V1: &str = "1";

/// A journal of version 1.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct JournalV1 {
    edge: String,
    generation: Generation,
    services: BTreeMap<ServiceName, ServiceV1>,
    intent: Option<BTreeMap<ServiceName, Weights>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ServiceV1 {
    weights: Option<Weights>,
    forced: BTreeSet<Color>,
    pause: Option<Pause>,
    rollout: Option<Value>,
    roster: Stored,
    history: Vec<Value>,
}

/// One service's part of a rollout of version 1, as far as it matters afterwards.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PartV1 {
    service: String,
    revision: u64,
    to: Option<Color>,
    replicas: Vec<ReplicaV1>,
    displaced: Vec<String>,
    both: Option<Weights>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReplicaV1 {
    id: Option<String>,
    /// Empty where a rollout back has found the container running.
    candidate: String,
}

/// The same in today's form.
pub(super) fn from_v1(v1: JournalV1) -> Journal {
    let intent = v1.intent.unwrap_or_default();
    let services = v1.services.into_iter().map(|(name, service)| {
        let serves = intent.get(&name).copied().or(service.weights);
        let parts = service.rollout.as_ref().map(parts_v1).unwrap_or_default();
        let mut state = ServiceState::default();
        state.weights = service.weights;
        state.forced = service.forced;
        state.pause = service.pause;
        state.members = Membership::restore(service.roster);
        for part in parts.iter().filter(|part| part.service == name.as_str()) {
            end_rollout(part, serves, &mut state.members);
        }
        (name, state.with_history(service.history.into_iter().filter_map(entry_v1).collect()))
    });
    Journal {
        edge: v1.edge,
        generation: v1.generation,
        services: services.collect(),
        intent: (!intent.is_empty()).then(|| {
            intent.into_iter().map(|(name, weights)| (name, Intent::new(weights, false))).collect()
        }),
        ..Journal::default()
    }
}

/// A rollout that the older version left in the middle ends where it is: if its color serves it is
/// done, else its containers are stopped and what they had displaced is back.
fn end_rollout(part: &PartV1, serves: Option<Weights>, members: &mut Membership) {
    let Some(to) = part.to else { return };
    members.give_out(part.revision);
    if serves.is_some_and(|weights| weights.serves(to)) {
        members.set_revision(to, Some(part.revision));
    } else if part.both.is_none() {
        let made = part.replicas.iter().filter(|replica| !replica.candidate.is_empty());
        let made: Vec<_> = made.filter_map(|replica| replica.id.clone()).collect();
        members.dismiss(&[], &part.displaced);
        members.displace(&made);
        members.park(&made);
    }
}

fn parts_v1(record: &Value) -> Vec<PartV1> {
    let parts = record.get("parts").and_then(Value::as_array).into_iter().flatten();
    parts.filter_map(|part| PartV1::deserialize(part).ok()).collect()
}

/// Its release stood within its report. What cannot be read is dropped: it is only shown.
fn entry_v1(report: Value) -> Option<Entry> {
    let release = report.get("release").and_then(|release| Release::deserialize(release).ok());
    Some(Entry::new(Report::deserialize(report).ok()?, release))
}

#[cfg(test)]
mod tests;
