//! Trying again what failed for a reason that may pass.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Rollout;
use crate::action::Action;
use crate::event::Event;
use crate::millis::Millis;
use crate::set::Set;

/// The tries of the present step.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(super) struct Retry {
    tries: u32,
    at: Option<Millis>,
    /// Who is asked again; nobody where a table is.
    sets: BTreeSet<Set>,
    reason: Option<String>,
}

impl Retry {
    /// When the next try is due.
    pub(super) fn at(&self) -> Option<Millis> {
        self.at
    }

    /// What went wrong last.
    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// A set has answered after all.
    pub(super) fn answered(&mut self, set: &Set) {
        self.sets.remove(set);
    }

    fn failed(&mut self, now: Millis, set: Option<Set>, reason: String) {
        self.sets.extend(set);
        self.reason = Some(reason);
        if self.at.is_none() {
            let wait = FIRST_MS.saturating_mul(1 << self.tries.min(16)).min(LONGEST_MS);
            self.tries += 1;
            self.at = Some(now.after(wait));
        }
    }
}

impl Rollout {
    /// Puts off what failed. Where the way back was only put off until the answer, it begins.
    pub(super) fn try_again(&mut self, now: Millis, event: &Event, out: &mut Vec<Action>) {
        if self.failure.is_some() && !self.phase().is_undo() {
            return self.undo(now, event, out);
        }
        match event {
            Event::Failed { set, .. } => {
                self.retry.failed(now, Some(set.clone()), event.reason());
            }
            Event::NotApplied { .. } => self.retry.failed(now, None, event.reason()),
            _ => {}
        }
    }

    /// Asks again if it is time.
    pub(super) fn retry_due(&mut self, now: Millis, out: &mut Vec<Action>) {
        if self.retry.at.is_some_and(|at| now >= at) {
            self.retry.at = None;
            let sets = std::mem::take(&mut self.retry.sets);
            self.ask(&sets, out);
        }
    }
}

/// Before the second try; each wait after it is twice as long.
const FIRST_MS: u64 = 1_000;
/// The longest wait.
const LONGEST_MS: u64 = 10_000;
