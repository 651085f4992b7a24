//! Both colors serve: each in turn stops serving, is replaced and serves again, while the other one
//! serves alone. What was replaced runs on, idle, until all is done: the way back needs no new
//! container.

use super::Step;
use crate::phase::Phase;

const ONCE_PER_BATCH: [Phase; 6] =
    [Phase::TakeOut, Phase::Create, Phase::Start, Phase::Ready, Phase::Flip, Phase::Monitor];

const BATCHES: usize = 2;

/// The steps. A warm color is only of use to services with one color that flip along.
pub(super) fn steps(warm: bool) -> Vec<Step> {
    let last = BATCHES - 1;
    let mut steps = vec![Step::of(Phase::Plan, 0), Step::of(Phase::Pull, 0)];
    for batch in 0..BATCHES {
        steps.extend(ONCE_PER_BATCH.map(|phase| Step::of(phase, batch)));
    }
    steps.push(Step::of(Phase::Drain, last));
    if warm {
        steps.push(Step::of(Phase::KeepWarm, last));
    }
    steps.extend([Phase::Stop, Phase::Clean, Phase::Ended].map(|phase| Step::of(phase, last)));
    steps
}
