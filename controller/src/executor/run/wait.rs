//! Waiting for what happens by itself: drains, deaths, and figures that break.

use std::time::Duration;

use cutover_rollout::{Event, Phase, Rest, Set, Side};
use tokio::time::sleep;

use super::act::answer;
use super::{Execution, LOOK_AGAIN, Note};
use crate::executor::watch::Seen;
use crate::state::drains::DrainEnd;

impl Execution {
    /// Where both colors serve: the other one serves alone, and this one finishes what it has.
    pub(super) fn take_out(&mut self, set: Set) {
        let Some(part) = self.record.part(&set).cloned() else { return };
        let limits = self.limits(&set.service);
        let (tools, send) = (self.tools.clone(), self.send.clone());
        self.tasks.spawn(async move {
            match tools.take_out(&part, limits).await {
                Ok(end) => {
                    let rest = rest_of(&end);
                    send.send(Note::Event(Event::Drained { set, rest })).ok();
                }
                Err(error) => answer(&send, Phase::TakeOut, set, Err(error)),
            }
        });
    }

    /// Says when a set has drained. The controller keeps the deadlines.
    pub(super) fn await_drained(&mut self, set: Set) {
        let Some(part) = self.record.part(&set).cloned() else { return };
        let (color, phase) = match (set.side, part.both) {
            (Side::New, _) => (part.to, Phase::RevertDrain),
            // It was taken out before its place was taken, and has finished then.
            (Side::Old, Some(_)) => {
                let rest = Rest::Idle;
                self.send.send(Note::Event(Event::Drained { set, rest })).ok();
                return;
            }
            (Side::Old, None) => (part.from, Phase::Drain),
        };
        let limits = self.limits(&set.service).into();
        let (tools, progress, send) =
            (self.tools.clone(), self.progress.clone(), self.send.clone());
        self.tasks.spawn(async move {
            tools.controller.take_over_drain(&part.service, color, limits).await;
            let generation = tools.controller.generation();
            let drained = tools.controller.drained(&part.service, color, generation);
            tokio::select! {
                end = drained => {
                    // It serves again: nothing of it is to be stopped.
                    let Some(end) = end else {
                        send.send(Note::Event(Event::Handover)).ok();
                        return;
                    };
                    let rest = rest_of(&end);
                    send.send(Note::Drained { set: set.clone(), end }).ok();
                    send.send(Note::Event(Event::Drained { set, rest })).ok();
                }
                () = tools.say_draining(&part.service, color, phase, &progress) => {}
            }
        });
    }

    /// Says when none of the new containers of a batch has been able to serve for a while. Once they
    /// have been judged, a restart is waited for as by a failover.
    pub(super) fn watch_for_death(&mut self, batch: usize, judged: bool) {
        for part in self.record.batch(batch).cloned().collect::<Vec<_>>() {
            let failover = self.tools.controller.state(|state| {
                state.service(&part.service).and_then(|service| service.rollout.failover)
            });
            let patience = if judged { failover.unwrap_or(RESTART) } else { AT_ONCE };
            let (tools, send) = (self.tools.clone(), self.send.clone());
            self.watchers.spawn(async move {
                let seen = tools.death(&part, patience).await;
                send.send(Note::Event(event(seen))).ok();
            });
        }
    }

    /// Judges a new set for as long as the phase lasts.
    pub(super) fn watch(&mut self, set: Set) {
        let Some(part) = self.record.part(&set).cloned() else { return };
        let end = self.record.machine.deadline().map(|at| self.instant(at));
        let figures = self.record.figures.get(&set.service).cloned().unwrap_or_default();
        let (tools, send) = (self.tools.clone(), self.send.clone());
        self.watchers.spawn(async move {
            if let Some(seen) = tools.judge(&part, &figures, end).await {
                send.send(Note::Event(event(seen))).ok();
            }
        });
    }

    /// Tells itself something again after a while.
    pub(super) fn say_later(&mut self, event: Event) {
        let send = self.send.clone();
        self.tasks.spawn(async move {
            sleep(LOOK_AGAIN).await;
            send.send(Note::Event(event)).ok();
        });
    }
}

/// What a drain's end proves of the containers.
fn rest_of(end: &DrainEnd) -> Rest {
    match end.forced_requests + end.forced_streams {
        0 => Rest::Idle,
        _ => Rest::OutOfTime,
    }
}

fn event(seen: Seen) -> Event {
    match seen {
        Seen::Breach(reason) => Event::Breach { reason },
        Seen::Died(reason) => Event::Died { reason },
    }
}

/// A probe that fails, or a container that is replaced, is no death.
const AT_ONCE: Duration = Duration::from_millis(500);
/// For a container that is restarted, where there are no failovers.
const RESTART: Duration = Duration::from_secs(3);
