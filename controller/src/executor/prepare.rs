//! From what a client asked for to a rollout that can begin.

use std::collections::BTreeMap;

use cutover_api::{Ending, Kind, Line, Report, Target};
use cutover_proxy::table::{Color, ServiceName};
use cutover_rollout::{Limits, Millis, Origin, Phase, Rollout, RolloutService, Strategy};
use tracing::warn;

use super::plan::{Plan, image_of};
use super::progress::Progress;
use super::request::{Deploy, limits_of};
use super::{Tools, report};
use crate::engine::EngineError;
use crate::error::Error;
use crate::state::history::{Entry, Release};
use crate::state::rollout::{Part, Record, Replica};
use crate::time_of_day::{self, unix_ms};

impl Tools {
    /// A rollout of what was planned.
    pub(super) fn record(plan: Plan, deploy: &Deploy, kind: Kind) -> Record {
        // Where both colors of a service serve, the others flip with the second of them.
        let last = usize::from(!plan.then.is_empty());
        let mut services = Vec::new();
        let mut parts = Vec::new();
        for (part, config) in plan.parts {
            let (service, limits) = (part.service.clone(), limits_of(deploy, &config));
            let (strategy, batch) = match part.both {
                Some(_) => (Strategy::Both, 0),
                None => (Strategy::BlueGreen, last),
            };
            // There is nothing to go back to by a flip where both serve.
            let keep_warm_ms = if part.both.is_some() { 0 } else { limits.keep_warm_ms };
            let limits = Limits { keep_warm_ms, ..limits };
            services.push(RolloutService { name: service, strategy, limits });
            parts.push(Part { batch, ..part });
        }
        parts.extend(plan.then.into_iter().map(|(part, _)| Part { batch: last, ..part }));
        let machine = Rollout::new(services, Origin::Created, Millis(1));
        record(kind, deploy.by.clone(), machine, parts)
    }

    /// The rollout that keeps the other color of a service warm, if that is where a rollback goes.
    pub(super) fn warm(&self, service: &ServiceName, wanted: Option<u64>) -> Option<Record> {
        let state = self.controller.service_state(service);
        let record = self
            .controller
            .state(|state| state.journal().rollout_of(service).map(|(record, _)| record.clone()))?;
        let part = record.parts.iter().find(|part| part.service == *service)?;
        let serves = self.controller.state(|state| state.weights(service)).active();
        let revision = state.members.revision(part.from);
        let meant = wanted.is_none_or(|wanted| revision == Some(wanted));
        let warm = record.machine.phase() == Phase::KeepWarm
            && record.parts.len() == 1
            && serves == Target::from(part.to)
            && meant
            && self.can_serve(&[(service.clone(), part.from)]).is_ok();
        warm.then_some(record)
    }

    /// The way back to containers that are warm.
    pub(super) fn back_to_warm(
        &self,
        warm: &Record,
        service: &ServiceName,
        by: Option<String>,
    ) -> Record {
        let state = self.controller.service_state(service);
        let parts: Vec<_> = warm.parts.iter().map(|part| back(part, &state)).collect();
        let services = warm.machine.services().iter().map(|service| {
            let mut service = service.clone();
            service.limits.monitor_ms = 0;
            service
        });
        let machine = Rollout::new(services.collect(), Origin::Running, Millis(1));
        record(Kind::Rollback, by, machine, parts)
    }

    /// Reports what was not even begun.
    pub(super) fn refuse(
        &self,
        plan: &Plan,
        deploy: &Deploy,
        kind: Kind,
        reason: &str,
        progress: &Progress,
    ) {
        for (part, _) in &plan.parts {
            let report = Report {
                reason: Some(reason.to_owned()),
                at: now(),
                by: deploy.by.clone().unwrap_or_else(|| SOMEONE.into()),
                ..report::about(part, kind, Ending::Refused)
            };
            self.controller.count_rollout(&part.service, report.result);
            progress.send(Line::Report(report));
        }
    }

    /// Before the first rollout of a service: what was found serving is its first revision.
    ///
    /// # Errors
    /// The engine does not say what it is: without that there would be no way back to it.
    pub(super) async fn remember_found(&self, part: &Part) -> Result<(), Error> {
        let state = self.controller.service_state(&part.service);
        if !state.history().is_empty() {
            return Ok(());
        }
        let mut release = self.release_of(&part.old).await?;
        if part.both.is_some() {
            let other = self.release_of(&part.displaced).await?;
            release.both.insert(part.from, release.specs.clone());
            release.both.insert(part.to, other.specs);
        }
        let report = Report {
            revision: 1,
            to: part.from,
            image: release.image.clone(),
            digest: release.digest.clone(),
            at: now(),
            by: "found running".into(),
            ..report::about(part, Kind::Found, Ending::Done)
        };
        let kept = self.controller.remember(&part.service, |state| {
            state.members.set_revision(part.from, Some(1));
            state.record(Entry::new(report, Some(release)));
        });
        if let Err(error) = kept.await {
            warn!(%error, "the first revision is not in the history");
        }
        Ok(())
    }

    /// The release that containers run.
    async fn release_of(&self, ids: &[String]) -> Result<Release, EngineError> {
        let mut release = Release::default();
        for id in ids {
            let Some(container) = self.containers.inspect(id).await? else { continue };
            release.image = image_of(&container);
            release.digest = self.pin(&container.image_id, &release.image).await;
            release.image_id = Some(container.image_id.clone());
            match self.containers.blueprint(id).await {
                Ok(found) => release.specs.push(found.copy(&release.image, &BTreeMap::new())),
                Err(error) if error.is_transient() => return Err(error),
                // Its image is gone: what it was made of cannot be known any more.
                Err(_) => {}
            }
        }
        Ok(release)
    }
}

fn back(part: &Part, state: &crate::state::service::ServiceState) -> Part {
    let revision = state.members.revision(part.from).unwrap_or(0);
    let release = state.history().release(revision).cloned().unwrap_or_default();
    let (from, to): (Color, Color) = (part.to, part.from);
    let replicas = part.old.iter().enumerate().map(|(n, id)| Replica {
        template: id.clone(),
        name: String::new(),
        number: None,
        candidate: String::new(),
        id: Some(id.clone()),
        spec: release.specs.get(n).or_else(|| release.specs.last()).cloned(),
    });
    Part {
        revision: state.members.last_revision() + 1,
        from,
        to,
        image: release.image,
        digest: release.digest,
        image_id: release.image_id,
        replicas: replicas.collect(),
        old: part.new_ids(),
        // The rollout that put them aside ends without tidying up.
        displaced: part.displaced.clone(),
        found: None,
        // What is gone back from is looked at before it is thrown away.
        keep_failed: true,
        ..part.clone()
    }
}

pub(super) fn record(kind: Kind, by: Option<String>, machine: Rollout, parts: Vec<Part>) -> Record {
    let first = parts.first();
    let id = first.map(|part| format!("{}-r{}", part.service, part.revision));
    Record {
        id: id.unwrap_or_default(),
        kind,
        at: now(),
        by: by.unwrap_or_else(|| SOMEONE.into()),
        clock: Millis(1),
        written_ms: unix_ms(),
        machine,
        parts,
        figures: BTreeMap::new(),
        drained: BTreeMap::new(),
    }
}

/// The time of day, as reports have it.
pub(super) fn now() -> String {
    humantime::format_rfc3339_seconds(time_of_day::now()).to_string()
}

/// Who asks, where they do not say.
pub(super) const SOMEONE: &str = "control socket";
