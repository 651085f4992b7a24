//! Rollouts that have the lock and are not under way yet: they are being checked, or wait for room.
//! They, too, can be ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cutover_proxy::table::ServiceName;
use tokio::sync::mpsc;

/// Those of all services. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Preparing {
    /// How to end each. Locked for a look or a change, never across an await.
    ends: Arc<Mutex<BTreeMap<ServiceName, mpsc::UnboundedSender<String>>>>,
}

/// One of them, for as long as this lives.
#[derive(Debug)]
pub(super) struct Preparation {
    all: Preparing,
    services: Vec<ServiceName>,
    aborts: mpsc::UnboundedReceiver<String>,
}

impl Preparing {
    /// A rollout of these services, whose lock the caller has, is being prepared.
    pub(super) fn enter(&self, services: &[ServiceName]) -> Preparation {
        let (end, aborts) = mpsc::unbounded_channel();
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.extend(services.iter().map(|service| (service.clone(), end.clone())));
        Preparation { all: self.clone(), services: services.to_vec(), aborts }
    }

    /// Ends the preparation of a service's rollout. False where there is none.
    pub(super) fn abort(&self, service: &ServiceName, reason: &str) -> bool {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.get(service).is_some_and(|end| end.send(reason.to_owned()).is_ok())
    }
}

impl Preparation {
    /// Why it is to end. Waits for that, perhaps for ever.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost.
    pub(super) async fn aborted(&mut self) -> String {
        match self.aborts.recv().await {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    /// Why it was to end, where somebody has said so too late to end it here.
    pub(super) fn aborted_late(&mut self) -> Option<String> {
        self.aborts.try_recv().ok()
    }
}

impl Drop for Preparation {
    fn drop(&mut self) {
        let mut ends = self.all.ends.lock().unwrap_or_else(PoisonError::into_inner);
        for service in &self.services {
            ends.remove(service);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_preparation_can_be_ended_for_as_long_as_it_lasts() {
        let (web, api): (ServiceName, ServiceName) =
            ("web".parse().unwrap(), "api".parse().unwrap());
        let all = Preparing::default();
        assert!(!all.abort(&web, "too early"));
        let mut both = all.enter(&[web.clone(), api.clone()]);
        assert!(all.abort(&api, "by ops"));
        assert_eq!(both.aborted().await, "by ops");
        assert_eq!(both.aborted_late(), None);
        assert!(all.abort(&web, "late"));
        assert_eq!(both.aborted_late().as_deref(), Some("late"));
        drop(both);
        assert!(!all.abort(&web, "too late") && !all.abort(&api, "too late"));
    }
}
