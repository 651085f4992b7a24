//! What a service had counted at some moment: the raw figures of a report and of the judgement.

use cutover_proxy::table::{Color, ServiceName, Snapshot};
use cutover_rollout::analysis::Figures;
use serde::{Deserialize, Serialize};

use super::live::is_of;

/// What a service had counted at some moment, or within some time.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Counted {
    blue: Figures,
    green: Figures,
    /// Requests sent again.
    pub retried: u64,
    /// Requests that had to wait.
    pub held: u64,
    /// Requests that no endpoint has answered, with 500 and above: not those that a client gave up or
    /// that were refused for what was in them.
    pub unserved: u64,
}

/// Whether a container has requests or streams in flight, in any pool.
#[must_use]
pub(crate) fn is_busy(snapshot: &Snapshot, service: &ServiceName, id: &str) -> bool {
    let pools = snapshot.pools.iter().filter(|pool| pool.service == *service);
    let mut endpoints = pools.flat_map(|pool| &pool.endpoints);
    endpoints.any(|endpoint| endpoint.in_flight > 0 && is_of(&endpoint.id, id))
}

impl Counted {
    /// Reads a snapshot.
    #[must_use]
    pub(crate) fn of(snapshot: &Snapshot, service: &ServiceName) -> Self {
        let stats = snapshot.services.iter().find(|s| s.name == service.as_str());
        Self {
            blue: Figures::of(snapshot, service, Color::Blue),
            green: Figures::of(snapshot, service, Color::Green),
            retried: stats.map_or(0, |s| s.retries.values().sum()),
            held: stats.map_or(0, |s| s.held),
            unserved: stats.map_or(0, |s| s.unserved.range(500..).map(|(_, count)| count).sum()),
        }
    }

    /// One color's figures.
    #[must_use]
    pub(crate) fn color(&self, color: Color) -> &Figures {
        match color {
            Color::Blue => &self.blue,
            Color::Green => &self.green,
        }
    }

    /// What was counted since `before`.
    #[must_use]
    pub(crate) fn since(&self, before: &Self) -> Self {
        // A proxy that was restarted in between counts from nothing.
        let since = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        Self {
            blue: self.blue.since(&before.blue),
            green: self.green.since(&before.green),
            retried: since(self.retried, before.retried),
            held: since(self.held, before.held),
            unserved: since(self.unserved, before.unserved),
        }
    }
}
