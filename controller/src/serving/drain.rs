//! Work of colors that no longer serve: watched until it is over, ended when its time is up.
//!
//! What drains is what the proxy says is alive; nothing here counts. Deadlines are for colors that
//! do not serve: a pool that was replaced by another of the same color may take its time.

use std::time::Duration;

use cutover_proxy::table::{Color, Generation, Hangup, PoolStats, ServiceName, Snapshot};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::Controller;
use crate::config::DrainConfig;
use crate::millis::millis;
use crate::state::events::EventKind;
use crate::state::status::DrainStatus;
use crate::state::{DrainEnd, Retired, State};

impl Controller {
    /// Waits until nothing is in flight on the pools of a color that came before a generation:
    /// the one of the table that stopped it. `None` when the color serves again; then nothing is
    /// closed by force any more.
    ///
    /// Deadlines are kept in the background, whether anyone waits here or not.
    ///
    /// # Cancel safety
    /// Safe: it only watches.
    pub async fn drained(
        &self,
        service: &ServiceName,
        color: Color,
        before: Generation,
    ) -> Option<DrainEnd> {
        let mut ended = self.0.drain_ended.subscribe();
        let key = (service.clone(), color);
        loop {
            ended.borrow_and_update();
            let now = self.state(|state| {
                if state.serves(service, color) {
                    Some(None)
                } else if state.retired.get(&key).is_some_and(|r| r.generation <= before) {
                    None
                } else {
                    Some(Some(state.drained.get(&key).copied().unwrap_or_default()))
                }
            });
            if let Some(outcome) = now {
                return outcome;
            }
            if ended.changed().await.is_err() {
                return None;
            }
        }
    }

    /// Ends what still drains of a color by these limits. A controller before us may have begun it,
    /// and all that it had said of limits went with it.
    pub(crate) async fn take_over_drain(
        &self,
        service: &ServiceName,
        color: Color,
        limits: DrainConfig,
    ) {
        while !self.state(|state| state.published) {
            sleep(LOOK_AGAIN).await;
        }
        self.follow_drains().await;
        self.change_quietly(|state| {
            if let Some(retired) = state.retired.get_mut(&(service.clone(), color)) {
                retired.limits = limits;
            }
        });
        self.0.drains.notify_one();
    }

    /// Follows every drain, and keeps the deadlines.
    pub(crate) async fn watch_drains(self) {
        // A controller that starts finds drains of the one before.
        self.0.drains.notify_one();
        loop {
            self.0.drains.notified().await;
            #[cfg(test)]
            crate::panics::point(&self.point("watching drains"));
            while self.follow_drains().await {
                sleep(LOOK_AGAIN).await;
            }
        }
    }

    /// Looks once. True while something drains.
    async fn follow_drains(&self) -> bool {
        let Ok(snapshot) = self.0.edge.snapshot().await else {
            return self.state(|state| !state.retired.is_empty());
        };
        let (hangups, ended, goes_on) = self.change_quietly(|state| {
            state.snapshot = snapshot;
            state.adopt_drains(Instant::now());
            let ended = state.end_drains();
            (state.overdue(Instant::now()), ended, !state.retired.is_empty())
        });
        for (service, color, before, what) in hangups {
            if let Err(error) = self.0.edge.hangup(service, color, before, what).await {
                warn!(%error, "drain deadline not kept");
            }
        }
        for (service, color, retired, drained) in ended {
            info!(
                %service, %color, ms = retired.since.elapsed().as_millis(),
                forced_requests = drained.forced_requests,
                forced_streams = drained.forced_streams, "drained"
            );
            self.tally(|tally| {
                tally.drains.entry(service.clone()).or_default().observe(drained.longest);
            });
            self.0.events.send(EventKind::Drained {
                service,
                color,
                ms: millis(drained.longest),
                forced_requests: drained.forced_requests,
                forced_streams: drained.forced_streams,
            });
            self.0.drain_ended.send_replace(());
        }
        goes_on
    }
}

type Overdue = (ServiceName, Color, Generation, Hangup);
type Ended = (ServiceName, Color, Retired, DrainEnd);

impl State {
    /// The retired pools of a color that came before a generation.
    fn retired_pools(
        snapshot: &Snapshot,
        service: &ServiceName,
        color: Color,
        before: Generation,
    ) -> impl Iterator<Item = PoolStats> {
        let ours = snapshot.pools.iter().filter(move |pool| {
            pool.retired
                && pool.service == *service
                && pool.color == color
                && pool.generation < before
        });
        ours.cloned().collect::<Vec<_>>().into_iter()
    }

    /// Pools that were retired before we started are drains like any other, from now on.
    fn adopt_drains(&mut self, now: Instant) {
        if !self.published {
            return;
        }
        let generation = self.snapshot.generation;
        let orphans: Vec<_> =
            self.snapshot.pools.iter().filter(|pool| pool.retired).cloned().collect();
        for pool in orphans {
            if !self.serves(&pool.service, pool.color) {
                let limits = self.drain_limits(&pool.service, None);
                let forced_before = self.forced(&pool.service, pool.color);
                self.retired.entry((pool.service, pool.color)).or_insert(Retired {
                    since: now,
                    generation,
                    limits,
                    forced_before,
                });
            }
        }
    }

    /// Takes out the drains that are over.
    fn end_drains(&mut self) -> Vec<Ended> {
        let mut ended = Vec::new();
        for ((service, color), retired) in self.retired.clone() {
            // Counts from before the flip say nothing about it.
            if self.snapshot.generation < retired.generation {
                continue;
            }
            if Self::retired_pools(&self.snapshot, &service, color, retired.generation)
                .next()
                .is_some()
            {
                continue;
            }
            let (requests, streams) = self.forced(&service, color);
            let drained = DrainEnd {
                forced_requests: requests.saturating_sub(retired.forced_before.0),
                forced_streams: streams.saturating_sub(retired.forced_before.1),
                longest: retired.since.elapsed(),
            };
            self.retired.remove(&(service.clone(), color));
            self.drained.insert((service.clone(), color), drained);
            ended.push((service, color, retired, drained));
        }
        ended
    }

    /// Whose time is up.
    fn overdue(&self, now: Instant) -> Vec<Overdue> {
        let hangup = |((service, color), retired): (&(ServiceName, Color), &Retired)| {
            let spent = now.saturating_duration_since(retired.since);
            let what = if spent >= retired.limits.timeout.max(retired.limits.streams) {
                Hangup::Everything
            } else if spent >= retired.limits.timeout {
                Hangup::Requests
            } else {
                return None;
            };
            Some((service.clone(), *color, retired.generation, what))
        };
        self.retired.iter().filter_map(hangup).collect()
    }

    /// The retired pools of a service, as of the last counts.
    #[must_use]
    pub fn draining(&self, service: &ServiceName, now: Instant) -> Vec<DrainStatus> {
        let pools = self.snapshot.pools.iter().filter(|p| p.retired && p.service == *service);
        pools
            .map(|pool| DrainStatus {
                color: pool.color,
                generation: pool.generation,
                requests: pool.requests,
                streams: pool.streams,
                deadline_ms: self.retired.get(&(service.clone(), pool.color)).map(|retired| {
                    let limits = retired.limits;
                    let limit = if pool.requests > 0 {
                        limits.timeout
                    } else {
                        limits.streams.max(limits.timeout)
                    };
                    let left = limit.saturating_sub(now.saturating_duration_since(retired.since));
                    millis(left)
                }),
            })
            .collect()
    }
}

const LOOK_AGAIN: Duration = Duration::from_millis(100);
