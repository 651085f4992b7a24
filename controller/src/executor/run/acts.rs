//! What the shell does for each action: a task that answers with a note.

use std::time::Duration;

use cutover_proxy::table::ServiceName;
use tokio::sync::mpsc;

use super::{Note, Shell};
use crate::executor::actions::{Action, Event, Rest, Set, Side};
use crate::executor::phase::Phase;
use crate::executor::record::Part;
use crate::executor::steps::StepError;
use crate::executor::watch::Seen;
use crate::state::weights::Weights;

impl Shell {
    pub(super) async fn carry_out(&mut self, action: Action) {
        match action {
            Action::Pull(service) => self.pull(&service),
            Action::Create(set) => self.create(set).await,
            Action::Start(set) => self.start(set).await,
            Action::AwaitReady(set) => self.await_ready(set),
            Action::Flip { .. } => self.apply(&action, Phase::Flip),
            Action::Revert => self.apply(&action, Phase::Revert),
            Action::Watch(set) => self.judge(&set),
            Action::AwaitDrained(set) => self.await_drained(set),
            // The controller keeps the drain deadlines itself, with rollouts or without.
            Action::Hangup { .. } => {}
            Action::Stop { set, rest } => self.stop(set, rest),
            Action::Clean(set) => self.clean(set),
            Action::Abandon { set, rest } => self.abandon(set, rest),
            Action::Report(outcome) => self.report(outcome).await,
        }
    }

    fn pull(&mut self, service: &ServiceName) {
        let Some(part) = self.part(service).cloned() else { return };
        let (tools, progress, tell) =
            (self.tools.clone(), self.progress.clone(), self.tell.clone());
        let logins = self.logins.clone();
        let set = Set { service: part.service.clone(), pass: 0, side: Side::New };
        let limits = self.limits(service);
        self.tasks.spawn(async move {
            let pulled = async {
                let image = Box::pin(tools.pull(&part, &logins, &progress)).await?;
                tell.send(Note::Pulled(part.service.clone(), image)).ok();
                tools.take_out(&part, limits).await
            };
            let pulled = pulled.await;
            answer(&tell, Phase::Pull, set, pulled);
        });
    }

    async fn create(&mut self, set: Set) {
        let Some(part) = self.part(&set.service).cloned() else { return };
        // What the color had steps aside before there is anything beside it.
        let aside = self.tools.enroll(&part, true).await;
        let (tools, tell, rollout) =
            (self.tools.clone(), self.tell.clone(), self.record.id.clone());
        self.tasks.spawn(async move {
            let created = async {
                aside?;
                for (replica, wanted) in part.replicas.iter().enumerate() {
                    let (id, spec) = Box::pin(tools.create(&part, wanted, &rollout)).await?;
                    let (service, id) = (part.service.clone(), id.0);
                    let note = Note::Created { service, replica, id, spec: Box::new(spec) };
                    tell.send(note).ok();
                }
                Ok(())
            };
            answer(&tell, Phase::Create, set, Box::pin(created).await);
        });
    }

    async fn start(&mut self, set: Set) {
        let Some(part) = self.part(&set.service).cloned() else { return };
        let enrolled = self.tools.enroll(&part, true).await;
        let (tools, tell) = (self.tools.clone(), self.tell.clone());
        self.tasks.spawn(async move {
            let started = async {
                enrolled?;
                tools.start(&part).await
            };
            answer(&tell, Phase::Start, set, started.await);
        });
    }

    fn await_ready(&mut self, set: Set) {
        let Some(part) = self.part(&set.service).cloned() else { return };
        let limit = Duration::from_millis(self.limits(&set.service).deploy_ms);
        let (tools, progress, tell) =
            (self.tools.clone(), self.progress.clone(), self.tell.clone());
        self.tasks.spawn(async move {
            let ready = tools.await_ready(&part, limit, &progress).await;
            answer(&tell, Phase::Ready, set, ready);
        });
    }

    /// The shares that an action makes live, where it is one that does.
    pub(super) fn shares_of(&self, action: &Action) -> Option<Vec<(ServiceName, Weights)>> {
        let flips = match action {
            Action::Flip { .. } => true,
            Action::Revert => false,
            _ => return None,
        };
        let shares = |part: &Part| match part.both {
            Some(both) if flips => both,
            _ => Weights::of(if flips { part.to } else { part.from }.into()),
        };
        let parts = self.record.parts.iter();
        Some(parts.map(|part| (part.service.clone(), shares(part))).collect())
    }

