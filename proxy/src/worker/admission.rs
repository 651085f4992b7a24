//! How many connections there may be: in all, and of one client address.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::table::Limits;

/// Counts the connections of all workers.
///
/// Shared, since a limit per worker would depend on how the kernel spreads connections. It is
/// touched twice in a connection's life and never by a request; the addresses are spread over
/// shards so that workers seldom meet.
#[derive(Debug)]
pub(crate) struct Limiter {
    open: AtomicUsize,
    max: AtomicUsize,
    /// Just below half of the file descriptor limit: each client may need an upstream connection.
    automatic: usize,
    max_per_client: AtomicUsize,
    hasher: RandomState,
    // Held for one map operation, by whoever opens or closes a connection.
    shards: [Mutex<HashMap<IpAddr, usize>>; SHARDS],
}

impl Limiter {
    /// Raises the file descriptor limit as far as it goes, and counts from zero. A limit that cannot be
    /// raised is used as it is.
    pub(crate) fn start() -> Arc<Self> {
        Arc::new(Self::new(raise_nofile()))
    }

    fn new(nofile: usize) -> Self {
        let automatic = (nofile / 2).saturating_sub(RESERVED).max(1);
        Self {
            open: AtomicUsize::new(0),
            max: AtomicUsize::new(automatic),
            automatic,
            max_per_client: AtomicUsize::new(Limits::default().max_connections_per_client),
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Takes over the limits of a new table; connections that are open stay.
    pub(crate) fn apply(&self, limits: &Limits) {
        let max = limits.max_connections.unwrap_or(self.automatic);
        self.max.store(max, Ordering::Relaxed);
        self.max_per_client.store(limits.max_connections_per_client, Ordering::Relaxed);
    }

    /// Leave for one more connection, if there is room.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<Permit> {
        let max = self.max.load(Ordering::Relaxed);
        let room = |open: usize| (open < max).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(Permit { limiter: Arc::clone(self), client: None })
    }

    fn shard(&self, client: &IpAddr) -> &Mutex<HashMap<IpAddr, usize>> {
        let index = self.hasher.hash_one(client) as usize % SHARDS;
        // `index` is below the number of shards.
        self.shards.get(index).unwrap_or(&self.shards[0])
    }
}

/// Leave for one connection; dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct Permit {
    limiter: Arc<Limiter>,
    client: Option<IpAddr>,
}

impl Permit {
    /// Counts the connection as one of `address`. Returns whether it may have one more.
    ///
    /// IPv6 clients are counted by their /64, which is what one customer gets. Loopback is this
    /// machine itself, often a local tunnel or load test that stands for many: the default limit does
    /// not hold it back, a stricter one does.
    pub(crate) fn charge(&mut self, address: IpAddr) -> bool {
        let max = self.limiter.max_per_client.load(Ordering::Relaxed);
        let default = Limits::default().max_connections_per_client;
        if address.is_loopback() && max >= default {
            return true;
        }
        let client = customer(address);
        let mut shard = self.limiter.shard(&client).lock().unwrap_or_else(PoisonError::into_inner);
        let count = shard.entry(client).or_default();
        if *count >= max {
            return false;
        }
        *count += 1;
        drop(shard);
        self.client = Some(client);
        true
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limiter.open.fetch_sub(1, Ordering::Relaxed);
        let Some(client) = self.client else { return };
        let mut shard = self.limiter.shard(&client).lock().unwrap_or_else(PoisonError::into_inner);
        match shard.get_mut(&client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(shard.remove(&client)),
        }
    }
}

fn customer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
    }
}

/// Raises the soft limit to the hard one; returns what holds then.
fn raise_nofile() -> usize {
    let now = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: now.maximum, maximum: now.maximum };
    let current = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => wanted.current,
        Err(error) => {
            tracing::warn!(%error, "the file descriptor limit could not be raised");
            now.current
        }
    };
    current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

const SHARDS: usize = 16;

/// Descriptors for listeners, logs, the link and what the standard library opens.
const RESERVED: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(nofile: usize, per_client: usize) -> Arc<Limiter> {
        let limiter = Arc::new(Limiter::new(nofile));
        let limits = Limits { max_connections_per_client: per_client, ..Limits::default() };
        limiter.apply(&limits);
        limiter
    }

    #[test]
    fn there_are_never_more_connections_than_half_the_descriptors() {
        let limiter = limiter(80, 256);
        let mut permits: Vec<_> = std::iter::from_fn(|| limiter.admit()).collect();
        assert_eq!(permits.len(), 80 / 2 - RESERVED);
        permits.pop();
        assert!(limiter.admit().is_some());
    }

    #[test]
    fn one_address_has_its_share_and_gets_it_back() {
        let limiter = limiter(10_000, 2);
        let open = |address: &str| {
            let mut permit = limiter.admit().expect("room for all");
            permit.charge(address.parse().unwrap()).then_some(permit)
        };
        let first = open("2001:db8::1").expect("the first");
        let _second = open("2001:db8::2").expect("the second of one /64");
        assert!(open("2001:db8::3").is_none());
        assert!(open("2001:db8:0:1::3").is_some(), "another customer");
        drop(first);
        assert!(open("2001:db8::3").is_some());
        let mapped = [open("::ffff:192.0.2.1"), open("192.0.2.1")];
        assert!(open("192.0.2.1").is_none() && mapped.iter().all(Option::is_some));
        drop((mapped, _second));
        let left: usize = limiter.shards.iter().map(|s| s.lock().unwrap().len()).sum();
        assert_eq!((left, limiter.open.load(Ordering::Relaxed)), (0, 0), "nothing grows");
    }

    #[test]
    fn loopback_is_held_back_only_by_a_stricter_limit() {
        let default = Limits::default().max_connections_per_client;
        for (max, admitted) in [(default, default + 10), (default - 1, default - 1)] {
            let limiter = limiter(100_000, max);
            let permits = (0..default + 10).map(|_| {
                let mut permit = limiter.admit().unwrap();
                permit.charge("127.0.0.1".parse().unwrap()).then_some(permit)
            });
            let permits: Vec<_> = permits.collect();
            assert_eq!(permits.iter().flatten().count(), admitted);
        }
    }
}
