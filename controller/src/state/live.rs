//! Who serves now, and who has just stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_proxy::table::{Color, Generation, ServiceName};
use serde::Serialize;
use tokio::time::Instant;

use super::State;
use crate::config::DrainConfig;
use crate::state::weights::Weights;

/// A color that has stopped serving.
#[derive(Clone, Copy, Debug)]
pub struct Retired {
    /// When.
    pub since: Instant,
    /// The first table without it.
    pub generation: Generation,
    /// How long its work may go on.
    pub limits: DrainConfig,
    /// What had been closed by force before: requests and streams.
    pub forced_before: (u64, u64),
}

/// How the drain of a color ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct DrainEnd {
    /// Requests that the deadline closed.
    pub forced_requests: u64,
    /// Streams that the deadline closed.
    pub forced_streams: u64,
    /// From the flip to the last byte.
    pub longest: Duration,
}

impl State {
    /// Takes note that a table with these shares is live: who has stopped serving drains.
    pub fn went_live(
        &mut self,
        live: BTreeMap<ServiceName, Weights>,
        generation: Generation,
        drain: Option<DrainConfig>,
        now: Instant,
    ) {
        let before = std::mem::replace(&mut self.live, live);
        let served = before.iter().flat_map(|(name, weights)| {
            Color::ALL.into_iter().filter(|&c| weights.serves(c)).map(|c| (name.clone(), c))
        });
        for (name, color) in served.collect::<Vec<_>>() {
            if self.serves(&name, color) {
                continue;
            }
            let retired = Retired {
                since: now,
                generation,
                limits: self.drain_limits(&name, drain),
                forced_before: self.forced(&name, color),
            };
            self.retired.insert((name, color), retired);
        }
        let live = &self.live;
        self.retired.retain(|(name, color), _| !live.get(name).is_some_and(|w| w.serves(*color)));
        for name in self.live.keys().cloned().collect::<Vec<_>>() {
            let weights = self.weights(&name);
            let any = Color::ALL
                .into_iter()
                .any(|c| weights.serves(c) && !self.endpoints(&name, c).is_empty());
            // From here on the journal knows: a restart finds the same color.
            if any {
                self.journal.services.entry(name).or_default().weights.get_or_insert(weights);
            }
        }
        let serving = self.discovery.endpoints.iter().filter(|found| {
            self.live.get(&found.service).is_some_and(|weights| weights.serves(found.color))
        });
        self.served.extend(serving.map(|found| found.container.clone()));
        self.journal.generation = self.journal.generation.max(generation);
        self.published = true;
        self.end_boot();
    }

    /// Whether these shares are what the live table has, and what the journal says.
    #[must_use]
    pub fn is_live(&self, shares: &[(ServiceName, Weights)]) -> bool {
        let live = |(name, weights): &(ServiceName, Weights)| {
            self.live.get(name) == Some(weights) && self.weights(name) == *weights
        };
        self.table.is_some() && shares.iter().all(live)
    }

    /// The start is over once every name has had an answer, or the lack of one.
    pub fn end_boot(&mut self) {
        let resolved = self.host_names().iter().all(|name| self.names.contains_key(name));
        self.booting &= !resolved;
    }

    /// How long the work of a color that stops may go on.
    #[must_use]
    pub fn drain_limits(&self, name: &ServiceName, wanted: Option<DrainConfig>) -> DrainConfig {
        wanted.or_else(|| self.service(name).map(|s| s.drain)).unwrap_or(GONE)
    }

    /// Whether a color gets requests in the live table.
    #[must_use]
    pub fn serves(&self, name: &ServiceName, color: Color) -> bool {
        self.live.get(name).is_some_and(|weights| weights.serves(color))
    }

    /// What has been closed by force since the proxy started: requests and streams.
    #[must_use]
    pub fn forced(&self, name: &ServiceName, color: Color) -> (u64, u64) {
        let service = self.snapshot.services.iter().find(|s| s.name == name.as_str());
        let color = service.and_then(|s| s.colors.iter().find(|c| c.color == color.as_str()));
        let forced = |kind: &str| color.and_then(|c| c.forced.get(kind)).copied().unwrap_or(0);
        (forced("request"), forced("stream"))
    }
}

/// For the work of a service that is no longer configured: what the config's defaults would be.
const GONE: DrainConfig =
    DrainConfig { timeout: Duration::from_secs(30), streams: Duration::from_secs(300) };
