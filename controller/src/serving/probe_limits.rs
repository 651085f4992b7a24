//! How many probes may be under way at once, and how many connections may be kept between them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The limits that all probes share.
#[derive(Debug)]
pub(crate) struct ProbeLimits {
    /// By address. Locked for a look, never across an await.
    under_way: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
    kept: Arc<Semaphore>,
}

impl ProbeLimits {
    /// Waits until a probe of this address may begin; it is under way until the permit is dropped.
    ///
    /// # Cancel safety
    /// Safe: only the place in the queue is lost.
    pub(crate) async fn begin(&self, address: IpAddr) -> Option<OwnedSemaphorePermit> {
        let limit = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            if under_way.len() >= TIDY && !under_way.contains_key(&address) {
                // Nobody else has a handle: no probe of it is under way or waits.
                under_way.retain(|_, limit| Arc::strong_count(limit) > 1);
            }
            let new = || Arc::new(Semaphore::new(AT_ONCE));
            Arc::clone(under_way.entry(address).or_insert_with(new))
        };
        // It is never closed.
        limit.acquire_owned().await.ok()
    }

    /// The right to keep one connection open, where one is left.
    pub(crate) fn keep(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.kept).try_acquire_owned().ok()
    }
}

impl Default for ProbeLimits {
    /// Half of the descriptors of this process may be kept connections.
    fn default() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let kept = limit.and_then(|limit| usize::try_from(limit / 2).ok()).unwrap_or(MOST);
        Self { under_way: Mutex::default(), kept: Arc::new(Semaphore::new(kept.min(MOST))) }
    }
}

/// Of one address: a host whose containers share an address is not asked by hundreds at once.
const AT_ONCE: usize = 64;
/// From so many addresses on, those that nobody asks are forgotten.
const TIDY: usize = 1024;
const MOST: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_one_address_only_so_many_are_under_way_and_another_does_not_wait_for_them() {
        let limits = ProbeLimits::default();
        let here = IpAddr::from([127, 0, 0, 1]);
        let mut permits = Vec::new();
        for _ in 0..AT_ONCE {
            permits.push(limits.begin(here).await);
        }
        let mut next = Box::pin(limits.begin(here));
        assert!(futures_util::poll!(&mut next).is_pending());
        assert!(limits.begin([127, 0, 0, 2].into()).await.is_some());
        permits.pop();
        assert!(next.await.is_some());
    }

    #[tokio::test]
    async fn addresses_that_nobody_asks_any_more_are_forgotten() {
        let limits = ProbeLimits::default();
        for n in 0..2 * TIDY {
            let [.., high, low] = n.to_be_bytes();
            limits.begin([10, 0, high, low].into()).await;
        }
        assert!(limits.under_way.lock().unwrap().len() <= TIDY);
    }
}
