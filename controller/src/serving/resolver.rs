//! From names to addresses, again and again.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use tokio::time::Instant;
use tracing::warn;

/// Asks the name servers of `/etc/resolv.conf`, with its search list, and `/etc/hosts`.
///
/// In a container that is Docker's own, which knows the services of a compose file.
#[derive(Debug)]
pub(crate) struct Resolver {
    system: Result<TokioResolver, NetError>,
}

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    /// The name servers say so, or do not answer.
    #[error(transparent)]
    Failed(#[from] NetError),
    /// An answer without an address.
    #[error("{0} has no address")]
    NoAddress(String),
    /// None in the time that a lookup has.
    #[error("the name server does not answer")]
    Timeout,
}

/// A good answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Lookup {
    /// Sorted, without doubles, IPv4 first. Never empty.
    pub addresses: Vec<IpAddr>,
    /// Until when it holds.
    pub valid_until: Instant,
}

impl Resolver {
    /// Reads the system's configuration. Where there is none, every lookup says so.
    #[must_use]
    pub(crate) fn system() -> Self {
        let system = TokioResolver::builder_tokio().and_then(|mut builder| {
            let options = builder.options_mut();
            // We are the cache that keeps the last good answer; a second one would only delay news.
            options.cache_size = 0;
            options.timeout = Duration::from_secs(2);
            options.attempts = 2;
            builder.build()
        });
        if let Err(error) = &system {
            warn!(%error, "no name server: only addresses can be used as endpoints");
        }
        Self { system }
    }

    /// Looks a name up.
    ///
    /// # Errors
    /// Says why there is no address.
    pub(crate) async fn look_up(&self, name: &str) -> Result<Lookup, LookupError> {
        let system = self.system.as_ref().map_err(Clone::clone)?;
        let found = system.lookup_ip(name).await?;
        let addresses: BTreeSet<IpAddr> = found.iter().collect();
        if addresses.is_empty() {
            return Err(LookupError::NoAddress(name.to_owned()));
        }
        Ok(Lookup {
            addresses: addresses.into_iter().collect(),
            valid_until: found.valid_until().into(),
        })
    }
}

/// When to look again: when the answer has expired, within bounds. Docker says 600 s for names whose
/// container may be replaced at any moment, and some servers say 0.
#[must_use]
pub(crate) fn look_again(found: Result<&Lookup, &LookupError>, now: Instant) -> Duration {
    match found {
        Ok(lookup) => {
            lookup.valid_until.saturating_duration_since(now).clamp(LOOK_AGAIN_MIN, LOOK_AGAIN_MAX)
        }
        Err(_) => LOOK_AGAIN_MIN,
    }
}

const LOOK_AGAIN_MIN: Duration = Duration::from_secs(1);
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(now: Instant, ttl: u64) -> Lookup {
        Lookup {
            addresses: vec![[127, 0, 0, 1].into()],
            valid_until: now + Duration::from_secs(ttl),
        }
    }

    #[test]
    fn the_time_to_live_is_honored_within_bounds() {
        let now = Instant::now();
        for (ttl, expected) in [(0, 1), (5, 5), (600, 30)] {
            let wait = look_again(Ok(&lookup(now, ttl)), now);
            assert_eq!(wait, Duration::from_secs(expected));
        }
        assert_eq!(look_again(Err(&LookupError::Timeout), now), LOOK_AGAIN_MIN);
    }

    #[tokio::test]
    async fn localhost_is_found_without_a_name_server() {
        let found = Resolver::system().look_up("localhost").await.unwrap();
        assert!(found.addresses.iter().all(IpAddr::is_loopback), "{found:?}");
    }
}
