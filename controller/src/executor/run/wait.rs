//! Waiting for what happens by itself: drains, deaths, and figures that break.

use std::time::Duration;

use cutover_rollout::{Event, Phase, Set, Side, StopReason};
use tokio::time::sleep;

use super::act::answer;
use super::{Execution, LOOK_AGAIN, Message};
use crate::executor::watch::ColorFailure;
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
                    let reason = stop_reason(&end);
                    send.send(Message::Event(Event::Drained { set, reason })).ok();
                }
                Err(error) => answer(&send, Phase::TakeOut, set, Err(error)),
            }
        });
    }

    /// Says when a set has drained. The controller keeps the deadlines.
    pub(super) fn await_drained(&mut self, set: Set) {
        let Some(part) = self.record.part(&set).cloned() else { return };
        let (color, phase, containers) = match (set.side, part.both) {
            (Side::New, _) => (part.to, Phase::RevertDrain, part.new_ids()),
            // It was taken out before its place was taken, and has finished then.
            (Side::Old, Some(_)) => {
                let reason = StopReason::Idle;
                self.send.send(Message::Event(Event::Drained { set, reason })).ok();
                return;
            }
            (Side::Old, None) => (part.from, Phase::Drain, part.old.clone()),
        };
        let limits = self.limits(&set.service).into();
        let (tools, progress, send) =
            (self.tools.clone(), self.progress.clone(), self.send.clone());
        self.tasks.spawn(async move {
            tools.controller.take_over_drain(&part.service, color, limits).await;
            let generation = tools.controller.generation();
            let drained =
                tools.controller.containers_drained(&part.service, color, generation, containers);
            tokio::select! {
                biased;
                end = drained => {
                    // It serves again: nothing of it is to be stopped.
                    let Some(end) = end else {
                        send.send(Message::Event(Event::Handover)).ok();
                        return;
                    };
                    let reason = stop_reason(&end);
                    send.send(Message::Drained { set: set.clone(), end }).ok();
                    send.send(Message::Event(Event::Drained { set, reason })).ok();
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
                let failure = tools.death(&part, patience).await;
                send.send(Message::Event(event(failure))).ok();
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
            if let Some(failure) = tools.analyze(&part, &figures, end).await {
                send.send(Message::Event(event(failure))).ok();
            }
        });
    }

    /// Tells itself something again after a while.
    pub(super) fn say_later(&mut self, event: Event) {
        let send = self.send.clone();
        self.tasks.spawn(async move {
            sleep(LOOK_AGAIN).await;
            send.send(Message::Event(event)).ok();
        });
    }
}

/// What a drain's end proves of the containers.
fn stop_reason(end: &DrainEnd) -> StopReason {
    match end.forced_requests + end.forced_streams {
        0 => StopReason::Idle,
        _ => StopReason::OutOfTime,
    }
}

fn event(failure: ColorFailure) -> Event {
    match failure {
        ColorFailure::Breach(reason) => Event::Breach { reason },
        ColorFailure::Died(reason) => Event::Died { reason },
    }
}

/// A probe that fails, or a container that is replaced, is no death.
const AT_ONCE: Duration = Duration::from_millis(500);
/// For a container that is restarted, where there are no failovers.
const RESTART: Duration = Duration::from_secs(3);
