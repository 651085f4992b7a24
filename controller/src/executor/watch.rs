//! Watching the new color after the flip: its containers, its endpoints and its figures.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Tools;
use super::record::Part;
use super::report::Counted;
use crate::executor::judge;
use crate::state::Endpoint;

/// What is seen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    /// A figure of the new color breaks what the old one led to expect.
    Breach(String),
    /// None of the new containers can serve.
    Died(String),
}

impl Tools {
    /// Judges the new color until the time is up. Gives the first breach.
    pub(super) async fn judge(
        &self,
        part: &Part,
        before: &Counted,
        at_flip: &Counted,
        limit: Duration,
    ) -> Option<Seen> {
        let end = Instant::now() + limit;
        let restarts = self.restarts(part).await;
        let old = at_flip.color(part.from).since(before.color(part.from));
        // A deploy may be too quick for the old color to be known by: then all it ever did counts.
        let old = if old.requests < ENOUGH { at_flip.color(part.from).clone() } else { old };
        let figures = async {
            loop {
                sleep(JUDGE_AGAIN).await;
                let now = Counted::of(&self.controller.snapshot().await, &part.service);
                let new = now.color(part.to).since(at_flip.color(part.to));
                if let Some(reason) = judge::breach(&old, &new) {
                    return Seen::Breach(reason);
                }
            }
        };
        tokio::select! {
            seen = figures => Some(seen),
            end = self.end_of(part, &restarts) => Some(Seen::Breach(end)),
            () = tokio::time::sleep_until(end) => None,
        }
    }

    /// Ends when none of the new containers has been able to serve for a while.
    pub(super) async fn death(&self, part: &Part) -> Seen {
        let mut since: Option<Instant> = None;
        loop {
            match self.serving(part) {
                true => since = None,
                false => {
                    let gone = *since.get_or_insert_with(Instant::now);
                    if gone.elapsed() >= PATIENCE {
                        let probe = self.last_probe(part);
                        let how = match probe {
                            Some(answer) => format!("the last probe: {answer}"),
                            None => self.end_now(part).await,
                        };
                        return Seen::Died(format!("no container of {} serves: {how}", part.to));
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
            let known = state.discovery.endpoints.iter().filter(|e| ids.contains(&e.container));
            let known: BTreeSet<_> = known.map(crate::state::ContainerEndpoint::id).collect();
            let ours = |e: &&Endpoint| ids.is_empty() || known.contains(&e.id);
            endpoints.iter().filter(ours).any(|e| state.up(&part.service, part.to, e))
        })
    }

    async fn end_now(&self, part: &Part) -> String {
        let never_restarted = BTreeMap::new();
        let ended = self.end_of(part, &never_restarted);
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        ended.unwrap_or_else(|_| "they are not in the table".into())
    }
}

const ENOUGH: u64 = 100;
const JUDGE_AGAIN: Duration = Duration::from_millis(250);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// A probe that fails, or a container that is replaced, is no death.
const PATIENCE: Duration = Duration::from_millis(500);
