//! The order of a rollout, without I/O: an event and a time go in, actions come out.
//!
//! The shell writes the machine to the journal after every step and before it carries out what
//! the step asked for, so the journal always knows at least as much as the state. Every interleaving
//! of answers, faults, timeouts and crashes can therefore be played without Docker: see
//! `tests/rollout.rs`.

mod clock;
mod member;
mod sets;

use std::collections::BTreeSet;

use cutover_proxy::table::{Generation, Hangup};
use serde::{Deserialize, Serialize};

use super::actions::{Action, Ending, Event, Millis, Outcome, Rest, Set, Side};
use super::phase::Phase;
pub use member::{Limits, Member, Origin, Span};

/// One deploy or rollback of one or more services that flip together.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Rollout {
    members: Vec<Member>,
    origin: Origin,
    phase: Phase,
    /// 0, or 1 for the second color under `both`.
    pass: usize,
    entered: Millis,
    /// Who still owes an answer in this phase.
    pending: BTreeSet<Set>,
    /// When each pass's table was asked for; drain deadlines count from here.
    flipped: Vec<Millis>,
    /// How many of those are known to have been live.
    confirmed: usize,
    reverted: Option<Millis>,
    rests: Vec<(Set, Rest)>,
    hung_up: Vec<(Set, Hangup)>,
    retry: Option<Millis>,
    failure: Option<String>,
    reported: Option<Ending>,
    generation: Generation,
    spans: Vec<Span>,
    leftovers: bool,
}