    /// Applies one table for all services.
    fn apply(&mut self, action: &Action, phase: Phase) {
        let Some(changes) = self.shares_of(action) else { return };
        let color = |part: &Part| if phase == Phase::Flip { part.to } else { part.from };
        let drain = self.record.parts.first().map(|part| self.limits(&part.service).drain());
        let colors: Vec<_> =
            self.record.parts.iter().map(|part| (part.service.clone(), color(part))).collect();
        let (tools, tell) = (self.tools.clone(), self.tell.clone());
        self.tasks.spawn(async move {
            #[cfg(test)]
            crate::panics::point(&tools.controller.point("a rollout"));
            let applied = match tools.can_serve(&colors) {
                Ok(()) => {
                    tools.controller.set_weights(&changes, drain).await.map_err(|e| e.to_string())
                }
                Err(error) => Err(error.reason),
            };
            let event = match applied {
                Ok(applied) => Event::Applied { phase, generation: applied.generation },
                Err(reason) => {
                    tools.controller.forget_intent(&changes);
                    Event::NotApplied { phase, reason }
                }
            };
            tell.send(Note::Event(event)).ok();
        });
    }

    pub(super) fn watch_for_death(&mut self) {
        for part in self.record.parts.clone() {
            let (tools, tell) = (self.tools.clone(), self.tell.clone());
            self.watchers.spawn(async move {
                let seen = tools.death(&part).await;
                tell.send(Note::Event(event(part.service.clone(), seen))).ok();
            });
        }
    }

    fn judge(&mut self, set: &Set) {
        let Some(part) = self.part(&set.service).cloned() else { return };
        let limit = Duration::from_millis(self.limits(&set.service).monitor_ms);
        let before = self.before.get(&set.service).cloned().unwrap_or_default();
        let at_flip = self.at_flip.get(&set.service).cloned().unwrap_or_default();
        let (tools, tell) = (self.tools.clone(), self.tell.clone());
        self.watchers.spawn(async move {
            if let Some(seen) = tools.judge(&part, &before, &at_flip, limit).await {
                tell.send(Note::Event(event(part.service.clone(), seen))).ok();
            }
        });
    }

    fn await_drained(&mut self, set: Set) {
        let Some(part) = self.part(&set.service).cloned() else { return };
        let (color, phase) = match set.side {
            Side::New => (part.to, Phase::RevertDrain),
            // It goes on serving; those it stood in for have drained before.
            Side::Old if part.both.is_some() => {
                return answer(&self.tell, Phase::Drain, set, Ok(()));
            }
            Side::Old => (part.from, Phase::Drain),
        };
        let limits = self.limits(&set.service).drain();
        let (tools, progress, tell) =
            (self.tools.clone(), self.progress.clone(), self.tell.clone());
        self.tasks.spawn(async move {
            tools.controller.take_over_drain(&part.service, color, limits).await;
            let generation = tools.controller.generation();
            tokio::select! {
                drained = tools.controller.drained(&part.service, color, generation) => {
                    // It serves again: then nothing of it is to be stopped.
                    let Some(drained) = drained else { return };
                    tell.send(Note::Drained(part.service.clone(), drained)).ok();
                    answer(&tell, phase, set, Ok(()));
                }
                () = tools.say_draining(&part.service, color, phase, &progress) => {}
            }
        });
    }

    fn stop(&mut self, set: Set, rest: Rest) {
        let Some(part) = self.part(&set.service).cloned() else { return };
        let serves = self.serves(&part.service, part.from);
        let (tools, tell) = (self.tools.clone(), self.tell.clone());
        self.tasks.spawn(async move {
            let stopped = match serves {
                true => Ok(()),
                false => tools.stop(&part.service, &part.old, rest).await,
            };
            answer(&tell, Phase::Stop, set, stopped);
        });
    }

    fn clean(&mut self, set: Set) {
        let Some(part) = self.part(&set.service).cloned() else { return };
        let serves = part.both.is_none() && self.serves(&part.service, part.from);
        let (tools, tell) = (self.tools.clone(), self.tell.clone());
        self.tasks.spawn(async move {
            let cleaned = if serves { Ok(()) } else { tools.clean(&part).await };
            answer(&tell, Phase::Clean, set, cleaned);
        });
    }

    fn abandon(&mut self, set: Set, rest: Rest) {
        let Some(part) = self.part(&set.service).cloned() else { return };
        let (tools, tell) = (self.tools.clone(), self.tell.clone());
        self.tasks.spawn(async move {
            let abandoned = tools.abandon(&part, rest).await.map(|words| {
                tell.send(Note::Words(part.service.clone(), words)).ok();
            });
            answer(&tell, Phase::Abandon, set, abandoned);
        });
    }
}

fn answer(
    tell: &mpsc::UnboundedSender<Note>,
    phase: Phase,
    set: Set,
    outcome: Result<(), StepError>,
) {
    let event = match outcome {
        Ok(()) => Event::Done { phase, set },
        Err(error) => Event::Failed { phase, service: set.service, reason: error.reason },
    };
    // A shell that has ended needs no answer.
    tell.send(Note::Event(event)).ok();
}

fn event(service: ServiceName, seen: Seen) -> Event {
    match seen {
        Seen::Breach(reason) => Event::Breach { service, reason },
        Seen::Died(reason) => Event::Died { service, reason },
    }
}
