//! One color serves; the other one is brought up beside it.

use super::Step;
use crate::service::Origin;
use cutover_api::Phase;

const STEPS: [Phase; 12] = [
    Phase::Plan,
    Phase::Pull,
    Phase::Create,
    Phase::Start,
    Phase::Ready,
    Phase::Flip,
    Phase::Monitor,
    Phase::Drain,
    Phase::KeepWarm,
    Phase::Stop,
    Phase::Clean,
    Phase::Ended,
];

/// The steps; containers that run already begin at the flip.
pub(super) fn steps(origin: Origin, warm: bool) -> Vec<Step> {
    let wanted = |phase: &Phase| match phase {
        Phase::Pull | Phase::Create | Phase::Start | Phase::Ready => origin == Origin::Created,
        Phase::KeepWarm => warm,
        _ => true,
    };
    STEPS.into_iter().filter(wanted).map(|phase| Step::of(phase, 0)).collect()
}
