//! From what is to be replaced to the steps that do it, and the way back from each.
//!
//! A strategy to come is a file here that gives a list of steps: `rolling` is create to monitor once
//! per batch, `recreate` takes the old containers out before it creates, and hooks and traffic
//! steps (hold and resume requests) are further kinds of steps in these lists.

mod blue_green;
mod both;

use serde::{Deserialize, Serialize};

use crate::service::{Limits, Origin, RolloutService};
use cutover_api::Phase;

/// How the containers of a service are replaced.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// One color serves: the other one gets the new release, and all requests with it.
    #[default]
    BlueGreen,
    /// Both colors serve: they are replaced one after the other.
    Both,
}

/// One step of a rollout.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Step {
    /// What is done.
    pub phase: Phase,
    /// Of what is replaced one after the other, which: always 0 where one color serves; where both
    /// do, 0 or 1.
    pub batch: usize,
}

impl Step {
    const fn of(phase: Phase, batch: usize) -> Self {
        Self { phase, batch }
    }
}

/// The steps of a rollout when all goes well. Services that flip together follow one list: where one
/// of them is replaced color by color, the others flip with its last one. Where both colors serve
/// nothing is warm, so `origin` matters to the others alone.
#[must_use]
pub fn steps(services: &[RolloutService], origin: Origin) -> Vec<Step> {
    let warm = services.iter().any(|service| service.limits.keep_warm_ms > 0);
    if services.iter().any(|service| service.strategy == Strategy::Both) {
        both::steps(warm)
    } else {
        blue_green::steps(origin, warm)
    }
}

/// How many batches a rollout of these services has.
#[must_use]
pub(crate) fn batches(services: &[RolloutService]) -> usize {
    1 + usize::from(services.iter().any(|service| service.strategy == Strategy::Both))
}

/// Whether a service takes part in a batch.
#[must_use]
pub(crate) fn takes_part(
    service: &RolloutService,
    batch: usize,
    services: &[RolloutService],
) -> bool {
    match service.strategy {
        Strategy::Both => batch < batches(services),
        Strategy::BlueGreen => batch + 1 == batches(services),
    }
}

/// The steps back from a batch, the last one first; `flipped` batches have been in a table.
#[must_use]
pub(crate) fn way_back(services: &[RolloutService], batch: usize, flipped: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    for batch in (0..=batch).rev() {
        if batch < flipped {
            steps.push(Step::of(Phase::Revert, batch));
            steps.push(Step::of(Phase::RevertDrain, batch));
        }
        steps.push(Step::of(Phase::Abandon, batch));
        if services.iter().any(|service| service.strategy == Strategy::Both) {
            steps.push(Step::of(Phase::PutBack, batch));
        }
    }
    steps.push(Step::of(Phase::Ended, 0));
    steps
}

impl RolloutService {
    /// The longest of these limits among services that flip together.
    #[must_use]
    pub(crate) fn longest(services: &[Self], which: impl Fn(&Limits) -> u64) -> u64 {
        services.iter().map(|service| which(&service.limits)).max().unwrap_or(0)
    }
}
