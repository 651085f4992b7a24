//! Docker's event stream, followed through restarts of the engine, with no gap that nobody knows of.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::{Docker, refused};
use crate::engine::change::{ChangeSender, Closed};
use crate::engine::{Change, Changes, Engine, EngineError, Signal, Transition, WorkloadId};
use crate::panics::forever;

/// Why the event stream is over.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    /// The engine has closed it.
    #[error("the event stream has ended")]
    Ended,
    /// The engine refuses it or does not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Docker {
    pub(super) fn watch(&self) -> Changes {
        let (lanes, changes) = ChangeSender::new();
        let this = self.clone();
        let watch = move || this.clone().follow(lanes.clone());
        tokio::spawn(forever("docker events", watch));
        changes
    }

    async fn follow(self, lanes: ChangeSender) {
        let mut since = now();
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.read_events(&lanes, &mut since, &mut pause).await {
                Ok(Closed) => return,
                Err(error) => error.to_string(),
            };
            if lanes.wait_to_look(Change::Gone(error.clone())).await.is_err() {
                return;
            }
            warn!(error, "docker events");
            // A client of before the engine's restart may know another version of it.
            self.disconnect().await;
            sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Reads events until nobody listens or the stream ends, which is an error.
    async fn read_events(
        &self,
        lanes: &ChangeSender,
        since: &mut String,
        pause: &mut Duration,
    ) -> Result<Closed, StreamError> {
        let client = self.client().await?;
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let filters = HashMap::from([
            ("type".to_owned(), owned(&["container", "network"])),
            ("event".to_owned(), owned(&WANTED)),
        ]);
        let options = EventsOptionsBuilder::default().since(since).filters(&filters).build();
        let mut events = Box::pin(client.events(Some(options)));
        // The engine answers only with the first event, so ask whether it lives.
        self.version().await?;
        *pause = FIRST_PAUSE;
        // A look at everything that is owed: asked for as soon as there is room.
        let mut owed = true;
        loop {
            let next = tokio::select! {
                biased;
                next = timeout(ALIVE, events.next()) => next,
                () = lanes.closed() => return Ok(Closed),
                asked = lanes.wait_to_look(Change::Everything), if owed => match asked {
                    Ok(()) => {
                        owed = false;
                        continue;
                    }
                    Err(closed) => return Ok(closed),
                },
            };
            let Ok(next) = next else {
                self.version().await?;
                *since = now();
                owed = true;
                continue;
            };
            let event = next.ok_or(StreamError::Ended)?;
            let event = event.map_err(|error| refused("events", error))?;
            if let Some(nanos) = event.time_nano.and_then(|nanos| u64::try_from(nanos).ok()) {
                *since = after(nanos);
            }
            let told = match read(event) {
                Some((id, Some(transition))) => lanes.happened(id, transition),
                Some((id, None)) => lanes.look(Change::Container(id)),
                None => continue,
            };
            match told {
                Ok(has_room) => owed |= !has_room,
                Err(closed) => return Ok(closed),
            }
        }
    }
}

/// What an event means to us: a container to look at, and what is known of it before any look.
fn read(event: EventMessage) -> Option<(WorkloadId, Option<Transition>)> {
    let action = event.action?;
    // `exec_start: cmd`, `health_status: healthy`: the word is before the colon.
    let word = action.split(':').next().unwrap_or_default();
    // Not asked for, but an engine may not know that filter: the three of each health check.
    if word.starts_with("exec_") {
        return None;
    }
    let actor = event.actor.unwrap_or_default();
    let attributes = actor.attributes.unwrap_or_default();
    let id = WorkloadId::local(attributes.get("container").cloned().or(actor.id)?);
    debug!(action, container = id.as_str(), "docker event");
    let transition = match word {
        "kill" => {
            let signal = attributes.get("signal").and_then(|signal| Signal::parse(signal));
            Some(Transition::Signalled(signal?))
        }
        "start" => Some(Transition::Started),
        "die" => Some(Transition::Ended),
        "disconnect" => Some(Transition::Left(attributes.get("name")?.clone())),
        other if WANTED.contains(&other) => None,
        _ => return None,
    };
    Some((id, transition))
}

/// This moment, as the engine reads it.
fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs()).to_string()
}

/// Right after an event, so that a stream that is begun anew does not tell it twice: a signal of
/// yesterday would take a container out of the table.
fn after(nanos: u64) -> String {
    let next = Duration::from_nanos(nanos.saturating_add(1));
    format!("{}.{:09}", next.as_secs(), next.subsec_nanos())
}

/// All events that say something.
const WANTED: [&str; 13] = [
    "connect",
    "create",
    "destroy",
    "die",
    "disconnect",
    "health_status",
    "kill",
    "pause",
    "rename",
    "start",
    "stop",
    "unpause",
    "update",
];

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// How long a stream may be silent before everything is looked at again.
const ALIVE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use bollard::models::EventActor;

    use super::*;

    fn event(action: &str, attributes: &[(&str, &str)]) -> EventMessage {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        EventMessage {
            action: Some(action.into()),
            actor: Some(EventActor {
                id: Some("c1".into()),
                attributes: Some(attributes.iter().map(owned).collect()),
            }),
            ..EventMessage::default()
        }
    }

    #[test]
    fn events_of_health_checks_are_dropped_before_anything_is_done_for_them() {
        assert_eq!(read(event("exec_start: /check", &[])), None);
        assert_eq!(read(event("exec_die", &[])), None);
        assert_eq!(
            read(event("health_status: healthy", &[])),
            Some((WorkloadId::local("c1"), None))
        );
    }

    #[test]
    fn a_stream_that_is_begun_anew_begins_after_the_last_event() {
        assert_eq!(after(1_700_000_000_000_000_041), "1700000000.000000042");
        assert_eq!(after(1_700_000_000_999_999_999), "1700000001.000000000");
    }

    #[test]
    fn a_network_event_is_about_the_container_that_left() {
        let left = event("disconnect", &[("container", "c2"), ("name", "front")]);
        let expected = Some(Transition::Left("front".into()));
        assert_eq!(read(left), Some((WorkloadId::local("c2"), expected)));
    }

    #[test]
    fn a_kill_says_which_signal() {
        let kill = event("kill", &[("signal", "3")]);
        let expected = Some(Transition::Signalled(Signal(3)));
        assert_eq!(read(kill), Some((WorkloadId::local("c1"), expected)));
        assert_eq!(read(event("kill", &[("signal", "x")])), None);
    }
}
