//! What has happened, for those who watch.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use cutover_proxy::table::{Color, Generation, ServiceName};
use serde::Serialize;
use tokio::sync::broadcast;

use crate::state::weights::Weights;

/// The ring that every event goes through: the last ones are kept, and watchers get the next ones.
///
/// Sending never waits: a watcher that reads too slowly loses its place and is told so.
#[derive(Debug)]
pub struct Events {
    live: broadcast::Sender<Event>,
    /// Locked for a push or a copy, never across an await.
    recent: Mutex<VecDeque<Event>>,
}

impl Events {
    /// Tells everyone who watches.
    pub fn send(&self, kind: EventKind) {
        let event = Event::now(kind);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(event.clone());
        // Under the lock, so that `watch` sees no event twice and misses none. Nobody watching is fine.
        self.live.send(event).ok();
    }

    /// The last `count` events, and those to come.
    #[must_use]
    pub fn watch(&self, count: usize) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = recent.len().saturating_sub(count);
        (recent.iter().skip(skip).cloned().collect(), self.live.subscribe())
    }
}

impl Default for Events {
    fn default() -> Self {
        Self { live: broadcast::Sender::new(RECENT), recent: Mutex::default() }
    }
}

/// Something that happened, and when.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// RFC 3339, UTC.
    pub at: String,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl Event {
    /// Something that happens now.
    #[must_use]
    pub fn now(kind: EventKind) -> Self {
        Self { at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(), kind }
    }
}

/// What happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// A config was refused; what was before stays.
    ConfigRefused {
        /// Why.
        message: String,
    },
    /// A config is live.
    ConfigReloaded {
        /// The table it made.
        generation: Generation,
    },
    /// Work of a color that no longer serves is finishing.
    DrainStarted {
        /// The service.
        service: ServiceName,
        /// The color.
        color: Color,
    },
    /// A color that no longer serves has nothing left to do.
    Drained {
        /// The service.
        service: ServiceName,
        /// The color.
        color: Color,
        /// How long that took.
        ms: u64,
        /// Requests that the deadline closed.
        forced_requests: u64,
        /// Streams that the deadline closed.
        forced_streams: u64,
    },
    /// An endpoint stopped answering its probes.
    EndpointDown {
        /// The service.
        service: ServiceName,
        /// The color.
        color: Color,
        /// Its address or container.
        endpoint: String,
        /// The last answer.
        reason: String,
    },
    /// An endpoint answers its probes.
    EndpointUp {
        /// The service.
        service: ServiceName,
        /// The color.
        color: Color,
        /// Its address or container.
        endpoint: String,
    },
    /// What should serve could not, so something else of the service that is ready serves.
    FailedOver {
        /// The service.
        service: ServiceName,
        /// What served.
        from: &'static str,
        /// What serves.
        to: &'static str,
        /// Why.
        reason: &'static str,
        /// The table that did it.
        generation: Generation,
    },
    /// Another color serves.
    Flipped {
        /// The service.
        service: ServiceName,
        /// What served.
        from: &'static str,
        /// What serves.
        to: &'static str,
        /// The table that did it.
        generation: Generation,
        /// How long the swap took.
        flip_us: u64,
    },
    /// A journal that could not be read was set aside at the start.
    JournalSetAside {
        /// Which, why, and where it is kept.
        message: String,
    },
    /// The reader was too slow and has lost its place; the last line of its stream.
    Lagged {
        /// Events it has missed.
        missed: u64,
    },
    /// Requests are held.
    Paused {
        /// The service.
        service: ServiceName,
        /// Only methods that are not safe.
        writes_only: bool,
    },
    /// The link to the proxy is up.
    ProxyConnected {
        /// Its process.
        pid: u32,
        /// Its version.
        version: String,
    },
    /// The link to the proxy is down.
    ProxyLost,
    /// Held requests go on.
    Resumed {
        /// The service.
        service: ServiceName,
    },
    /// A rollout has something to tell.
    Rollout {
        /// The service.
        service: ServiceName,
        /// What, as in the stream of `deploy`.
        detail: serde_json::Value,
    },
    /// The shares of the colors have changed.
    WeightsChanged {
        /// The service.
        service: ServiceName,
        /// The new shares.
        weights: Weights,
        /// The table that did it.
        generation: Generation,
    },
}

/// How many events are kept, and how far a watcher may fall behind.
const RECENT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_gets_the_recent_events_once_and_then_the_new_ones() {
        let events = Events::default();
        events.send(EventKind::ProxyLost);
        let (recent, mut live) = events.watch(10);
        events.send(EventKind::ConfigRefused { message: "x".into() });
        assert!(matches!(recent.as_slice(), [Event { kind: EventKind::ProxyLost, .. }]));
        assert!(matches!(live.try_recv().unwrap().kind, EventKind::ConfigRefused { .. }));
        assert!(live.try_recv().is_err());
    }

    #[test]
    fn a_slow_watcher_is_told_how_much_it_missed_and_blocks_nobody() {
        let events = Events::default();
        let (_, mut live) = events.watch(0);
        for _ in 0..RECENT + 5 {
            events.send(EventKind::ProxyLost);
        }
        assert!(matches!(live.try_recv(), Err(broadcast::error::TryRecvError::Lagged(5))));
        assert_eq!(events.watch(usize::MAX).0.len(), RECENT);
    }
}
