//! One rollout: its steps, who still owes an answer, and what has been tried.
//!
//! What an event does is looked up in the [table](crate::transition); this file carries the
//! reaction out.

mod asks;
mod deadline;
mod retry;

use std::collections::BTreeSet;

use cutover_proxy::table::Generation;
use serde::{Deserialize, Serialize};

use self::retry::Retry;
use crate::action::Action;
use crate::event::{Event, EventKind};
use crate::millis::Millis;
use crate::service::{Origin, RolloutService, Span};
use crate::set::{Set, Side, StopReason};
use crate::strategy::{self, Step};
use crate::transition::{Reaction, reaction};
use crate::verdict::Verdict;
use cutover_api::Ending;
use cutover_api::Phase;

/// One deploy or rollback of one or more services that flip together.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Rollout {
    #[serde(rename = "members")]
    services: Vec<RolloutService>,
    /// What is done, in order; replaced by the way back when that begins.
    steps: Vec<Step>,
    /// Which of them is under way.
    at: usize,
    entered: Millis,
    /// Who still owes an answer in this step.
    pending: BTreeSet<Set>,
    retry: Retry,
    /// By batch whose flip was asked for: whether it is known to be live.
    flips: Vec<bool>,
    /// The sets that may be stopped, and why.
    #[serde(rename = "rests")]
    stop_reasons: Vec<(Set, StopReason)>,
    /// A newer rollout has taken the place of the old containers.
    yielded: bool,
    failure: Option<String>,
    /// Neither the new nor the old containers could be made to serve.
    stuck: bool,
    /// Containers may be left behind because the engine would not answer.
    leftovers: bool,
    reported: Option<Ending>,
    generation: Generation,
    spans: Vec<Span>,
}

