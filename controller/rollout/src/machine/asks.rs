//! Which sets a step is about, what is asked of them, and what proves that one may be stopped.

use std::collections::BTreeSet;

use super::Rollout;
use crate::action::Action;
use crate::set::{Set, Side, StopReason};
use crate::strategy::{self, Step, Strategy};
use cutover_api::Phase;

impl Rollout {
    /// The actions of the present step, for these sets.
    pub(super) fn ask(&self, of: &BTreeSet<Set>, out: &mut Vec<Action>) {
        let sets = || of.iter().cloned();
        let Step { phase, batch } = self.step();
        match phase {
            Phase::Pull => out.extend(sets().map(|set| Action::Pull(set.service))),
            Phase::TakeOut => out.extend(sets().map(Action::TakeOut)),
            Phase::Create => out.extend(sets().map(Action::Create)),
            Phase::Start => out.extend(sets().map(Action::Start)),
            Phase::Ready => out.extend(sets().map(Action::AwaitReady)),
            Phase::Flip => out.push(Action::Flip { batch }),
            Phase::Revert => out.push(Action::Revert { batch }),
            Phase::PutBack => out.push(Action::PutBack { batch }),
            Phase::Monitor => {
                out.extend(self.sets(Side::New, batch).map(Action::Watch));
                let draining =
                    self.sets(Side::Old, batch).filter(|s| self.stop_reason(s).is_none());
                out.extend(draining.map(Action::AwaitDrained));
            }
            Phase::Drain | Phase::RevertDrain => out.extend(sets().map(Action::AwaitDrained)),
            Phase::Stop => out.extend(sets().filter_map(|set| {
                let reason = self.stop_reason(&set)?;
                Some(Action::Stop { set, reason })
            })),
            Phase::Clean => out.extend(sets().map(Action::Clean)),
            Phase::Abandon => out.extend(sets().filter_map(|set| {
                let reason = self.stop_reason(&set)?;
                Some(Action::Abandon { set, reason })
            })),
            Phase::Plan | Phase::KeepWarm | Phase::Ended => {}
        }
    }

    /// The sets that owe an answer in a step.
    pub(super) fn sets_of(&self, step: Step) -> BTreeSet<Set> {
        let batches = 0..strategy::batches(&self.services);
        match step.phase {
            Phase::Pull => self.first_sets().collect(),
            Phase::TakeOut => self.taken_out(step.batch).collect(),
            Phase::Create | Phase::Start | Phase::Ready | Phase::RevertDrain | Phase::Abandon => {
                self.sets(Side::New, step.batch).collect()
            }
            Phase::Drain => batches
                .flat_map(|batch| self.sets(Side::Old, batch))
                .filter(|set| self.stop_reason(set).is_none())
                .collect(),
            Phase::Stop | Phase::Clean => batches
                .flat_map(|batch| self.sets(Side::Old, batch))
                .filter(|set| self.is_due(set, step.phase))
                .collect(),
            Phase::Plan
            | Phase::Flip
            | Phase::Monitor
            | Phase::KeepWarm
            | Phase::Revert
            | Phase::PutBack
            | Phase::Ended => BTreeSet::new(),
        }
    }

    /// Whether it is an old set's turn to be stopped or cleaned up. Where that is done twice, before
    /// and after some are kept warm, the services whose colors both serve come first.
    fn is_due(&self, set: &Set, phase: Phase) -> bool {
        let of_both = self.taken_out(set.batch).any(|taken| taken == *set);
        let mut later = self.steps.iter().skip(self.at + 1);
        let mut earlier = self.steps.iter().take(self.at);
        if later.any(|step| step.phase == phase) {
            of_both
        } else {
            !of_both || !earlier.any(|step| step.phase == phase)
        }
    }

    /// The sets of one side of a batch.
    pub(super) fn sets(&self, side: Side, batch: usize) -> impl Iterator<Item = Set> {
        let services = self.services.iter().filter(move |service| self.takes_part(service, batch));
        services.map(move |service| Set { service: service.name.clone(), batch, side })
    }

    /// The first new set of each service.
    fn first_sets(&self) -> impl Iterator<Item = Set> {
        self.services.iter().filter_map(|service| {
            let mut batches = 0..strategy::batches(&self.services);
            let batch = batches.find(|batch| self.takes_part(service, *batch))?;
            Some(Set { service: service.name.clone(), batch, side: Side::New })
        })
    }

    fn taken_out(&self, batch: usize) -> impl Iterator<Item = Set> {
        let both = self.services.iter().filter(|service| service.strategy == Strategy::Both);
        both.map(move |service| Set { service: service.name.clone(), batch, side: Side::Old })
    }

    /// Why a set may be stopped, if it may.
    #[must_use]
    pub fn stop_reason(&self, set: &Set) -> Option<StopReason> {
        let known = self.stop_reasons.iter().find(|(known, _)| known == set);
        match known {
            Some((_, reason)) => Some(*reason),
            // No table was ever asked for that names it.
            None if set.side == Side::New && set.batch >= self.flips.len() => {
                Some(StopReason::NeverServed)
            }
            None => None,
        }
    }

    /// Whether a drain of the set can have ended for good: on the way forward those that are
    /// replaced, on the way back those that replaced them.
    pub(super) fn drain_is_final(&self, set: &Set) -> bool {
        match set.side {
            Side::Old => self.failure.is_none(),
            Side::New => self.phase() == Phase::RevertDrain && self.step().batch == set.batch,
        }
    }
}
