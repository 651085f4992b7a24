//! Work of colors that no longer serve: watched until it is over, ended when its time is up.
//!
//! What drains is what the proxy says is alive; nothing here counts. Deadlines are for colors that
//! do not serve: a pool that was replaced by another of the same color may take its time.

use std::time::Duration;

use cutover_api::DrainStatus;
use cutover_proxy::table::{Color, Generation, ServiceName};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::Controller;
use crate::config::DrainConfig;
use crate::millis::millis;
use crate::state::State;
use crate::state::drains::{DrainEnd, DrainKey, Outcome};
use crate::state::events::EventKind;

/// The drains of a color up to a table; one of [`Controller::drain`].
#[derive(Clone, Debug)]
pub struct Drain {
    controller: Controller,
    service: ServiceName,
    color: Color,
    until: Generation,
    /// Where not empty, these alone.
    containers: Vec<String>,
}

impl Drain {
    /// Waits until nothing is in flight any more. `None` when what drained serves again; then nothing
    /// is closed by force.
    ///
    /// Deadlines are kept in the background, whether anyone waits here or not.
    ///
    /// # Cancel safety
    /// Safe: it only watches.
    pub async fn ended(&self) -> Option<DrainEnd> {
        let mut ended = self.controller.0.drain_ended.subscribe();
        loop {
            ended.borrow_and_update();
            if let Some(outcome) = self.controller.state(|state| self.outcome(state)) {
                return outcome;
            }
            if ended.changed().await.is_err() {
                return None;
            }
        }
    }

    fn outcome(&self, state: &State) -> Option<Option<DrainEnd>> {
        let Self { service, color, until, containers, .. } = self;
        if state.drains().is_draining(service, *color, *until, containers) {
            return None;
        }
        Some(match state.drains().outcome(service, *color, *until) {
            Some(Outcome::Over(end)) => Some(end),
            Some(Outcome::Resumed) => None,
            // Nobody knows of a drain: it serves, or has never served.
            None => (!state.serves(service, *color)).then(DrainEnd::default),
        })
    }
}

impl Controller {
    /// The drains of a color that began with a table up to this one.
    #[must_use]
    pub fn drain(&self, service: &ServiceName, color: Color, until: Generation) -> Drain {
        let (controller, service) = (self.clone(), service.clone());
        Drain { controller, service, color, until, containers: Vec::new() }
    }

    /// Waits until nothing is in flight on the pools of a color that came before a generation:
    /// the one of the table that stopped it. As [`Drain::ended`].
    ///
    /// # Cancel safety
    /// Safe: it only watches.
    pub async fn drained(
        &self,
        service: &ServiceName,
        color: Color,
        before: Generation,
    ) -> Option<DrainEnd> {
        self.drain(service, color, before).ended().await
    }

    /// The same for containers of the color: others of it may drain for longer.
    ///
    /// # Cancel safety
    /// Safe: it only watches.
    pub(crate) async fn containers_drained(
        &self,
        service: &ServiceName,
        color: Color,
        before: Generation,
        containers: Vec<String>,
    ) -> Option<DrainEnd> {
        Drain { containers, ..self.drain(service, color, before) }.ended().await
    }

    /// Ends what still drains of a color by these limits, once it is known what that is: a controller
    /// before us may have begun it. Its clock stays.
    pub(crate) async fn take_over_drain(
        &self,
        service: &ServiceName,
        color: Color,
        limits: DrainConfig,
    ) {
        while !self.state(|state| state.is_published()) {
            sleep(LOOK_AGAIN).await;
        }
        self.follow_drains().await;
        self.change_quietly(|state| state.limit_drain(service, color, limits));
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
            return self.state(|state| !state.drains().is_idle());
        };
        let (hangups, ended, goes_on) = self.change_quietly(|state| {
            let ended = state.follow_drains(snapshot);
            (state.drains().overdue(Instant::now()), ended, !state.drains().is_idle())
        });
        for (key, what) in hangups {
            let DrainKey { service, color, generation } = key;
            if let Err(error) = self.0.edge.hangup(service, color, generation, what).await {
                warn!(%error, "drain deadline not kept");
            }
        }
        if !ended.is_empty() {
            self.save_soon();
        }
        for (DrainKey { service, color, .. }, drained) in ended {
            info!(
                %service, %color, ms = drained.longest.as_millis(),
                forced_requests = drained.forced_requests,
                forced_streams = drained.forced_streams, "drained"
            );
            self.counters(|counters| {
                counters.drains.entry(service.clone()).or_default().observe(drained.longest);
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

impl State {
    /// The retired pools of a service, as of the last counts.
    #[must_use]
    pub fn draining(&self, service: &ServiceName, now: Instant) -> Vec<DrainStatus> {
        let pools = self.snapshot().pools.iter().filter(|p| p.retired && p.service == *service);
        pools
            .map(|pool| DrainStatus {
                color: pool.color,
                generation: pool.generation,
                requests: pool.requests,
                streams: pool.streams,
                deadline_ms: self.drains().deadline(pool, now).map(millis),
            })
            .collect()
    }
}

const LOOK_AGAIN: Duration = Duration::from_millis(100);
