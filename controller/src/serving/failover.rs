//! Rather than to fail: what is ready serves where what should serve cannot (rules 1 and 2).
//!
//! One task looks whenever the state has changed, and when a wait is over. What it decides is in
//! [`decide`], without I/O. It never goes back by itself.

mod decide;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use cutover_api::{Ending, Kind, Report, Target};
use cutover_proxy::table::{Color, ServiceName};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, warn};

pub(crate) use self::decide::Reason;
use self::decide::{Choice, Decision, Outlook, decide};
use crate::engine::{Container, WorkloadId};
use crate::panics::detached;
use crate::serving::controller::Controller;
use crate::state::classify::rollout_label;
use crate::state::events::EventKind;
use crate::state::history;
use crate::state::weights::Weights;
use crate::state::{ContainerEndpoint, State};

impl Controller {
    /// Watches over every service. One of the controller's tasks.
    pub(crate) async fn keep_failing_over(self) {
        loop {
            let changed = self.0.failover.notified();
            // Before the first look nobody knows what there is.
            let known = *self.0.containers_known.borrow();
            let wait = if known { self.look_for_failures().await } else { None };
            let wait = async {
                match wait {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = changed => sleep(BREATH).await,
                () = wait => {}
            }
        }
    }

    /// Looks at every service once; when to look again by itself.
    async fn look_for_failures(&self) -> Option<Instant> {
        let now = Instant::now();
        let (due, doomed) =
            self.change_quietly(|state| (state.failures(now), state.sighting.next_due()));
        let mut next = doomed;
        if doomed.is_some_and(|doomed| doomed <= now) {
            // Whether it has outlived its signal is decided with the next table.
            self.0.stale.notify_one();
            next = Some(now + LOOK_AGAIN);
        }
        for (service, decision) in due {
            match decision {
                Decision::Stay => {}
                Decision::Wait(left) => next = next.into_iter().chain([now + left]).min(),
                Decision::FailOver(choice, reason) => {
                    if let Err(error) = self.fail_over(&service, choice, reason).await {
                        error!(%service, %error, "cannot fail over");
                        next = next.into_iter().chain([now + LOOK_AGAIN]).min();
                    }
                }
            }
        }
        next
    }

    async fn fail_over(
        &self,
        service: &ServiceName,
        wanted: Choice,
        reason: Reason,
    ) -> Result<(), crate::error::Error> {
        let (this, service) = (self.clone(), service.clone());
        detached(async move {
            let _turn = this.0.turn.lock().await;
            // What was decided without the turn may be past.
            let now = Instant::now();
            let still = this.change_quietly(|state| decide(&state.outlook(&service, now)));
            if still != Decision::FailOver(wanted.clone(), reason) {
                this.0.failover.notify_one();
                return Ok(());
            }
            let (from, before) = this.change_quietly(|state| state.stand_in(&service, &wanted));
            match this.publish(None).await {
                Ok(applied) => {
                    let to = wanted.color;
                    warn!(
                        %service, from = from.active().as_str(), %to, reason = reason.as_str(),
                        generation = %applied.generation, "failed over"
                    );
                    this.change_quietly(|state| {
                        state.note_failover(&service, from, &wanted, reason);
                    });
                    this.tally(|tally| {
                        let key = (service.clone(), reason.as_str());
                        *tally.failovers.entry(key).or_default() += 1;
                    });
                    this.0.events.send(EventKind::FailedOver {
                        service,
                        from: from.active(),
                        to: to.into(),
                        reason,
                        generation: applied.generation,
                    });
                    this.save_soon();
                    Ok(())
                }
                Err(error) => {
                    this.change_quietly(|state| *state.journal.service_mut(&service) = before);
                    this.0.stale.notify_one();
                    Err(error)
                }
            }
        })
        .await
    }
}

impl State {
    /// What is to be done of every service where something is. Keeps since when each has been down.
    fn failures(&mut self, now: Instant) -> Vec<(ServiceName, Decision)> {
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
                let decision = decide(&self.outlook(&name, now));
                (name, decision)
            })
            .collect()
    }

    /// Whether an endpoint of a color that serves is up.
    fn is_up(&self, name: &ServiceName) -> bool {
        let weights = self.weights(name);
        let serving = Color::ALL.into_iter().filter(|color| weights.serves(*color));
        serving.into_iter().any(|color| {
            self.endpoints(name, color).iter().any(|endpoint| self.up(name, color, endpoint))
        })
    }

    fn outlook(&self, name: &ServiceName, now: Instant) -> Outlook {
        let weights = self.weights(name);
        let config = self.service(name);
        let present = |color: Color| {
            let fixed = config.is_some_and(|config| !config.endpoints(color).is_empty());
            fixed || self.discovery.present.contains_key(&(name.clone(), color))
        };
        let since = self.down_since.get(name).copied().unwrap_or(now);
        let state = self.journal.services.get(name);
        Outlook {
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
        let fresh = |created: SystemTime| created.elapsed().is_ok_and(|age| age < FRESH);
        let made = |container: &Container| container.labels.contains_key(&rollout_label());
        let ours = || self.sighting.of(name).map(|workload| &workload.container);
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
            self.discovery.endpoints_of(name).iter().filter(idle).map(|found| (true, found));
        let spares = self.discovery.spares.iter().map(|found| (false, found));
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
        let candidate =
            self.locks.is_taken(&found.service) && !self.served.contains(&found.container);
        let doomed = self.sighting.is_doomed(&WorkloadId::local(found.container.as_str()));
        ready && found.unwell.is_none() && !candidate && !doomed
    }

    /// Makes what was chosen what serves. Gives what served, and what the journal held before.
    fn stand_in(
        &mut self,
        name: &ServiceName,
        choice: &Choice,
    ) -> (Weights, crate::state::service::ServiceState) {
        let from = self.weights(name);
        let others: Vec<_> = self
            .sighting
            .of(name)
            .map(|workload| workload.container.id.as_str().to_owned())
            .filter(|id| !choice.containers.contains(id))
            .collect();
        let color = choice.color;
        let known: Vec<_> = others
            .into_iter()
            .filter(|id| {
                let found = self.discovery.endpoints.iter().find(|e| e.container == *id);
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

    /// Says in words what has happened, for `status` and the history.
    fn note_failover(
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
            at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            by: kind.to_string(),
            ..Report::new(name, revision, colors, kind, Ending::Done)
        };
        self.journal.service_mut(name).record(history::Entry::new(report, None));
        self.notes.insert(name.clone(), text);
    }
}

/// How long Compose may take to bring up one container of a service after the other.
const FRESH: Duration = Duration::from_secs(10);
/// Many changes at once are looked at once.
const BREATH: Duration = Duration::from_millis(5);
/// After a failover that no proxy took.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
