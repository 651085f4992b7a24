//! Whether the containers of a candidate are ready, and what becomes of them meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use cutover_api::RolloutEvent;
use cutover_proxy::table::EndpointId;
use tokio::time::{Instant, sleep};

use super::Tools;
use super::progress::Progress;
use super::steps::StepError;
use crate::engine::State;
use crate::serving::ready::Ready;
use crate::state::rollout::Part;

impl Tools {
    /// Waits until every new container is ready and stays so. What a flip to them is to consume.
    pub(super) async fn await_ready(
        &self,
        part: &Part,
        limit: Duration,
        progress: &Progress,
    ) -> Result<Ready, StepError> {
        let deadline = Instant::now() + limit;
        let ready = async {
            let ids = self.endpoints(part).await?;
            let until = self.controller.until_ready(&part.service, part.to, &ids, deadline);
            until.await?;
            sleep(Duration::from_millis(part.min_ready_ms)).await;
            // Still, and where Docker says it is.
            self.discovery.look().await?;
            let ids = self.endpoints(part).await?;
            let until = self.controller.until_ready(&part.service, part.to, &ids, deadline);
            Ok(until.await?)
        };
        let never_restarted = BTreeMap::new();
        tokio::select! {
            biased;
            ready = ready => ready,
            end = self.end_of(part, &never_restarted) => Err(StepError::lasting(end)),
            never = self.say_probes(part, progress) => match never {},
            () = tokio::time::sleep_until(deadline) => Err(StepError::lasting(self.not_ready(part, limit))),
        }
    }

    /// The endpoints of the new containers, once discovery has all of them.
    async fn endpoints(&self, part: &Part) -> Result<Vec<EndpointId>, StepError> {
        let ids: BTreeSet<_> = part.new_ids().into_iter().collect();
        loop {
            let (found, left_out) = self.controller.state(|state| {
                let ours =
                    state.discovered().endpoints.iter().filter(|e| ids.contains(&e.container));
                let names: BTreeSet<_> = part.replicas.iter().map(|r| &r.candidate).collect();
                let mut left = state.discovered().left_out.iter();
                let left = left.find(|left| names.contains(&left.container)).cloned();
                (ours.map(crate::state::ContainerEndpoint::id).collect::<Vec<_>>(), left)
            });
            if let Some(left) = left_out {
                return Err(StepError::lasting(format!(
                    "{} is left out: {}",
                    left.container, left.reason
                )));
            }
            if found.len() == ids.len() {
                return Ok(found);
            }
            sleep(POLL).await;
        }
    }

    /// Ends when a new container has ended or is being restarted, and says how.
    pub(super) async fn end_of(&self, part: &Part, restarts: &BTreeMap<String, u64>) -> String {
        loop {
            for id in part.new_ids() {
                // An engine that does not answer is no end of a container.
                let Ok(found) = self.containers.inspect(&id).await else {
                    continue;
                };
                let Some(container) = found else {
                    return "the new container is gone".into();
                };
                let known = restarts.get(&id).copied().unwrap_or(0);
                let fine = matches!(container.state, State::Running | State::Paused);
                if !fine || container.restarts > known {
                    return format!("{} has ended: {}", container.name, container.end());
                }
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// How often each new container has been restarted by now.
    pub(super) async fn restarts(&self, part: &Part) -> BTreeMap<String, u64> {
        let mut restarts = BTreeMap::new();
        for id in part.new_ids() {
            if let Ok(Some(container)) = self.containers.inspect(&id).await {
                restarts.insert(id, container.restarts);
            }
        }
        restarts
    }

    async fn say_probes(&self, part: &Part, progress: &Progress) -> Infallible {
        loop {
            sleep(SAY_AGAIN).await;
            if let Some(answer) = self.last_probe(part) {
                let service = part.service.clone();
                let phase = cutover_api::Phase::Ready;
                progress.say(RolloutEvent::Probe { service, phase, answer });
            }
        }
    }

    /// What the last probe of a new container saw.
    pub(super) fn last_probe(&self, part: &Part) -> Option<String> {
        let ids: BTreeSet<_> = part.new_ids().into_iter().collect();
        self.controller.state(|state| {
            let mut ours =
                state.discovered().endpoints.iter().filter(|e| ids.contains(&e.container));
            ours.find_map(|endpoint| {
                if let Some(unwell) = &endpoint.unwell {
                    return Some(unwell.clone());
                }
                let key = (part.service.clone(), part.to, endpoint.id());
                state.health(&key)?.last().map(|answer| answer.text.clone())
            })
        })
    }

    fn not_ready(&self, part: &Part, limit: Duration) -> String {
        let answer = self.last_probe(part).unwrap_or_else(|| "no probe was answered".into());
        format!("not ready within {limit:?}: {answer}")
    }
}

const POLL: Duration = Duration::from_millis(50);
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const SAY_AGAIN: Duration = Duration::from_secs(1);
