//! Who serves, by hand: flips and weights.

use std::time::Duration;

use cutover_api::{Flipped, Weighted};
use cutover_api::{Target, Weights};
use cutover_proxy::table::ServiceName;
use tokio::time::Instant;
use tracing::info;

use crate::error::Error;
use crate::millis::millis;
use crate::panics::detached;
use crate::serving::controller::Controller;
use crate::serving::edge::Applied;
use crate::serving::swap::{SwapOptions, Swapped};
use crate::state::events::EventKind;

impl Controller {
    /// Makes a color serve, or both, once its probes pass. With `force` they are not asked, and the
    /// color serves whatever they say, until they pass for the first time.
    ///
    /// When it returns, no new request goes to a color that stopped serving. What it had begun goes
    /// on, and is drained in the background.
    ///
    /// # Errors
    /// [`Error::ProbeFailed`], [`Error::StateUnwritable`], [`Error::ProxyUnavailable`] and
    /// [`Error::RolloutInProgress`] all leave the old color serving, untouched.
    ///
    /// # Cancel safety
    /// Once begun it goes on to the end.
    pub async fn flip(
        &self,
        service: &ServiceName,
        to: Target,
        force: bool,
    ) -> Result<Flipped, Error> {
        self.until_known(service).await;
        let (this, service) = (self.clone(), service.clone());
        detached(async move {
            let flipped = this.probe_and_flip(&service, to, force).await;
            let result = match &flipped {
                Ok(_) => "done",
                Err(Error::UnknownService { .. }) => return flipped,
                Err(Error::ProbeFailed { .. } | Error::RolloutInProgress { .. }) => "refused",
                Err(_) => "failed",
            };
            this.counters(|counters| {
                *counters.flips.entry((service, to.as_str(), result)).or_default() += 1
            });
            flipped
        })
        .await
    }

    async fn probe_and_flip(
        &self,
        service: &ServiceName,
        to: Target,
        force: bool,
    ) -> Result<Flipped, Error> {
        if let Some(nothing) = self.serves_already(service, to, force)? {
            return Ok(nothing);
        }
        self.locks().check(service)?;
        let changes = [(service.clone(), Weights::of(to))];
        let start = Instant::now();
        for attempt in 1.. {
            let mut how = SwapOptions { by_hand: true, force, ..SwapOptions::default() };
            if !force {
                for &color in to.colors() {
                    how.ready.push(self.ready_now(service, color).await?);
                }
            }
            let probe_ms = millis(start.elapsed());
            match self.swap(&changes, how).await {
                Err(Error::ProbeFailed { .. }) if attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
                Ok(swapped) => return Ok(self.flipped(service, to, probe_ms, &swapped)),
            }
        }
        Err(Error::Failed("its containers keep changing".into()))
    }

    fn flipped(
        &self,
        service: &ServiceName,
        to: Target,
        probe_ms: u64,
        swapped: &Swapped,
    ) -> Flipped {
        let Applied { generation, swap } = swapped.applied;
        self.counters(|counters| counters.flip_duration.observe(swap));
        let from = swapped.from.first().map_or(to, |from| from.active());
        let flip_us = micros(swap);
        info!(%service, from = from.as_str(), to = to.as_str(), %generation, flip_us, "flipped");
        self.0.events.send(EventKind::Flipped {
            service: service.clone(),
            from,
            to,
            generation,
            flip_us,
        });
        Flipped { service: service.clone(), from, to, generation, flip_us, probe_ms }
    }

    /// A flip to what serves already is done before it begins, but for one by force: perhaps the
    /// color is not up.
    fn serves_already(
        &self,
        service: &ServiceName,
        to: Target,
        force: bool,
    ) -> Result<Option<Flipped>, Error> {
        let (weights, live) = self.shares(service)?;
        let from = weights.active();
        let same = weights == Weights::of(to) || (from == to && to != Target::Both);
        Ok((same && live && !force).then(|| Flipped {
            service: service.clone(),
            from,
            to,
            generation: self.generation(),
            flip_us: 0,
            probe_ms: 0,
        }))
    }

    /// Sets the shares of the colors of one service, without asking the probes.
    ///
    /// # Errors
    /// As [`Controller::flip`], and [`Error::BadRequest`] when nobody would serve, or a color that has
    /// no endpoint.
    ///
    /// # Cancel safety
    /// Once begun it goes on to the end.
    pub async fn weight(&self, service: &ServiceName, weights: Weights) -> Result<Weighted, Error> {
        self.until_known(service).await;
        let (before, settled) = self.shares(service)?;
        let (generation, flip_us) = if before == weights && settled {
            (self.generation(), 0)
        } else {
            self.locks().check(service)?;
            let how = SwapOptions { by_hand: true, ..SwapOptions::default() };
            let applied = self.weigh(&[(service.clone(), weights)], how).await?;
            (applied.generation, micros(applied.swap))
        };
        Ok(Weighted { service: service.clone(), weights, generation, flip_us })
    }

    /// Waits for the first look at the containers where the service is not known without it.
    ///
    /// # Cancel safety
    /// Safe: it only waits.
    pub(crate) async fn until_known(&self, service: &ServiceName) {
        if self.state(|state| state.service(service).is_none()) {
            self.0.containers_known.subscribe().wait_for(|known| *known).await.ok();
        }
    }

    /// The shares of a service, and whether they are live: nothing is where no proxy has a table.
    pub(super) fn shares(&self, service: &ServiceName) -> Result<(Weights, bool), Error> {
        let linked = self.0.edge.is_up();
        self.state(|state| {
            let unknown =
                || Error::UnknownService { name: service.to_string(), known: state.known() };
            state.service(service).ok_or_else(unknown)?;
            let weights = state.weights(service);
            Ok((weights, linked && state.live_weights(service) == Some(weights)))
        })
    }
}

/// Rounded up: a swap of 300 ns did take place.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// How often a flip asks the probes anew because containers have changed meanwhile.
const ATTEMPTS: u32 = 3;
