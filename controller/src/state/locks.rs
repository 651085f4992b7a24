//! Who may change a service: one rollout at a time, and no flip behind its back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cutover_proxy::table::ServiceName;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::error::Error;
use crate::state::lock_owner::LockOwner;

/// The locks of all services. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Locks(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Locked for a look or a change, never across an await.
    held: Mutex<BTreeMap<ServiceName, LockOwner>>,
    /// Ticks when a lock is released.
    released: watch::Sender<()>,
}

/// The right to roll out these services, until it is dropped.
#[derive(Debug)]
pub struct RolloutLock {
    locks: Locks,
    services: Vec<ServiceName>,
}

impl Locks {
    /// Takes the lock of several services at once, or of none.
    ///
    /// # Errors
    /// [`Error::RolloutInProgress`] names the first that is taken.
    pub fn take(&self, services: &[ServiceName], owner: &LockOwner) -> Result<RolloutLock, Error> {
        let mut held = self.held();
        services.iter().try_for_each(|service| free(&held, service))?;
        held.extend(services.iter().map(|service| (service.clone(), owner.clone())));
        Ok(RolloutLock { locks: self.clone(), services: services.to_vec() })
    }

    /// Waits for the lock of several services.
    ///
    /// # Errors
    /// [`Error::RolloutInProgress`] when `patience` has run out.
    ///
    /// # Cancel safety
    /// Safe: a lock that was taken is released.
    pub async fn take_within(
        &self,
        services: &[ServiceName],
        owner: &LockOwner,
        patience: Duration,
    ) -> Result<RolloutLock, Error> {
        let mut released = self.releases();
        let end = Instant::now() + patience;
        loop {
            released.borrow_and_update();
            match self.take(services, owner) {
                Err(error) => match timeout_at(end, released.changed()).await {
                    Ok(Ok(())) => {}
                    _ => return Err(error),
                },
                taken => return taken,
            }
        }
    }

    /// Refuses a service whose lock is taken.
    ///
    /// # Errors
    /// [`Error::RolloutInProgress`].
    pub fn check(&self, service: &ServiceName) -> Result<(), Error> {
        free(&self.held(), service)
    }

    /// Whether a rollout has the lock of a service.
    #[must_use]
    pub fn is_taken(&self, service: &ServiceName) -> bool {
        self.held().contains_key(service)
    }

    /// Ticks when a lock is released.
    #[must_use]
    pub fn releases(&self) -> watch::Receiver<()> {
        self.0.released.subscribe()
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<ServiceName, LockOwner>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RolloutLock {
    /// Says under which number the rollout goes.
    pub fn number(&self, revision: u64) {
        let mut held = self.locks.held();
        for service in &self.services {
            if let Some(owner) = held.get_mut(service) {
                owner.revision = Some(revision);
            }
        }
    }
}

impl Drop for RolloutLock {
    fn drop(&mut self) {
        self.locks.held().retain(|service, _| !self.services.contains(service));
        self.locks.0.released.send_replace(());
    }
}

fn free(held: &BTreeMap<ServiceName, LockOwner>, service: &ServiceName) -> Result<(), Error> {
    match held.get(service) {
        Some(owner) => {
            Err(Error::RolloutInProgress { service: service.clone(), owner: owner.to_string() })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(names: &[&str]) -> Vec<ServiceName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn several_services_are_locked_at_once_or_not_at_all() {
        let (locks, owner) = (Locks::default(), LockOwner::new("deploy", Some("ann")));
        let first = locks.take(&services(&["web"]), &owner).unwrap();
        first.number(7);
        let refused = locks.take(&services(&["api", "web"]), &owner).unwrap_err();
        assert!(refused.to_string().contains("deploy of revision 7 by ann"), "{refused}");
        assert!(!locks.is_taken(&"api".parse().unwrap()));
        drop(first);
        assert!(locks.take(&services(&["api", "web"]), &owner).is_ok());
    }

    #[tokio::test]
    async fn who_waits_gets_the_lock_when_it_is_released() {
        let (locks, owner) = (Locks::default(), LockOwner::new("deploy", None));
        let first = locks.take(&services(&["web"]), &owner).unwrap();
        let web = services(&["web"]);
        let waiting = locks.take_within(&web, &owner, Duration::from_secs(20));
        let release = async {
            tokio::task::yield_now().await;
            drop(first);
        };
        assert!(tokio::join!(waiting, release).0.is_ok());
        let _held = locks.take(&web, &owner).unwrap();
        assert!(locks.take_within(&web, &owner, Duration::from_millis(10)).await.is_err());
    }
}
