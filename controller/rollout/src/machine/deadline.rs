//! How long a step may take.

use super::Rollout;
use crate::event::Event;
use crate::millis::Millis;
use crate::service::RolloutService;
use cutover_api::Phase;

impl Rollout {
    /// When [`Event::Tick`] is due next.
    #[must_use]
    pub fn deadline(&self) -> Option<Millis> {
        self.step_end().into_iter().chain(self.retry.at()).min()
    }

    pub(super) fn is_late(&self, now: Millis) -> bool {
        self.step_end().is_some_and(|end| now >= end)
    }

    /// The event of a step that is out of time, with what went wrong last.
    pub(super) fn lateness(&self, now: Millis) -> Event {
        let (phase, ms) = (self.phase(), now.since(self.entered));
        let mut reason = format!("{phase} was not done within {ms} ms");
        if let Some(last) = self.retry.reason() {
            reason.push_str(": ");
            reason.push_str(last);
        }
        Event::Died { reason }
    }

    /// When the present step is out of time. Drains have no end here: the controller keeps theirs.
    fn step_end(&self) -> Option<Millis> {
        let longest =
            |which: fn(&crate::Limits) -> u64| RolloutService::longest(&self.services, which);
        let ms = match self.phase() {
            Phase::Plan | Phase::Drain | Phase::RevertDrain | Phase::Ended => return None,
            Phase::Pull => PULL_MS,
            Phase::TakeOut => longest(|l| l.drain_ms.max(l.streams_ms)).saturating_add(STEP_MS),
            Phase::Create | Phase::Start => STEP_MS,
            // The executor keeps this one itself and knows what the last probe saw; this is for an
            // executor that does not.
            Phase::Ready => longest(|l| l.deploy_ms).saturating_add(READY_GRACE_MS),
            Phase::Flip => FLIP_MS,
            Phase::Monitor => longest(|l| l.monitor_ms),
            Phase::KeepWarm => longest(|l| l.keep_warm_ms),
            Phase::Stop | Phase::Clean | Phase::Revert | Phase::Abandon | Phase::PutBack => {
                PATIENCE_MS
            }
        };
        Some(self.entered.after(ms))
    }
}

/// A pull may be large; its own progress is what an operator watches.
const PULL_MS: u64 = 15 * 60_000;
/// For creating or starting one set, tries included.
const STEP_MS: u64 = 60_000;
/// Beyond the deploy timeout.
const READY_GRACE_MS: u64 = 2_000;
/// For the proxy's answer, tries included.
const FLIP_MS: u64 = 15_000;
/// How long tidying and the way back are tried.
const PATIENCE_MS: u64 = 120_000;
