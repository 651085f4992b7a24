//! What of a service could serve instead of what should: what is known of it, and what is decided.

mod decide;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use cutover_api::{Ending, Kind, Report, Target, Weights};
use cutover_proxy::table::{Color, ServiceName};
use tokio::time::Instant;

pub(crate) use self::decide::{Choice, Decision, Reason, Situation, decide};
use super::classify::rollout_label;
use super::service::ServiceState;
use super::{ContainerEndpoint, State, history};
use crate::engine::{Container, WorkloadId};
use crate::time_of_day;

impl State {
    /// What is to be done of every service where something is. Keeps since when each has been down.
    pub(crate) fn failures(&mut self, now: Instant) -> Vec<(ServiceName, Decision)> {
        let names: Vec<_> = self.services().map(|(name, _)| name.clone()).collect();
        let before = std::mem::take(&mut self.down_since);
        for name in &names {
            if !self.is_up(name) {
                let since = before.get(name).copied().unwrap_or(now);
                self.down_since.insert(name.clone(), since);
            }
        }
        let down: Vec<_> = self.down_since.keys().cloned().collect();
        down.into_iter()
            .map(|name| {
                let decision = decide(&self.situation(&name, now));
                (name, decision)
            })
            .collect()
    }

    /// Whether an endpoint of a color that serves is up, and not only by force where nobody listens.
    fn is_up(&self, name: &ServiceName) -> bool {
        let weights = self.weights(name);
        let serving = Color::ALL.into_iter().filter(|color| weights.serves(*color));
        serving.into_iter().any(|color| {
            self.endpoints(name, color).iter().any(|e| self.can_answer(name, color, e))
        })
    }

    pub(crate) fn situation(&self, name: &ServiceName, now: Instant) -> Situation {
        let weights = self.weights(name);
        let config = self.service(name);
        let present = |color: Color| {
            let fixed = config.is_some_and(|config| !config.endpoints(color).is_empty());
            fixed || self.discovered.present.contains_key(&(name.clone(), color))
        };
        let since = self.down_since.get(name).copied().unwrap_or(now);
        let state = self.journal.services.get(name);
        Situation {
            up: self.is_up(name),
            present: Color::ALL.into_iter().any(|c| weights.serves(c) && present(c)),
            decided: state.is_some_and(|state| state.weights.is_some()) || self.is_settled(name),
            down_for: now.saturating_duration_since(since),
            patience: config.map_or(Some(Duration::from_secs(3)), |c| c.rollout.failover),
            locked: self.locks.is_taken(name),
            choices: self.choices(name, weights),
        }
    }

    /// Whether the containers of a service have not just been brought up: the journal may be lost.
    fn is_settled(&self, name: &ServiceName) -> bool {
        let fresh = |created: SystemTime| {
            time_of_day::now().duration_since(created).is_ok_and(|age| age < FRESH)
        };
        let made = |container: &Container| container.labels.contains_key(&rollout_label());
        let ours = || self.observed.of(name).map(|workload| &workload.container);
        ours().any(made) || !ours().any(|container| fresh(container.created))
    }

    /// What people should know of a service, in words.
    #[must_use]
    pub(crate) fn note(&self, name: &ServiceName) -> Option<String> {
        if !self.down_since.contains_key(name) {
            return self.notes.get(name).cloned();
        }
        let weights = self.weights(name);
        let why = match self.choices(name, weights).is_empty() {
            true => "nothing else of it is ready",
            false => "what is ready serves as soon as `rollout.failover` lets it",
        };
        Some(format!(
            "nothing serves: {} has no endpoint that is up, and {why}",
            weights.active().as_str()
        ))
    }

    /// What is ready and does not serve.
    fn choices(&self, name: &ServiceName, weights: Weights) -> Vec<Choice> {
        let mut choices: BTreeMap<(bool, bool, &str), Choice> = BTreeMap::new();
        let idle = |found: &&ContainerEndpoint| !weights.serves(found.color);
        let members =
            self.discovered.endpoints_of(name).iter().filter(idle).map(|found| (true, found));
        let spares = self.discovered.spares.iter().map(|found| (false, found));
        for (member, found) in members.chain(spares) {
            if found.service != *name || !self.may_stand_in(found) {
                continue;
            }
            let key = (member, found.color == Color::Blue, found.release.as_str());
            let choice = choices.entry(key).or_insert_with(|| Choice {
                color: found.color,
                release: Some(found.release.clone()),
                containers: Vec::new(),
                created: found.created,
                member,
            });
            choice.containers.push(found.container.clone());
            choice.created = choice.created.max(found.created);
        }
        let mut choices: Vec<_> = choices.into_values().collect();
        for color in Color::ALL.into_iter().filter(|color| !weights.serves(*color)) {
            let fixed = self.endpoints(name, color).into_iter().filter(|e| e.container.is_none());
            let passes =
                |id| self.health.get(&(name.clone(), color, id)).is_some_and(|h| h.passes());
            if fixed.into_iter().any(|e| e.unwell.is_none() && passes(e.id)) {
                choices.push(Choice {
                    color,
                    release: None,
                    containers: Vec::new(),
                    created: SystemTime::UNIX_EPOCH,
                    member: true,
                });
            }
        }
        choices
    }

