//! What the clock brings about: phases that run out of time, hangups, retries.

use cutover_proxy::table::Hangup;

use super::Rollout;
use crate::executor::actions::{Action, Millis, Rest, Set, Side};
use crate::executor::phase::Phase;

impl Rollout {
    /// When [`Event::Tick`](crate::executor::actions::Event::Tick) is due next.
    #[must_use]
    pub fn deadline(&self) -> Option<Millis> {
        let phase_end = self.phase_end();
        let hangups = self.hangups_due().into_iter().map(|due| due.at);
        hangups.chain(phase_end).chain(self.retry).min()
    }

    /// What the clock brings about.
    pub(super) fn on_time(&mut self, now: Millis, out: &mut Vec<Action>) {
        for due in self.hangups_due() {
            if now < due.at {
                continue;
            }
            match due.what {
                Some(what) => {
                    self.hung_up.push((due.set.clone(), what));
                    out.push(Action::Hangup { set: due.set, what });
                }
                None => {
                    self.rest(&due.set, Rest::OutOfTime);
                    if self.pending.remove(&due.set) && self.pending.is_empty() {
                        self.advance(now, out);
                    }
                }
            }
        }
        if self.phase_end().is_some_and(|end| now >= end) {
            self.out_of_time(now, out);
        } else if self.retry.is_some_and(|at| now >= at) {
            self.retry = None;
            self.ask(out);
        }
    }

    /// When the present phase is out of time.
    fn phase_end(&self) -> Option<Millis> {
        let ms = match self.phase {
            Phase::Plan | Phase::Drain | Phase::RevertDrain | Phase::Ended => return None,
            Phase::Pull => PULL_MS,
            Phase::Create | Phase::Start => STEP_MS,
            // The shell keeps this one itself and knows what the last probe saw; this is for a shell
            // that does not.
            Phase::Ready => self.limit(|l| l.deploy_ms).saturating_add(READY_GRACE_MS),
            Phase::Flip => FLIP_MS,
            Phase::Monitor => self.limit(|l| l.monitor_ms),
            Phase::KeepWarm => self.limit(|l| l.keep_warm_ms),
            Phase::Stop | Phase::Clean | Phase::Revert | Phase::Abandon => PATIENCE_MS,
        };
        Some(self.entered.after(ms))
    }

    /// The hangups to come, and after the last one the moment at which a set counts as out of time.
    fn hangups_due(&self) -> Vec<Due> {
        let (side, undoing) = match self.phase {
            Phase::Monitor | Phase::Drain => (Side::Old, false),
            Phase::RevertDrain => (Side::New, true),
            _ => return Vec::new(),
        };
        let mut due = Vec::new();
        for (pass, flipped) in self.flipped.iter().enumerate() {
            let from = if undoing { self.reverted.unwrap_or(*flipped) } else { *flipped };
            for member in self.members.iter().filter(|m| pass < m.passes) {
                let set = Set { service: member.service.clone(), pass, side };
                if self.rest_of(&set).is_some() {
                    continue;
                }
                let limits = member.limits;
                let streams_ms = limits.streams_ms.max(limits.drain_ms);
                let sent = |what| self.hung_up.contains(&(set.clone(), what));
                let (what, at) = if sent(Hangup::Everything) {
                    (None, from.after(streams_ms + HANGUP_GRACE_MS))
                } else if sent(Hangup::Requests) {
                    (Some(Hangup::Everything), from.after(streams_ms))
                } else {
                    (Some(Hangup::Requests), from.after(limits.drain_ms))
                };
                due.push(Due { set, what, at });
            }
        }
        due
    }
}

struct Due {
    set: Set,
    what: Option<Hangup>,
    at: Millis,
}

/// A pull may be large; its own progress is what an operator watches.
const PULL_MS: u64 = 15 * 60_000;
/// For creating or starting one set.
const STEP_MS: u64 = 60_000;
/// Beyond the deploy timeout.
const READY_GRACE_MS: u64 = 2_000;
/// For the proxy's answer.
const FLIP_MS: u64 = 15_000;
/// How long tidying is tried before what is left is left to the janitor.
const PATIENCE_MS: u64 = 120_000;
/// From the last hangup to the end of every lease, at most.
const HANGUP_GRACE_MS: u64 = 5_000;
