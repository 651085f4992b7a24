//! Where both colors serve: one is replaced after the other, under one lock and one report, and if
//! the second fails the first is undone. What was one release is one release in the end.

use std::collections::BTreeMap;

use cutover_proxy::table::ServiceName;
use serde::{Deserialize, Serialize};

use super::Tools;
use super::actions::{Ending, Millis, Outcome};
use super::copy::in_place_of;
use super::history::Release;
use super::machine::{Limits, Member, Origin, Rollout};
use super::phase::Phase;
use super::plan::{Plan, image_of};
use super::record::{Part, Record};

/// The other steps of a rollout of both colors.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Pair {
    /// The second: the other colors, and services with one color that flip along with them.
    pub then: Vec<(Part, Limits)>,
    /// What the first colors were.
    pub former: Vec<(ServiceName, Release)>,
    /// The first, once it is done.
    pub first: Vec<Part>,
    /// The first is being undone: why, and what had failed.
    pub undoing: Option<(String, Vec<Part>)>,
}

impl Record {
    /// What follows, once this has ended; `now` is the machine's clock.
    #[must_use]
    pub(super) fn follow_up(&self, now: Millis) -> Option<Self> {
        match self.machine.reported()? {
            Ending::Done => self.second(now),
            Ending::Failed | Ending::Refused | Ending::RolledBack => self.way_back(now),
        }
    }

    fn second(&self, now: Millis) -> Option<Self> {
        let mut pair = self.pair.clone();
        let mut parts = Vec::new();
        let mut members = Vec::new();
        for (mut part, limits) in std::mem::take(&mut pair.then) {
            if let Some(first) = self.parts.iter().find(|first| first.service == part.service) {
                part.old = first.new_ids();
                part.image_id.clone_from(&first.image_id);
                part.digest.clone_from(&first.digest);
            }
            members.push(Member { service: part.service.clone(), passes: 1, limits });
            parts.push(part);
        }
        pair.first.clone_from(&self.parts);
        (!parts.is_empty()).then(|| self.step("second", members, parts, pair, now))
    }

    /// The first colors as they were, in place of what has just been brought in.
    fn way_back(&self, now: Millis) -> Option<Self> {
        if self.pair.undoing.is_some() {
            return None;
        }
        let mut parts = Vec::new();
        let mut members = Vec::new();
        for first in &self.pair.first {
            let service = &first.service;
            let (_, former) = self.pair.former.iter().find(|(of, _)| of == service)?;
            let second = self.parts.iter().find(|part| part.service == *service)?;
            let member = self.machine.members().iter().find(|m| m.service == *service)?;
            members.push(Member {
                limits: Limits { monitor_ms: 0, keep_warm_ms: 0, ..member.limits },
                ..member.clone()
            });
            parts.push(first.in_place_of(former, second.displaced.clone()));
        }
        let reason = self.machine.failure().unwrap_or_default().to_owned();
        let undoing = Some((reason, self.parts.clone()));
        let pair = Pair { undoing, ..Pair::default() };
        (!parts.is_empty()).then(|| self.step("back", members, parts, pair, now))
    }

    fn step(
        &self,
        which: &str,
        members: Vec<Member>,
        parts: Vec<Part>,
        pair: Pair,
        now: Millis,
    ) -> Self {
        Self {
            id: format!("{}-{which}", self.id),
            phase: Phase::Plan,
            clock: now,
            machine: Rollout::new(members, Origin::Created, now),
            parts,
            pair,
            ..self.clone()
        }
    }

    /// What the report is about, and how all of it ended.
    #[must_use]
    pub(super) fn verdict(&self, outcome: Outcome) -> (&[Part], Outcome) {
        let Some((reason, parts)) = &self.pair.undoing else {
            return (&self.parts, outcome);
        };
        let outcome = match outcome.result {
            Ending::Done => Outcome {
                result: Ending::RolledBack,
                reason: Some(format!("{reason}; both colors are what they were before")),
            },
            _ => {
                let why = outcome.reason.unwrap_or_default();
                let text = format!(
                    "{reason}; the color that had been replaced could not be brought back, so the colors \
                     run different releases: {why}"
                );
                Outcome { result: Ending::Failed, reason: Some(text) }
            }
        };
        (parts, outcome)
    }

    /// The release of a part, with both its colors.
    #[must_use]
    pub(super) fn release(&self, part: &Part) -> Release {
        let mut release = Release::of(part);
        let first = self.pair.first.iter().find(|first| first.service == part.service);
        for part in first.into_iter().chain(part.both.is_some().then_some(part)) {
            release.both.insert(part.to, Release::of(part).specs);
        }
        release
    }

    /// All its services, those of steps to come among them.
    #[must_use]
    pub(super) fn services(&self) -> Vec<ServiceName> {
        let later = self.pair.then.iter().map(|(part, _)| part);
        let undone = self.pair.undoing.iter().flat_map(|(_, parts)| parts);
        let all = self.parts.iter().chain(later).chain(undone);
        let mut services: Vec<_> = all.map(|part| part.service.clone()).collect();
        services.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        services.dedup();
        services
    }
}

impl Part {
    /// A former release in the place of the one that this part has brought.
    fn in_place_of(&self, former: &Release, old: Vec<String>) -> Self {
        let count = i64::try_from(self.replicas.len()).unwrap_or(0);
        let replicas = self.replicas.iter().zip(&former.specs).map(|(new, spec)| {
            let mut replica = new.clone();
            replica.template = new.id.clone().unwrap_or_else(|| new.template.clone());
            replica.number = new.number.map(|number| number - count);
            replica.candidate = format!("{}-r{}", new.name, self.revision + 1);
            replica.id = None;
            let copied = new.spec.as_ref().map(|drawn| in_place_of(drawn, spec));
            replica.spec = Some(copied.and_then(Result::ok).unwrap_or_else(|| spec.clone()));
            replica
        });
        Self {
            image: former.image.clone(),
            digest: former.digest.clone(),
            image_id: former.image_id.clone(),
            replicas: replicas.collect(),
            displaced: self.new_ids(),
            old,
            ..self.clone()
        }
    }
}

impl Tools {
    /// What the first colors of a plan are, for the way back.
    pub(super) async fn formers(&self, plan: &Plan) -> Vec<(ServiceName, Release)> {
        let mut formers = Vec::new();
        for (part, _) in &plan.parts {
            if part.both.is_some() {
                let ids: Vec<_> = part.replicas.iter().map(|r| r.template.clone()).collect();
                formers.push((part.service.clone(), self.release_of(&ids).await));
            }
        }
        formers
    }

    /// The release that containers run.
    pub(super) async fn release_of(&self, ids: &[String]) -> Release {
        let mut release = Release::default();
        for id in ids {
            let Ok(Some(container)) = self.containers.inspect(id).await else {
                continue;
            };
            release.image = image_of(&container);
            release.digest = self.pin(&container.image_id, &release.image).await;
            release.image_id = Some(container.image_id.clone());
            if let Ok(blueprint) = self.containers.blueprint(id).await {
                release.specs.push(blueprint.copy(&release.image, &BTreeMap::new()));
            }
        }
        release
    }
}