    /// Whether a container is ready and nobody else's to bring in: what a rollout is about to flip
    /// to has not served yet.
    fn may_stand_in(&self, found: &ContainerEndpoint) -> bool {
        let key = (found.service.clone(), found.color, found.id());
        let ready = self.health.get(&key).is_some_and(|health| health.passes());
        let candidate = self.is_candidate(found) && !self.served.contains(&found.container);
        let doomed = self.observed.is_doomed(&WorkloadId::local(found.container.as_str()));
        ready && found.unwell.is_none() && !candidate && !doomed
    }

    /// Whether a rollout is to flip to a container and has not yet.
    fn is_candidate(&self, found: &ContainerEndpoint) -> bool {
        self.journal.rollouts().any(|record| {
            let to_come = record.parts.iter().filter(|p| p.batch >= record.machine.flipped());
            let mut replicas = to_come.flat_map(|part| &part.replicas);
            replicas.any(|replica| replica.id.as_ref() == Some(&found.container))
        })
    }

    /// Makes what was chosen what serves. Gives what served, and what the journal held before.
    pub(crate) fn stand_in(
        &mut self,
        name: &ServiceName,
        choice: &Choice,
    ) -> (Weights, ServiceState) {
        let from = self.weights(name);
        let others: Vec<_> = self
            .observed
            .of(name)
            .map(|workload| workload.container.id.as_str().to_owned())
            .filter(|id| !choice.containers.contains(id))
            .collect();
        let color = choice.color;
        let known: Vec<_> = others
            .into_iter()
            .filter(|id| {
                let found = self.discovered.endpoints.iter().find(|e| e.container == *id);
                let assigned = self.journal.services.get(name).and_then(|s| s.members.assigned(id));
                found.map(|e| e.color).or(assigned) == Some(color)
            })
            .collect();
        let state = self.journal.service_mut(name);
        let before = state.clone();
        state.weights = Some(Weights::of(color.into()));
        state.forced.retain(|forced| *forced == color);
        if let (Some(release), false) = (&choice.release, choice.member) {
            state.members.enroll(&choice.containers, color, &known);
            state.members.adopt(color, release);
        }
        (from, before)
    }

    /// Says in words what has happened, once it is live, for `status` and the history.
    pub(crate) fn note_failover(
        &mut self,
        name: &ServiceName,
        from: Weights,
        choice: &Choice,
        reason: Reason,
    ) {
        let what = match reason {
            Reason::NoContainer => "had no container left",
            Reason::NotUp => "had no endpoint that was up",
        };
        let from = from.active();
        let spare =
            if choice.member { "" } else { ", by containers that another release had replaced" };
        let text = format!(
            "failed over to {}{spare}: {} {what}; `cutover flip` or `deploy` makes another color serve",
            choice.color,
            from.as_str()
        );
        let revision = self.journal.service_mut(name).members.revision(choice.color);
        let colors = match from {
            Target::Blue => (Color::Blue, choice.color),
            Target::Both => (choice.color.other(), choice.color),
            Target::Green => (Color::Green, choice.color),
        };
        let (revision, kind) = (revision.unwrap_or_default(), Kind::Failover);
        let report = Report {
            reason: Some(text.clone()),
            at: humantime::format_rfc3339_seconds(time_of_day::now()).to_string(),
            by: kind.to_string(),
            ..Report::new(name, revision, colors, kind, Ending::Done)
        };
        self.journal.service_mut(name).record(history::Entry::new(report, None));
        self.notes.insert(name.clone(), text);
        // What serves now is up: the note is not hidden by what was so until then.
        self.down_since.remove(name);
    }
}

/// How long Compose may take to bring up one container of a service after the other.
pub(crate) const FRESH: Duration = Duration::from_secs(10);
