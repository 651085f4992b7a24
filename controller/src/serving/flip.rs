//! Who serves: flips, weights, pauses.

use std::time::Duration;

use cutover_proxy::table::{Color, Generation, Pause, ServiceName};
use serde::Serialize;
use tokio::time::Instant;
use tracing::info;

use crate::config::DrainConfig;
use crate::error::Error;
use crate::millis::millis;
use crate::panics::detached;
use crate::serving::controller::Controller;
use crate::serving::edge::Applied;
use crate::state::State;
use crate::state::events::EventKind;
use crate::state::weights::{Target, Weights};

/// Another color serves, and every request from now on goes there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flipped {
    /// The service.
    pub service: ServiceName,
    /// What served.
    pub from: Target,
    /// What serves.
    pub to: Target,
    /// The table that did it.
    pub generation: Generation,
    /// Microseconds that the swap took; 0 when nothing had to change.
    pub flip_us: u64,
    /// Milliseconds that the probes took.
    pub probe_ms: u64,
}

/// The shares of the colors have changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Weighed {
    /// The service.
    pub service: ServiceName,
    /// The shares.
    pub weights: Weights,
    /// The table that did it.
    pub generation: Generation,
    /// Microseconds that the swap took; 0 when nothing had to change.
    pub flip_us: u64,
}

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
        let (this, service) = (self.clone(), service.clone());
        detached(async move {
            let flipped = this.flip_in_turn(&service, to, force).await;
            let result = match &flipped {
                Ok(_) => "done",
                Err(Error::UnknownService { .. }) => return flipped,
                Err(Error::ProbeFailed { .. } | Error::RolloutInProgress { .. }) => "refused",
                Err(_) => "failed",
            };
            this.tally(|tally| {
                *tally.flips.entry((service, to.as_str(), result)).or_default() += 1
            });
            flipped
        })
        .await
    }

    async fn flip_in_turn(
        &self,
        service: &ServiceName,
        to: Target,
        force: bool,
    ) -> Result<Flipped, Error> {
        let weights = Weights::of(to);
        self.check_unlocked(service)?;
        if let Some(nothing) = self.serves_already(service, to, force)? {
            return Ok(nothing);
        }
        // Without the turn, for an endpoint that hangs must not keep a dying container in the table.
        let start = Instant::now();
        if !force {
            for &color in to.colors() {
                self.ready_now(service, color).await?;
            }
        }
        let probe_ms = millis(start.elapsed());
        let _turn = self.0.turn.lock().await;
        let from = self.shares(service)?.0.active();
        let applied = self.swap(&[(service.clone(), weights)], force, None).await?;
        self.tally(|tally| tally.flip_duration.observe(applied.swap));
        let Applied { generation, .. } = applied;
        let flip_us = micros(applied.swap);
        info!(%service, from = from.as_str(), to = to.as_str(), %generation, flip_us, "flipped");
        self.0.events.send(EventKind::Flipped {
            service: service.clone(),
            from: from.as_str(),
            to: to.as_str(),
            generation,
            flip_us,
        });
        Ok(Flipped { service: service.clone(), from, to, generation, flip_us, probe_ms })
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
    /// As [`Controller::flip`], and [`Error::BadRequest`] when nobody would serve.
    ///
    /// # Cancel safety
    /// Once begun it goes on to the end.
    pub async fn weight(&self, service: &ServiceName, weights: Weights) -> Result<Weighed, Error> {
        self.check_unlocked(service)?;
        let (before, settled) = self.shares(service)?;
        let (generation, flip_us) = if before == weights && settled {
            (self.generation(), 0)
        } else {
            let applied = self.set_weights(&[(service.clone(), weights)], None).await?;
            (applied.generation, micros(applied.swap))
        };
        Ok(Weighed { service: service.clone(), weights, generation, flip_us })
    }

    /// Sets the shares of several services in one table. For rollouts: it asks neither probes nor
    /// the rollout lock. `drain` is for the colors that stop serving; `None` is what the config says.
    ///
    /// # Errors
    /// As [`Controller::weight`].
    ///
    /// # Cancel safety
    /// Once begun it goes on to the end.
    pub async fn set_weights(
        &self,
        changes: &[(ServiceName, Weights)],
        drain: Option<DrainConfig>,
    ) -> Result<Applied, Error> {
        let (this, changes) = (self.clone(), changes.to_vec());
        detached(async move {
            let _turn = this.0.turn.lock().await;
            let applied = this.swap(&changes, false, drain).await?;
            let Applied { generation, .. } = applied;
            for (service, weights) in changes {
                info!(%service, blue = weights.blue, green = weights.green, %generation, "weights set");
                this.0.events.send(EventKind::WeightsChanged { service, weights, generation });
            }
            Ok(applied)
        })
        .await
    }

    /// Holds the requests of a service until [`Controller::resume`].
    ///
    /// # Errors
    /// [`Error::UnknownService`], or when no proxy takes the table; then nothing has changed.
    pub async fn pause(&self, service: &ServiceName, pause: Pause) -> Result<Generation, Error> {
        let generation = self.set_pause(service, Some(pause)).await?;
        let (service, writes_only) = (service.clone(), pause.writes_only);
        self.0.events.send(EventKind::Paused { service, writes_only });
        Ok(generation)
    }

    /// Lets held requests go on.
    ///
    /// # Errors
    /// As [`Controller::pause`].
    pub async fn resume(&self, service: &ServiceName) -> Result<Generation, Error> {
        let generation = self.set_pause(service, None).await?;
        self.0.events.send(EventKind::Resumed { service: service.clone() });
        Ok(generation)
    }

    async fn set_pause(
        &self,
        service: &ServiceName,
        pause: Option<Pause>,
    ) -> Result<Generation, Error> {
        let (this, service) = (self.clone(), service.clone());
        detached(async move {
            let turn = this.0.turn.lock().await;
            this.shares(&service)?;
            let set = |pause| {
                this.change_quietly(|state| {
                    let state = state.journal.services.entry(service.clone()).or_default();
                    std::mem::replace(&mut state.pause, pause)
                })
            };
            let before = set(pause);
            match this.publish(None).await {
                Ok(applied) => {
                    drop(turn);
                    // A disk that does not take it says so in `status`, and is offered it again.
                    this.save().await.ok();
                    Ok(applied.generation)
                }
                Err(error) => {
                    set(before);
                    this.withdraw().await;
                    Err(error)
                }
            }
        })
        .await
    }

    /// One table with other shares: intent, table, fact. The caller has the turn. With `force` the
    /// colors that serve then do so whatever their probes say.
    async fn swap(
        &self,
        changes: &[(ServiceName, Weights)],
        force: bool,
        drain: Option<DrainConfig>,
    ) -> Result<Applied, Error> {
        #[cfg(test)]
        crate::panics::point(&self.point("swap"));
        for (service, weights) in changes {
            self.shares(service)?;
            if weights.blue == 0 && weights.green == 0 {
                return Err(Error::BadRequest(
                    "a service needs a color with a weight above 0".into(),
                ));
            }
        }
        if !force && self.state(|state| state.is_live(changes)) {
            return Ok(Applied { generation: self.generation(), swap: Duration::ZERO });
        }
        // A rollout has written it with its own record.
        let written = self.state(|state| state.journal.intends(changes));
        let intended = self.change_quietly(|state| {
            state.journal.intend(changes);
            let intend = |(service, weights): &(ServiceName, Weights)| {
                let state = state.journal.services.entry(service.clone()).or_default();
                let forced = |color: &Color| {
                    weights.serves(*color) && (force || state.forced.contains(color))
                };
                let forced = Color::ALL.into_iter().filter(forced).collect();
                (service.clone(), std::mem::replace(&mut state.forced, forced))
            };
            changes.iter().map(intend).collect::<Vec<_>>()
        });
        let unforce = |state: &mut State| {
            for (service, forced) in intended.into_iter().rev() {
                state.journal.services.entry(service).or_default().forced = forced;
            }
        };
        if !written && let Err(error) = self.save().await {
            self.change_quietly(|state| {
                state.journal.forget_intent(changes);
                unforce(state);
            });
            return Err(error);
        }
        self.forget_intent(changes);
        let before = self.change_quietly(|state| {
            let set = |(service, weights): &(ServiceName, Weights)| {
                let state = state.journal.services.entry(service.clone()).or_default();
                (service.clone(), state.weights.replace(*weights))
            };
            changes.iter().map(set).collect::<Vec<_>>()
        });
        match self.publish(drain).await {
            Ok(applied) => {
                self.change_quietly(|state| {
                    state
                        .notes
                        .retain(|name, _| !changes.iter().any(|(changed, _)| changed == name));
                });
                Ok(applied)
            }
            Err(error) => {
                self.change_quietly(|state| {
                    for (service, weights) in before.into_iter().rev() {
                        state.journal.services.entry(service).or_default().weights = weights;
                    }
                    unforce(state);
                });
                self.withdraw().await;
                Err(error)
            }
        }
    }

    /// Takes note of shares that are about to go live, for the next write of the journal. A flip of
    /// the same shares then need not write it again.
    pub fn intend(&self, changes: &[(ServiceName, Weights)]) {
        self.change_quietly(|state| state.journal.intend(changes));
    }

    /// Forgets what was about to go live.
    pub fn forget_intent(&self, changes: &[(ServiceName, Weights)]) {
        self.change_quietly(|state| state.journal.forget_intent(changes));
    }

    /// After a table that did not go live in time: offers the one before it, so that a proxy that
    /// comes back serves what we say it serves, and forgets the intent.
    async fn withdraw(&self) {
        let table = self.state(crate::serving::table::build);
        // One poll hands it to the link, in whose queue it comes after the table withdrawn.
        tokio::time::timeout(Duration::ZERO, self.0.edge.apply(table)).await.ok();
        self.0.stale.notify_one();
        if let Err(error) = self.save().await {
            tracing::warn!(%error, "the journal still holds a flip that did not happen");
        }
    }

    /// The shares of a service, and whether they are live.
    fn shares(&self, service: &ServiceName) -> Result<(Weights, bool), Error> {
        self.state(|state| {
            let unknown =
                || Error::UnknownService { name: service.to_string(), known: state.known() };
            state.service(service).ok_or_else(unknown)?;
            let weights = state.weights(service);
            Ok((weights, state.live.get(service) == Some(&weights)))
        })
    }
}

/// Rounded up: a swap of 300 ns did take place.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX)
}
