//! Watching the new color after the flip: its containers, its endpoints and its figures.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover_rollout::analysis::Thresholds;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Tools;
use crate::state::Endpoint;
use crate::state::counted::Counted;
use crate::state::rollout::{Baseline, Part};

/// Why the new color does not do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum ColorFailure {
    /// A figure of the new color breaks what the old one led to expect.
    Breach(String),
    /// None of the new containers can serve.
    Died(String),
}

impl Tools {
    /// Judges the new color until the time is up. Gives the first breach.
    pub(super) async fn analyze(
        &self,
        part: &Part,
        figures: &Baseline,
        end: Option<Instant>,
    ) -> Option<ColorFailure> {
        let Baseline { before, at_flip } = figures;
        let thresholds = self.thresholds(part);
        let restarts = self.restarts(part).await;
        let old = at_flip.color(part.from).since(before.color(part.from));
        // A deploy may be too quick for the old color to be known by: then all it ever did counts.
        let old = if old.requests < ENOUGH { at_flip.color(part.from).clone() } else { old };
        let over = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        let figures = async {
            loop {
                sleep(JUDGE_AGAIN).await;
                let now = Counted::of(&self.controller.snapshot().await, &part.service);
                let new = now.color(part.to).since(at_flip.color(part.to));
                if let Some(reason) = thresholds.breach(&old, &new) {
                    return ColorFailure::Breach(reason);
                }
            }
        };
        tokio::select! {
            biased;
            failure = figures => Some(failure),
            end = self.end_of(part, &restarts) => Some(ColorFailure::Breach(end)),
            () = over => None,
        }
    }

    /// What the service's config says of the judgement.
    fn thresholds(&self, part: &Part) -> Thresholds {
        self.controller.state(|state| {
            let config = state.service(&part.service).map(|service| &service.rollout);
            config.map_or_else(Thresholds::default, |rollout| Thresholds {
                min_requests: rollout.min_requests,
                max_error_rate: rollout.max_error_rate,
            })
        })
    }

    /// Ends when none of the new containers has been able to serve for so long.
    pub(super) async fn death(&self, part: &Part, patience: Duration) -> ColorFailure {
        let mut since: Option<Instant> = None;
        loop {
            match self.serving(part) {
                true => since = None,
                false => {
                    let gone = *since.get_or_insert_with(Instant::now);
                    if gone.elapsed() >= patience {
                        let probe = self.last_probe(part);
                        let how = match probe {
                            Some(answer) => format!("the last probe: {answer}"),
                            None => self.end_now(part).await,
                        };
                        return ColorFailure::Died(format!(
                            "no container of {} serves: {how}",
                            part.to
                        ));
                    }
                }
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Whether any of the new containers is up; of a color without containers, any endpoint.
    fn serving(&self, part: &Part) -> bool {
        let ids: BTreeSet<_> = part.new_ids().into_iter().collect();
        self.controller.state(|state| {
            let endpoints = state.endpoints(&part.service, part.to);
            let known = state.discovered().endpoints.iter().filter(|e| ids.contains(&e.container));
            let known: BTreeSet<_> = known.map(crate::state::ContainerEndpoint::id).collect();
            let ours = |e: &&Endpoint| ids.is_empty() || known.contains(&e.id);
            endpoints.iter().filter(ours).any(|e| state.up(&part.service, part.to, e))
        })
    }

    async fn end_now(&self, part: &Part) -> String {
        let never_restarted = BTreeMap::new();
        let ended = self.end_of(part, &never_restarted);
        let ended = timeout(SAID_WITHIN, ended).await;
        ended.unwrap_or_else(|_| "they are not in the table".into())
    }
}

const ENOUGH: u64 = 100;
const JUDGE_AGAIN: Duration = Duration::from_millis(250);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// For the engine to say how a container ended.
const SAID_WITHIN: Duration = Duration::from_millis(500);
