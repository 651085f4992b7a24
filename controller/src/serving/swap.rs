//! One table with other shares: the intent is written, then the table goes live, then the fact is
//! written.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_api::{Target, Weights};
use cutover_proxy::table::{Color, ServiceName};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::config::DrainConfig;
use crate::error::Error;
use crate::panics::detached;
use crate::serving::controller::Controller;
use crate::serving::edge::Applied;
use crate::serving::ready::Ready;
use crate::state::State;
use crate::state::events::EventKind;

/// New shares of services, in one table.
pub(super) type Changes = [(ServiceName, Weights)];

/// How shares are to change.
#[derive(Debug, Default)]
pub(super) struct SwapOptions {
    /// Somebody asked for it who has no lock: it must not come between the steps of a rollout, and a
    /// color without an endpoint takes no share.
    pub by_hand: bool,
    /// The colors that serve then do so whatever their probes say.
    pub force: bool,
    /// For the colors that stop serving; `None` is what the config says.
    pub drain: Option<DrainConfig>,
    /// What was found ready, and still has to be what would serve.
    pub ready: Vec<Ready>,
}

/// Other shares are live.
#[derive(Debug)]
pub(super) struct Swapped {
    /// The table.
    pub applied: Applied,
    /// The shares before, of each service.
    pub from: Vec<Weights>,
}

impl Controller {
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
        changes: &Changes,
        drain: Option<DrainConfig>,
    ) -> Result<Applied, Error> {
        self.weigh(changes, SwapOptions { drain, ..SwapOptions::default() }).await
    }

    /// Makes colors serve that were found ready, several services in one table. For rollouts.
    ///
    /// # Errors
    /// As [`Controller::set_weights`], and [`Error::ProbeFailed`] when what was found ready is not
    /// what would serve any more.
    ///
    /// # Cancel safety
    /// Once begun it goes on to the end.
    pub async fn bring_in(
        &self,
        ready: Vec<Ready>,
        changes: &Changes,
        drain: Option<DrainConfig>,
    ) -> Result<Applied, Error> {
        self.weigh(changes, SwapOptions { ready, drain, ..SwapOptions::default() }).await
    }

    /// Swaps, and tells watchers about each service.
    pub(super) async fn weigh(
        &self,
        changes: &Changes,
        how: SwapOptions,
    ) -> Result<Applied, Error> {
        let (this, changes) = (self.clone(), changes.to_vec());
        detached(async move {
            let applied = this.swap(&changes, how).await?.applied;
            let Applied { generation, .. } = applied;
            for (service, weights) in changes {
                info!(%service, blue = weights.blue, green = weights.green, %generation, "weights set");
                this.0.events.send(EventKind::WeightsChanged { service, weights, generation });
            }
            Ok(applied)
        })
        .await
    }

    /// Changes shares. The caller runs it detached, and has not got the turn: the disk is waited for
    /// without it.
    pub(super) async fn swap(&self, changes: &Changes, how: SwapOptions) -> Result<Swapped, Error> {
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
        let from = self.state(|state| {
            changes.iter().map(|(service, _)| state.weights(service)).collect::<Vec<_>>()
        });
        if !how.force && self.0.edge.is_up() && self.state(|state| state.is_live(changes)) {
            // A rollout that goes on after a crash may have noted again what is live by now.
            self.forget_intent(changes);
            self.save_soon();
            let applied = Applied { generation: self.generation(), swap: Duration::ZERO };
            return Ok(Swapped { applied, from });
        }
        // A rollout has written it with its own record.
        if !self.state(|state| state.journal().intends(changes, how.force)) {
            self.change_quietly(|state| state.journal_mut().intend(changes, how.force));
            if let Err(error) = self.save().await {
                self.forget_intent(changes);
                return Err(error);
            }
        }
        let _turn = self.0.turn.lock().await;
        self.forget_intent(changes);
        if let Err(error) = self.state(|state| still_holds(state, changes, &how)) {
            self.save_soon();
            return Err(error);
        }
        let applied = self.set_in_turn(changes, &how).await?;
        Ok(Swapped { applied, from })
    }

    /// Sets the shares and makes them live, or leaves everything as it was.
    async fn set_in_turn(&self, changes: &Changes, how: &SwapOptions) -> Result<Applied, Error> {
        let before = self.change_quietly(|state| {
            let set = |(service, weights): &(ServiceName, Weights)| {
                let kept = state.journal_mut().service_mut(service);
                let before = (service.clone(), kept.weights, kept.forced.clone());
                kept.serve(*weights, how.force);
                before
            };
            changes.iter().map(set).collect::<Vec<_>>()
        });
        let published = self.publish(how.drain).await;
        self.change_quietly(|state| match &published {
            Ok(_) => {
                for (service, _) in changes {
                    state.forget_note(service);
                }
            }
            Err(_) => {
                for (service, weights, forced) in before.into_iter().rev() {
                    let kept = state.journal_mut().service_mut(&service);
                    kept.weights = weights;
                    kept.forced = forced;
                }
            }
        });
        if published.is_err() {
            self.withdraw().await;
        }
        published
    }

    /// Takes note of shares that are about to go live, for the next write of the journal. A flip of
    /// the same shares then need not write it again.
    pub fn intend(&self, changes: &Changes) {
        self.change_quietly(|state| state.journal_mut().intend(changes, false));
    }

    /// Forgets what was about to go live.
    pub fn forget_intent(&self, changes: &Changes) {
        self.change_quietly(|state| state.journal_mut().forget_intent(changes));
    }

    /// After a table that did not go live in time: offers the one before it, so that a proxy that
    /// comes back serves what we say it serves, and forgets the intent.
    pub(super) async fn withdraw(&self) {
        let table = self.state(crate::serving::table::build);
        // One poll hands it to the link, in whose queue it comes after the table withdrawn.
        timeout(Duration::ZERO, self.0.edge.apply(table)).await.ok();
        self.0.stale.notify_one();
        if let Err(error) = self.save().await {
            warn!(%error, "the journal still holds a flip that did not happen");
        }
    }
}

/// Whether what was asked without the turn is still so.
fn still_holds(state: &State, changes: &Changes, how: &SwapOptions) -> Result<(), Error> {
    for ready in &how.ready {
        let (service, color) = (ready.service(), ready.color());
        let now = state.endpoints(service, color);
        let now: BTreeSet<_> = now.iter().map(|endpoint| &endpoint.id).collect();
        if !ready.endpoints().iter().any(|id| now.contains(id)) {
            let answer = "its containers have changed since they were probed".into();
            return Err(Error::ProbeFailed { service: service.clone(), color, answer });
        }
    }
    if !how.by_hand {
        return Ok(());
    }
    for (service, weights) in changes {
        state.locks().check(service)?;
        // By force one color may serve that has nothing yet, for the failover looks after it; but of
        // two that serve each is a release, and must be one that can be replaced.
        let forced = how.force && weights.active() != Target::Both;
        for color in Color::ALL.into_iter().filter(|color| weights.serves(*color)) {
            if !forced && state.endpoints(service, color).is_empty() {
                let message = format!("{color} of {service} has no endpoint to give a share to");
                return Err(Error::BadRequest(message));
            }
        }
    }
    Ok(())
}
