//! Both colors serve: each in turn stops serving, is replaced and serves again, while the other one
//! serves alone. What was replaced runs on, idle, until all is done: the way back needs no new
//! container.

use super::Step;
use cutover_api::Phase;

const ONCE_PER_BATCH: [Phase; 6] =
    [Phase::TakeOut, Phase::Create, Phase::Start, Phase::Ready, Phase::Flip, Phase::Monitor];

const BATCHES: usize = 2;

/// The steps. Nothing of both colors is kept warm, for the way back is closed by then; services with
/// one color that flip along may be.
pub(super) fn steps(warm: bool) -> Vec<Step> {
    let last = BATCHES - 1;
    let mut steps = vec![Step::of(Phase::Plan, 0), Step::of(Phase::Pull, 0)];
    for batch in 0..BATCHES {
        steps.extend(ONCE_PER_BATCH.map(|phase| Step::of(phase, batch)));
    }
    let mut finally = vec![Phase::Drain, Phase::Stop, Phase::Clean];
    if warm {
        finally.extend([Phase::KeepWarm, Phase::Stop, Phase::Clean]);
    }
    finally.push(Phase::Ended);
    steps.extend(finally.into_iter().map(|phase| Step::of(phase, last)));
    steps
}
