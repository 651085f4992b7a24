//! What has happened, for those who watch.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

pub(crate) use cutover_api::{Event, EventKind};
use tokio::sync::broadcast;

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
        let event = now(kind);
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

/// Something that happens now.
#[must_use]
pub(crate) fn now(kind: EventKind) -> Event {
    Event { at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(), kind }
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
