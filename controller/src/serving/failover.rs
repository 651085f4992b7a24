//! Rather than to fail: what is ready serves where what should serve cannot (rules 1 and 2).
//!
//! One task looks whenever the state has changed, and when a wait is over. What it decides is in
//! [`crate::state::failover`], without I/O. It never goes back by itself.

use std::time::Duration;

use cutover_proxy::table::ServiceName;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, warn};

use crate::panics::detached;
use crate::serving::controller::Controller;
use crate::state::events::EventKind;
use crate::state::failover::{Choice, Decision, Reason, decide};

impl Controller {
    /// Watches over every service. One of the controller's tasks.
    pub(crate) async fn keep_failing_over(self) {
        loop {
            let changed = self.0.failover.notified();
            // Before the first look nobody knows what there is.
            let known = *self.0.containers_known.borrow();
            let wait = if known { self.look_for_failures().await } else { None };
            let wait = async {
                match wait {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = changed => sleep(BREATH).await,
                () = wait => {}
            }
        }
    }

    /// Looks at every service once; when to look again by itself.
    async fn look_for_failures(&self) -> Option<Instant> {
        let now = Instant::now();
        let (due, doomed) =
            self.change_quietly(|state| (state.failures(now), state.observed().next_due()));
        let mut next = doomed;
        if doomed.is_some_and(|doomed| doomed <= now) {
            // Whether it has outlived its signal is decided with the next table.
            self.0.stale.notify_one();
            next = Some(now + LOOK_AGAIN);
        }
        for (service, decision) in due {
            match decision {
                Decision::Stay => {}
                Decision::Wait(left) => next = next.into_iter().chain([now + left]).min(),
                Decision::FailOver(choice, reason) => {
                    if let Err(error) = self.fail_over(&service, choice, reason).await {
                        error!(%service, %error, "cannot fail over");
                        next = next.into_iter().chain([now + LOOK_AGAIN]).min();
                    }
                }
            }
        }
        next
    }

    async fn fail_over(
        &self,
        service: &ServiceName,
        wanted: Choice,
        reason: Reason,
    ) -> Result<(), crate::error::Error> {
        let (this, service) = (self.clone(), service.clone());
        detached(async move {
            let _turn = this.0.turn.lock().await;
            // What was decided without the turn may be past.
            let now = Instant::now();
            let still = this.change_quietly(|state| decide(&state.situation(&service, now)));
            if still != Decision::FailOver(wanted.clone(), reason) {
                this.0.failover.notify_one();
                return Ok(());
            }
            let (from, before) = this.change_quietly(|state| state.stand_in(&service, &wanted));
            match this.publish(None).await {
                Ok(applied) => {
                    let to = wanted.color;
                    warn!(
                        %service, from = from.active().as_str(), %to, reason = reason.as_str(),
                        generation = %applied.generation, "failed over"
                    );
                    this.change_quietly(|state| {
                        state.note_failover(&service, from, &wanted, reason);
                    });
                    this.counters(|counters| {
                        let key = (service.clone(), reason.as_str());
                        *counters.failovers.entry(key).or_default() += 1;
                    });
                    this.0.events.send(EventKind::FailedOver {
                        service,
                        from: from.active(),
                        to: to.into(),
                        reason,
                        generation: applied.generation,
                    });
                    this.save_soon();
                    Ok(())
                }
                Err(error) => {
                    this.change_quietly(|state| {
                        *state.journal_mut().service_mut(&service) = before
                    });
                    this.0.stale.notify_one();
                    Err(error)
                }
            }
        })
        .await
    }
}

/// Many changes at once are looked at once.
const BREATH: Duration = Duration::from_millis(5);
/// After a failover that no proxy took.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
