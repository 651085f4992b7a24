//! What rollouts ask of the controller beside flips: the lock, and to be shown.

use std::time::Duration;

use cutover_api::{Ending, RolloutEvent};
use cutover_proxy::table::ServiceName;
use tokio::sync::watch;

use crate::error::Error;
use crate::serving::controller::Controller;
use crate::state::events::EventKind;
use crate::state::holder::Holder;
use crate::state::locks::Locks;
pub use crate::state::locks::RolloutLock;

impl Controller {
    /// Takes the lock of several services at once, or of none.
    ///
    /// # Errors
    /// [`Error::RolloutInProgress`] names the first that is taken.
    pub fn lock(&self, services: &[ServiceName], holder: &Holder) -> Result<RolloutLock, Error> {
        self.locks().take(services, holder)
    }

    /// Waits for the lock of several services.
    ///
    /// # Errors
    /// [`Error::RolloutInProgress`] when `patience` has run out.
    pub async fn lock_within(
        &self,
        services: &[ServiceName],
        holder: &Holder,
        patience: Duration,
    ) -> Result<RolloutLock, Error> {
        self.locks().take_within(services, holder, patience).await
    }

    /// Ticks when a lock is released.
    pub(crate) fn releases(&self) -> watch::Receiver<()> {
        self.locks().releases()
    }

    pub(crate) fn check_unlocked(&self, service: &ServiceName) -> Result<(), Error> {
        self.locks().check(service)
    }

    fn locks(&self) -> Locks {
        self.state(|state| state.locks.clone())
    }

    /// Shows the phase of a rollout in the metrics, until it has ended.
    pub fn rollout_phase(&self, service: &ServiceName, phase: &str) {
        self.tally(|tally| match phase {
            "ended" => tally.phases.remove(service),
            _ => tally.phases.insert(service.clone(), phase.into()),
        });
    }

    /// Counts a finished rollout.
    pub fn rollout_finished(&self, service: &ServiceName, result: Ending) {
        self.tally(|tally| {
            *tally.rollouts.entry((service.clone(), result.as_str().into())).or_default() += 1
        });
    }

    /// Tells watchers about a rollout.
    pub fn rollout_event(&self, detail: RolloutEvent) {
        self.events().send(EventKind::Rollout { service: detail.service().clone(), detail });
    }
}
