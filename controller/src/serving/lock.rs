//! Who may change a service: one rollout at a time, and no flip behind its back.

use std::collections::BTreeMap;

use cutover_api::{Ending, RolloutEvent};
use cutover_proxy::table::ServiceName;

use crate::error::Error;
use crate::serving::controller::Controller;
use crate::state::State;
use crate::state::events::EventKind;
use crate::state::holder::Holder;

/// The right to roll out these services, until it is dropped.
#[derive(Debug)]
pub struct RolloutLock {
    controller: Controller,
    services: Vec<ServiceName>,
}

impl RolloutLock {
    /// Says under which number the rollout goes.
    pub fn number(&self, revision: u64) {
        self.controller.change_quietly(|state| {
            for service in &self.services {
                if let Some(holder) = state.locked.get_mut(service) {
                    holder.revision = Some(revision);
                }
            }
        });
    }
}

impl Drop for RolloutLock {
    fn drop(&mut self) {
        self.controller.change_quietly(|state| {
            for service in &self.services {
                state.locked.remove(service);
            }
        });
        self.controller.tally(|tally| {
            for service in &self.services {
                tally.phases.remove(service);
            }
        });
        // Whoever waits for the lock looks again.
        self.controller.0.drain_ended.send_replace(());
    }
}

impl Controller {
    /// Takes the lock of several services at once, or of none.
    ///
    /// # Errors
    /// [`Error::RolloutInProgress`] names the first that is taken.
    pub fn lock(&self, services: &[ServiceName], holder: &Holder) -> Result<RolloutLock, Error> {
        self.change_quietly(|state| {
            services.iter().try_for_each(|service| unlocked(&state.locked, service))?;
            let ours = services.iter().map(|service| (service.clone(), holder.clone()));
            state.locked.extend(ours);
            Ok::<(), Error>(())
        })?;
        Ok(RolloutLock { controller: self.clone(), services: services.to_vec() })
    }

    /// Waits for the lock of several services.
    ///
    /// # Errors
    /// [`Error::RolloutInProgress`] when `patience` has run out.
    pub async fn lock_within(
        &self,
        services: &[ServiceName],
        holder: &Holder,
        patience: std::time::Duration,
    ) -> Result<RolloutLock, Error> {
        let mut released = self.0.drain_ended.subscribe();
        let end = tokio::time::Instant::now() + patience;
        loop {
            released.borrow_and_update();
            match self.lock(services, holder) {
                Err(error) => match tokio::time::timeout_at(end, released.changed()).await {
                    Ok(Ok(())) => {}
                    _ => return Err(error),
                },
                taken => return taken,
            }
        }
    }

    /// Ticks when a lock may have been released.
    pub(crate) fn releases(&self) -> tokio::sync::watch::Receiver<()> {
        self.0.drain_ended.subscribe()
    }

    pub(crate) fn check_unlocked(&self, service: &ServiceName) -> Result<(), Error> {
        self.state(|state| state.unlocked(service))
    }

    /// Shows the phase of a rollout in the metrics.
    pub fn rollout_phase(&self, service: &ServiceName, phase: &str) {
        self.tally(|tally| tally.phases.insert(service.clone(), phase.into()));
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

impl State {
    /// Refuses a service of which a rollout has the lock.
    pub(super) fn unlocked(&self, service: &ServiceName) -> Result<(), Error> {
        unlocked(&self.locked, service)
    }
}

fn unlocked(locked: &BTreeMap<ServiceName, Holder>, service: &ServiceName) -> Result<(), Error> {
    match locked.get(service) {
        Some(holder) => {
            Err(Error::RolloutInProgress { service: service.clone(), holder: holder.to_string() })
        }
        None => Ok(()),
    }
}
