//! What happens to containers, as the engine tells it: with no gap that nobody knows of.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::{ContainerId, Containers, DockerError};
use crate::panics::forever;

/// The changes of all containers. Dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct Changes {
    seen: mpsc::Receiver<Change>,
}

/// Something has happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    /// Something about this container is not as it was: look at it.
    Container(ContainerId),
    /// It has left this network, and its address there may be another's at once.
    Disconnected(ContainerId, String),
    /// Its process has ended, and so has its hold on its addresses.
    Ended(ContainerId),
    /// Something may have been missed: look at all of them.
    Everything,
    /// The engine does not answer. What was known may still be so.
    Gone(String),
    /// A signal was sent to a container.
    Signal(ContainerId, Signal),
    /// A container has (re)started: whatever was sent to it before is over.
    Started(ContainerId),
}

/// A signal, by number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Signal(pub i32);

impl Signal {
    /// Reads a number or a name, with or without `SIG`.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse() {
            return Some(Self(number));
        }
        let name = text.strip_prefix("SIG").unwrap_or(text);
        let known = [
            ("HUP", 1),
            ("INT", 2),
            ("QUIT", 3),
            ("ABRT", 6),
            ("KILL", 9),
            ("USR1", 10),
            ("USR2", 12),
            ("TERM", 15),
            ("WINCH", 28),
        ];
        let found = known.iter().find(|(known, _)| *known == name)?;
        Some(Self(found.1))
    }

    /// Whether a process that gets it is expected to end. Servers take HUP, USR1, USR2 and WINCH for
    /// other things, unless the container names one of them as what stops it.
    #[must_use]
    pub(crate) fn ends(self, stop_signal: Option<&str>) -> bool {
        let own = stop_signal.and_then(Self::parse);
        own == Some(self) || !matches!(self.0, 0 | 1 | 10 | 12 | 17 | 18 | 23 | 28)
    }
}

impl Changes {
    /// The next change; `None` once the watch has ended.
    ///
    /// # Cancel safety
    /// Safe: what was not returned is returned next.
    pub(crate) async fn next(&mut self) -> Option<Change> {
        self.seen.recv().await
    }
}

impl Containers {
    /// Watches the engine for as long as the answer is held, through its restarts.
    #[must_use]
    pub(crate) fn changes(&self) -> Changes {
        let (tell, seen) = mpsc::channel(256);
        let this = self.clone();
        let watch = move || this.clone().watch(tell.clone());
        tokio::spawn(forever("docker events", watch));
        Changes { seen }
    }

    async fn watch(self, tell: mpsc::Sender<Change>) {
        let mut since = unix_now();
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.follow(&tell, &mut since, &mut pause).await {
                Ok(()) => "the event stream has ended".to_owned(),
                Err(error) => error.to_string(),
            };
            if tell.is_closed() || tell.send(Change::Gone(error.clone())).await.is_err() {
                return;
            }
            warn!(error, "docker events");
            // A client of before the engine's restart may know another version of it.
            *self.docker.lock().await = None;
            sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn follow(
        &self,
        tell: &mpsc::Sender<Change>,
        since: &mut u64,
        pause: &mut Duration,
    ) -> Result<(), DockerError> {
        let docker = self.docker().await?;
        let kinds = vec!["container".to_owned(), "network".to_owned()];
        let filters = HashMap::from([("type".to_owned(), kinds)]);
        let options =
            EventsOptionsBuilder::default().since(&since.to_string()).filters(&filters).build();
        let mut events = Box::pin(docker.events(Some(options)));
        // The engine answers only with the first event, so ask whether it lives.
        self.ping().await?;
        *pause = FIRST_PAUSE;
        if tell.send(Change::Everything).await.is_err() {
            return Ok(());
        }
        loop {
            let Ok(next) = timeout(ALIVE, next(&mut events)).await else {
                self.ping().await?;
                *since = unix_now();
                if tell.send(Change::Everything).await.is_err() {
                    return Ok(());
                }
                continue;
            };
            let Some(event) = next else { return Ok(()) };
            let event = event.map_err(|error| DockerError::new("events", error))?;
            if let Some(time) = event.time.and_then(|time| time.try_into().ok()) {
                *since = time;
            }
            debug!(?event, "docker event");
            if let Some(change) = read(event)
                && tell.send(change).await.is_err()
            {
                return Ok(());
            }
        }
    }
}

async fn next<S: Stream + Unpin>(events: &mut S) -> Option<S::Item> {
    events.next().await
}

/// What an event means to us.
fn read(event: EventMessage) -> Option<Change> {
    let actor = event.actor.unwrap_or_default();
    let attributes = actor.attributes.unwrap_or_default();
    let id = ContainerId(attributes.get("container").cloned().or(actor.id)?);
    let action = event.action?;
    // `exec_start: cmd`, `health_status: healthy`: the word is before the colon.
    let word = action.split(':').next().unwrap_or_default();
    match word {
        "kill" => {
            let signal = attributes.get("signal").and_then(|signal| Signal::parse(signal));
            Some(Change::Signal(id, signal?))
        }
        "start" => Some(Change::Started(id)),
        "die" => Some(Change::Ended(id)),
        "disconnect" => Some(Change::Disconnected(id, attributes.get("name")?.clone())),
        "connect" | "create" | "destroy" | "health_status" | "pause" | "rename" | "stop"
        | "unpause" | "update" => Some(Change::Container(id)),
        _ => None,
    }
}

fn unix_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// How long a stream may be silent before everything is looked at again.
const ALIVE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_signal_that_ends_is_a_death() {
        for (signal, stop, ends) in [
            ("15", None, true),
            ("SIGKILL", None, true),
            ("9", None, true),
            ("1", None, false),
            ("SIGUSR1", None, false),
            ("10", Some("SIGUSR1"), true),
            ("28", Some("SIGWINCH"), true),
            ("QUIT", None, true),
        ] {
            let parsed = Signal::parse(signal).unwrap();
            assert_eq!(parsed.ends(stop), ends, "{signal} with {stop:?}");
        }
        assert_eq!(Signal::parse("SIGNONSENSE"), None);
    }
}