impl Rollout {
    /// A rollout that has not begun.
    #[must_use]
    pub fn new(members: Vec<Member>, origin: Origin, now: Millis) -> Self {
        Self {
            members,
            origin,
            phase: Phase::Plan,
            pass: 0,
            entered: now,
            pending: BTreeSet::new(),
            flipped: Vec::new(),
            confirmed: 0,
            reverted: None,
            rests: Vec::new(),
            hung_up: Vec::new(),
            retry: None,
            failure: None,
            reported: None,
            generation: Generation(0),
            spans: Vec::new(),
            leftovers: false,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Which color's turn it is: 0, or 1 for the second under `both`.
    #[must_use]
    pub fn pass(&self) -> usize {
        self.pass
    }

    /// Its services.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// What each finished phase took, in order.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// What has been told to the client, if anything.
    #[must_use]
    pub fn reported(&self) -> Option<Ending> {
        self.reported
    }

    /// Whether containers may have been left behind because Docker would not answer.
    #[must_use]
    pub fn left_something(&self) -> bool {
        self.leftovers
    }

    /// Whether another rollout of these services has to wait.
    #[must_use]
    pub fn holds_lock(&self) -> bool {
        !matches!(self.phase, Phase::KeepWarm | Phase::Ended)
    }

    /// Takes an event in and says what is to be done; what does not concern this phase is ignored.
    #[must_use]
    pub fn step(&mut self, now: Millis, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        match event {
            Event::Begin if self.phase == Phase::Plan => match self.origin {
                Origin::Created => self.enter(Phase::Pull, now, &mut out),
                Origin::Running => self.enter(Phase::Flip, now, &mut out),
            },
            Event::Done { phase, set } => self.done(now, phase, set, &mut out),
            Event::Failed { phase, reason, .. } => self.failed(now, phase, reason, &mut out),
            Event::Applied { phase, generation } => {
                self.applied(now, phase, generation, &mut out);
            }
            Event::NotApplied { phase, reason } => self.not_applied(now, phase, reason, &mut out),
            Event::Died { reason, .. } | Event::Breach { reason, .. } => {
                self.undo(now, reason, &mut out);
            }
            Event::Abort { reason } if self.phase != Phase::KeepWarm => {
                self.undo(now, reason, &mut out);
            }
            Event::Supersede if self.phase == Phase::KeepWarm => {
                self.enter(Phase::Stop, now, &mut out);
            }
            Event::Handover if self.phase == Phase::KeepWarm => {
                self.enter(Phase::Ended, now, &mut out);
            }
            Event::Resumed { flipped } => self.resume(now, flipped, &mut out),
            Event::Begin
            | Event::Abort { .. }
            | Event::Supersede
            | Event::Handover
            | Event::Tick => {}
        }
        self.on_time(now, &mut out);
        out
    }

    fn done(&mut self, now: Millis, phase: Phase, set: Set, out: &mut Vec<Action>) {
        if matches!(phase, Phase::Drain | Phase::RevertDrain) {
            self.rest(&set, Rest::Idle);
        }
        // A drain may end while the new set is still being judged.
        let due = phase == self.phase && self.pending.remove(&set);
        if due && self.pending.is_empty() {
            self.advance(now, out);
        }
    }

    fn failed(&mut self, now: Millis, phase: Phase, reason: String, out: &mut Vec<Action>) {
        if phase != self.phase {
            return;
        }
        if phase.is_before_flip() {
            self.undo(now, reason, out);
        } else if self.retry.is_none() {
            self.retry = Some(now.after(RETRY_MS));
        }
    }

    fn applied(
        &mut self,
        now: Millis,
        phase: Phase,
        generation: Generation,
        out: &mut Vec<Action>,
    ) {
        if phase != self.phase {
            return;
        }
        self.generation = self.generation.max(generation);
        match phase {
            Phase::Flip => {
                self.confirm(now);
                if self.failure.is_some() {
                    self.enter(Phase::Revert, now, out);
                } else {
                    self.enter(Phase::Monitor, now, out);
                }
            }
            Phase::Revert => self.enter(Phase::RevertDrain, now, out),
            _ => {}
        }
    }

    /// The present pass's table is live: its old sets have retired now.
    fn confirm(&mut self, now: Millis) {
        for at in self.flipped.iter_mut().skip(self.confirmed) {
            *at = now;
        }
        self.confirmed = self.flipped.len();
    }

    fn not_applied(&mut self, now: Millis, phase: Phase, reason: String, out: &mut Vec<Action>) {
        if phase != self.phase {
            return;
        }
        match phase {
            // Nobody knows whether the proxy has it: make sure that it has not.
            Phase::Flip => {
                self.failure.get_or_insert(reason);
                self.enter(Phase::Revert, now, out);
            }
            Phase::Revert => self.retry = Some(now.after(RETRY_MS)),
            _ => {}
        }
    }

    /// Goes back to the old sets, by the way that fits the phase.
    fn undo(&mut self, now: Millis, reason: String, out: &mut Vec<Action>) {
        match self.phase {
            Phase::Plan | Phase::Pull | Phase::Create | Phase::Start | Phase::Ready => {
                self.failure.get_or_insert(reason);
                if self.flipped.is_empty() {
                    self.enter(Phase::Abandon, now, out);
                } else {
                    self.enter(Phase::Revert, now, out);
                }
            }
            // The answer is on its way; what it says decides nothing any more.
            Phase::Flip => {
                self.failure.get_or_insert(reason);
            }
            Phase::Monitor | Phase::Drain | Phase::KeepWarm => {
                self.failure.get_or_insert(reason);
                self.enter(Phase::Revert, now, out);
            }
            // Past the point of return, or on the way back already.
            Phase::Stop
            | Phase::Clean
            | Phase::Revert
            | Phase::RevertDrain
            | Phase::Abandon
            | Phase::Ended => {}
        }
    }

    fn resume(&mut self, now: Millis, flipped: bool, out: &mut Vec<Action>) {
        self.retry = None;
        let crashed =
            || "the controller failed or was restarted in the middle of the rollout".to_owned();
        // Hangups of before may never have been sent.
        self.hung_up.clear();
        // Nor may what had been decided ever have been told.
        if self.reported.take().is_some() {
            self.report(out);
        }
        match self.phase {
            Phase::Ended => {}
            Phase::Plan | Phase::Pull | Phase::Create | Phase::Start | Phase::Ready => {
                self.undo(now, crashed(), out);
            }
            Phase::Flip if flipped && self.failure.is_none() => {
                self.confirm(now);
                // What the old set's figures were is lost: there is nothing to compare with.
                self.enter(Phase::Drain, now, out);
            }
            Phase::Flip => {
                self.failure.get_or_insert_with(crashed);
                self.enter(Phase::Revert, now, out);
            }
            Phase::Monitor => self.enter(Phase::Drain, now, out),
            Phase::Drain
            | Phase::KeepWarm
            | Phase::Stop
            | Phase::Clean
            | Phase::Revert
            | Phase::RevertDrain
            | Phase::Abandon => {
                self.entered = now;
                self.ask(out);
            }
        }
    }

    fn out_of_time(&mut self, now: Millis, out: &mut Vec<Action>) {
        let phase = self.phase;
        match phase {
            Phase::Plan | Phase::Pull | Phase::Create | Phase::Start | Phase::Ready => {
                let ms = now.since(self.entered);
                self.undo(now, format!("{phase} was not done within {ms} ms"), out);
            }
            Phase::Flip => {
                let reason = "the proxy did not confirm the new table".to_owned();
                self.not_applied(now, Phase::Flip, reason, out);
            }
            Phase::Monitor => self.enter(Phase::Drain, now, out),
            Phase::KeepWarm => self.enter(Phase::Stop, now, out),
            Phase::Stop | Phase::Clean | Phase::Abandon => {
                self.leftovers = true;
                self.advance(now, out);
            }
            // Neither set can be made to serve alone: leave both as they are for a human.
            Phase::Revert => {
                self.leftovers = true;
                self.enter(Phase::Ended, now, out);
            }
            Phase::Drain | Phase::RevertDrain | Phase::Ended => {}
        }
    }

    /// Everybody has answered.
    fn advance(&mut self, now: Millis, out: &mut Vec<Action>) {
        let next = match self.phase {
            Phase::Plan => Phase::Pull,
            Phase::Pull => Phase::Create,
            Phase::Create => Phase::Start,
            Phase::Start => Phase::Ready,
            Phase::Ready => Phase::Flip,
            Phase::Flip => Phase::Monitor,
            Phase::Monitor => Phase::Drain,
            Phase::Drain if self.origin == Origin::Created && self.pass + 1 < self.passes() => {
                self.pass += 1;
                Phase::Create
            }
            Phase::Drain => Phase::KeepWarm,
            Phase::KeepWarm => Phase::Stop,
            Phase::Stop => Phase::Clean,
            Phase::Revert => Phase::RevertDrain,
            Phase::RevertDrain => Phase::Abandon,
            Phase::Clean | Phase::Abandon | Phase::Ended => Phase::Ended,
        };
        self.enter(next, now, out);
    }

    /// Begins a phase: asks for its actions, and goes on at once where there are none.
    fn enter(&mut self, phase: Phase, now: Millis, out: &mut Vec<Action>) {
        if phase != Phase::Ended || self.phase != Phase::Ended {
            self.spans.push(Span { phase: self.phase, ms: now.since(self.entered) });
        }
        self.phase = phase;
        self.entered = now;
        self.retry = None;
        self.pending = self.sets_of(phase);
        match phase {
            Phase::Flip => {
                self.flipped.push(now);
                // All passes of a warm rollout go together.
                while self.origin == Origin::Running && self.flipped.len() < self.passes() {
                    self.flipped.push(now);
                }
            }
            Phase::Revert => {
                self.reverted = Some(now);
                // The old sets serve again: what they had to show for their rest is void.
                self.rests.retain(|(set, _)| set.side != Side::Old);
            }
            Phase::RevertDrain => self.reverted = Some(now),
            Phase::KeepWarm if self.limit(|l| l.keep_warm_ms) > 0 => self.report(out),
            Phase::Ended => self.report(out),
            _ => {}
        }
        self.ask(out);
        let waits = matches!(
            phase,
            Phase::Flip | Phase::Revert | Phase::KeepWarm | Phase::Monitor | Phase::Ended
        );
        if self.pending.is_empty() && !waits {
            self.advance(now, out);
        }
    }

    fn report(&mut self, out: &mut Vec<Action>) {
        let result = match (&self.failure, self.phase) {
            (None, _) => Ending::Done,
            (Some(_), Phase::Ended) if self.leftovers && self.reverted_in_vain() => Ending::Failed,
            (Some(_), _) if self.confirmed > 0 => Ending::RolledBack,
            (Some(_), _) => Ending::Refused,
        };
        if self.reported == Some(result) {
            return;
        }
        self.reported = Some(result);
        out.push(Action::Report(Outcome { result, reason: self.failure.clone() }));
    }

    /// Whether the rollout ended because the old sets could not be brought back.
    fn reverted_in_vain(&self) -> bool {
        self.spans.last().is_some_and(|s| s.phase == Phase::Revert)
    }
}

/// Between two tries.
const RETRY_MS: u64 = 1_000;
