//! Who owes an answer in a phase, what is asked of them, and what proves that a set may be stopped.

use std::collections::BTreeSet;

use super::{Limits, Origin, Rollout};
use crate::executor::actions::{Action, Rest, Set, Side};
use crate::executor::phase::Phase;

impl Rollout {
    /// Why the old sets are to serve again, if they are.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The actions of the present phase, for everyone who still owes an answer.
    pub(super) fn ask(&self, out: &mut Vec<Action>) {
        let pending = || self.pending.iter().cloned();
        match self.phase {
            Phase::Pull => out.extend(pending().map(|set| Action::Pull(set.service))),
            Phase::Create => out.extend(pending().map(Action::Create)),
            Phase::Start => out.extend(pending().map(Action::Start)),
            Phase::Ready => out.extend(pending().map(Action::AwaitReady)),
            Phase::Flip => out.push(Action::Flip { pass: self.pass }),
            Phase::Revert => out.push(Action::Revert),
            Phase::Monitor => {
                for pass in self.pass..self.flipped.len() {
                    out.extend(self.sets(Side::New, pass).map(Action::Watch));
                    out.extend(self.sets(Side::Old, pass).map(Action::AwaitDrained));
                }
            }
            Phase::Drain | Phase::RevertDrain => out.extend(pending().map(Action::AwaitDrained)),
            Phase::Stop => out.extend(pending().filter_map(|set| {
                let rest = self.rest_of(&set)?;
                Some(Action::Stop { set, rest })
            })),
            Phase::Clean => out.extend(pending().map(Action::Clean)),
            Phase::Abandon => out.extend(pending().filter_map(|set| {
                let rest = self.rest_of(&set)?;
                Some(Action::Abandon { set, rest })
            })),
            Phase::Plan | Phase::KeepWarm | Phase::Ended => {}
        }
    }

    pub(super) fn sets_of(&self, phase: Phase) -> BTreeSet<Set> {
        match phase {
            Phase::Pull => self.sets(Side::New, 0).collect(),
            Phase::Create | Phase::Start | Phase::Ready => {
                self.sets(Side::New, self.pass).collect()
            }
            Phase::Drain => (0..self.flipped.len())
                .flat_map(|pass| self.sets(Side::Old, pass))
                .filter(|set| self.rest_of(set).is_none())
                .collect(),
            Phase::Stop | Phase::Clean => {
                (0..self.passes()).flat_map(|pass| self.sets(Side::Old, pass)).collect()
            }
            Phase::RevertDrain => {
                (0..self.flipped.len()).flat_map(|pass| self.sets(Side::New, pass)).collect()
            }
            Phase::Abandon if self.origin == Origin::Running => {
                (0..self.passes()).flat_map(|pass| self.sets(Side::New, pass)).collect()
            }
            Phase::Abandon => (0..self.flipped.len().max(self.pass + 1))
                .flat_map(|pass| self.sets(Side::New, pass))
                .collect(),
            Phase::Plan
            | Phase::Flip
            | Phase::Monitor
            | Phase::KeepWarm
            | Phase::Revert
            | Phase::Ended => BTreeSet::new(),
        }
    }

    pub(super) fn sets(&self, side: Side, pass: usize) -> impl Iterator<Item = Set> {
        self.members.iter().filter(move |member| pass < member.passes).map(move |member| Set {
            service: member.service.clone(),
            pass,
            side,
        })
    }

    pub(super) fn passes(&self) -> usize {
        self.members.iter().map(|m| m.passes).max().unwrap_or(1)
    }

    pub(super) fn limit(&self, which: impl Fn(&Limits) -> u64) -> u64 {
        self.members.iter().map(|member| which(&member.limits)).max().unwrap_or(0)
    }

    pub(super) fn rest_of(&self, set: &Set) -> Option<Rest> {
        let known = self.rests.iter().find(|(known, _)| known == set);
        match known {
            Some((_, rest)) => Some(*rest),
            // No table was ever asked for that names it.
            None if set.side == Side::New && set.pass >= self.flipped.len() => {
                Some(Rest::NeverServed)
            }
            None => None,
        }
    }

    pub(super) fn rest(&mut self, set: &Set, rest: Rest) {
        let serves = match set.side {
            Side::Old => self.reverted.is_some() || set.pass >= self.flipped.len(),
            Side::New => !matches!(self.phase, Phase::RevertDrain | Phase::Abandon | Phase::Ended),
        };
        let known = self.rests.iter().any(|(known, _)| known == set);
        if !serves && !known {
            self.rests.push((set.clone(), rest));
        }
    }
}