impl Rollout {
    /// A rollout that has not begun.
    #[must_use]
    pub fn new(services: Vec<RolloutService>, origin: Origin, now: Millis) -> Self {
        Self {
            steps: strategy::steps(&services, origin),
            services,
            at: 0,
            entered: now,
            pending: BTreeSet::new(),
            retry: Retry::default(),
            flips: Vec::new(),
            stop_reasons: Vec::new(),
            yielded: false,
            failure: None,
            stuck: false,
            leftovers: false,
            reported: None,
            generation: Generation(0),
            spans: Vec::new(),
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.step().phase
    }

    /// The step that is under way.
    #[must_use]
    pub fn step(&self) -> Step {
        let ended = Step { phase: Phase::Ended, batch: 0 };
        self.steps.get(self.at).copied().unwrap_or(ended)
    }

    /// Its services.
    #[must_use]
    pub fn services(&self) -> &[RolloutService] {
        &self.services
    }

    /// Whether a service takes part in a batch.
    #[must_use]
    pub fn takes_part(&self, service: &RolloutService, batch: usize) -> bool {
        strategy::takes_part(service, batch, &self.services)
    }

    /// How many batches have been flipped, or may have been.
    #[must_use]
    pub fn flipped(&self) -> usize {
        self.flips.len()
    }

    /// Whether a newer rollout has taken the place of the old containers: nothing is undone any more.
    #[must_use]
    pub fn has_yielded(&self) -> bool {
        self.yielded
    }

    /// On the way back, the batch that it began in: the one that failed.
    #[must_use]
    pub fn undone_from(&self) -> Option<usize> {
        let first = self.steps.first().filter(|step| step.phase.is_undo());
        first.map(|step| step.batch)
    }

    /// What each finished step took, in order.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The last table of this rollout that is known to have been live.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// What has been told to the client, if anything.
    #[must_use]
    pub fn reported(&self) -> Option<Ending> {
        self.reported
    }

    /// Why the old sets are to serve again, if they are.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Whether containers may have been left behind because the engine would not answer.
    #[must_use]
    pub fn left_something(&self) -> bool {
        self.leftovers
    }

    /// Whether no other rollout of these services may begin.
    #[must_use]
    pub fn holds_lock(&self) -> bool {
        self.phase().holds_lock()
    }

    /// Takes an event in and says what is to be done.
    #[must_use]
    pub fn on(&mut self, now: Millis, event: &Event) -> Vec<Action> {
        let mut out = Vec::new();
        if self.concerns(event) {
            if matches!(event, Event::Resumed { .. }) {
                self.forget_tries(&mut out);
            }
            if let Some(kind) = event.kind() {
                self.react(now, kind, event, &mut out);
            }
        }
        // A step without time ends as it begins; each ends only once.
        while self.is_late(now) {
            let at = self.at;
            self.react(now, EventKind::Late, &self.lateness(now), &mut out);
            if at == self.at {
                break;
            }
        }
        self.retry_due(now, &mut out);
        out
    }

    /// Whether the event is about the present step: answers to former ones may still come.
    fn concerns(&self, event: &Event) -> bool {
        let step = self.step();
        match event {
            Event::Done { phase, set } | Event::Failed { phase, set, .. } => {
                *phase == step.phase && self.pending.contains(set)
            }
            Event::Applied { phase, batch, .. } | Event::NotApplied { phase, batch, .. } => {
                *phase == step.phase && *batch == step.batch
            }
            Event::Begin
            | Event::Drained { .. }
            | Event::Died { .. }
            | Event::Breach { .. }
            | Event::Abort { .. }
            | Event::Supersede
            | Event::Handover
            | Event::Tick
            | Event::Resumed { .. } => true,
        }
    }

    fn react(&mut self, now: Millis, kind: EventKind, event: &Event, out: &mut Vec<Action>) {
        match reaction(self.phase(), kind) {
            Reaction::Ignore => {}
            Reaction::Answer => self.answer(now, event, out),
            Reaction::Next => self.next(now, event, out),
            Reaction::Drained => self.keep_stop_reason(event),
            Reaction::Live => self.live(now, event, out),
            Reaction::Retry => self.try_again(now, event, out),
            Reaction::Undo => self.undo(now, event, out),
            Reaction::UndoLater => {
                self.failure.get_or_insert_with(|| event.reason());
            }
            Reaction::GiveUp => {
                self.leftovers = true;
                self.next(now, event, out);
            }
            Reaction::Fail => {
                self.stuck = true;
                self.leftovers = true;
                self.end(now, out);
            }
            Reaction::End => self.end(now, out),
            Reaction::Yield => {
                self.yielded = true;
                self.steps.retain(|step| step.phase != Phase::KeepWarm);
            }
            Reaction::Ask => self.ask_again(now, out),
        }
    }

    fn answer(&mut self, now: Millis, event: &Event, out: &mut Vec<Action>) {
        self.keep_stop_reason(event);
        let (Event::Done { set, .. } | Event::Drained { set, .. }) = event else { return };
        self.retry.answered(set);
        if self.pending.remove(set) && self.pending.is_empty() {
            self.advance(now, out);
        }
    }

    fn keep_stop_reason(&mut self, event: &Event) {
        let Event::Drained { set, reason } = event else { return };
        if self.stop_reason(set).is_none() && self.drain_is_final(set) {
            self.stop_reasons.push((set.clone(), *reason));
        }
    }

    fn next(&mut self, now: Millis, event: &Event, out: &mut Vec<Action>) {
        if let Event::Applied { generation, .. } = event {
            self.generation = self.generation.max(*generation);
        }
        self.advance(now, out);
    }

    /// The present flip is live: its old sets retire now.
    fn live(&mut self, now: Millis, event: &Event, out: &mut Vec<Action>) {
        if let Event::Applied { generation, .. } = event {
            self.generation = self.generation.max(*generation);
        }
        self.flips.fill(true);
        // A failover may have made them serve again since they were taken out.
        let batch = self.step().batch;
        self.stop_reasons.retain(|(set, _)| set.side == Side::New || set.batch != batch);
        if self.failure.is_some() {
            self.undo(now, event, out);
        } else {
            self.advance(now, out);
        }
    }

    /// Begins the way back from the present batch.
    fn undo(&mut self, now: Millis, event: &Event, out: &mut Vec<Action>) {
        if self.yielded && matches!(event, Event::Resumed { .. }) {
            return self.ask_again(now, out);
        }
        if self.yielded && !matches!(event, Event::Handover) {
            return;
        }
        self.failure.get_or_insert_with(|| event.reason());
        if self.yielded {
            return self.end(now, out);
        }
        let back = strategy::way_back(&self.services, self.step().batch, self.flips.len());
        self.close_span(now);
        self.steps = back;
        self.at = 0;
        // The old sets serve again, or never stopped: nothing proves any more that they may end.
        self.stop_reasons.clear();
        self.enter(now, out);
    }

    fn end(&mut self, now: Millis, out: &mut Vec<Action>) {
        self.close_span(now);
        self.steps.truncate(self.at + 1);
        self.steps.push(Step { phase: Phase::Ended, batch: 0 });
        self.at += 1;
        self.enter(now, out);
    }

    fn advance(&mut self, now: Millis, out: &mut Vec<Action>) {
        if self.phase() == Phase::Ended {
            return;
        }
        self.close_span(now);
        self.at += 1;
        self.enter(now, out);
    }

    fn close_span(&mut self, now: Millis) {
        self.spans.push(Span { phase: self.phase(), ms: now.since(self.entered) });
    }

    /// Begins a step: asks for its actions, and goes on at once where nobody owes an answer.
    fn enter(&mut self, now: Millis, out: &mut Vec<Action>) {
        let step = self.step();
        self.entered = now;
        self.retry = Retry::default();
        self.pending = self.sets_of(step);
        match step.phase {
            Phase::Flip => self.flips.push(false),
            Phase::KeepWarm | Phase::Ended => self.report(out),
            _ => {}
        }
        self.ask(&self.pending, out);
        if self.pending.is_empty() && waits_for_sets(step.phase) {
            self.advance(now, out);
        }
    }

    /// After a crash: what had been tried is not known to have been carried out, and what had been
    /// decided may never have been told.
    fn forget_tries(&mut self, out: &mut Vec<Action>) {
        self.retry = Retry::default();
        if self.reported.take().is_some() {
            self.report(out);
        }
    }

    fn ask_again(&mut self, now: Millis, out: &mut Vec<Action>) {
        // What waits goes on for the time that is left; what works gets its time again.
        if !matches!(self.phase(), Phase::Monitor | Phase::KeepWarm) {
            self.entered = now;
        }
        self.ask(&self.pending, out);
    }

    fn report(&mut self, out: &mut Vec<Action>) {
        let result = match &self.failure {
            _ if self.stuck => Ending::Failed,
            None => Ending::Done,
            Some(_) if self.flips.contains(&true) => Ending::RolledBack,
            Some(_) => Ending::Refused,
        };
        if self.reported != Some(result) {
            self.reported = Some(result);
            out.push(Action::Report(Verdict { result, reason: self.failure.clone() }));
        }
    }
}

/// Whether a step of this kind is over when every set has answered; others wait for a table, for
/// time, or for a word.
fn waits_for_sets(phase: Phase) -> bool {
    match phase {
        Phase::Pull
        | Phase::TakeOut
        | Phase::Create
        | Phase::Start
        | Phase::Ready
        | Phase::Drain
        | Phase::Stop
        | Phase::Clean
        | Phase::RevertDrain
        | Phase::Abandon => true,
        Phase::Plan
        | Phase::Flip
        | Phase::Monitor
        | Phase::KeepWarm
        | Phase::Revert
        | Phase::PutBack
        | Phase::Ended => false,
    }
}
