//! What the load was told, and which of it may not have been.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cutover_harness::{Answer, Observer};

/// Who answered a request, or why nobody did.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// A container of this project.
    Project(String),
    /// Cutover itself, or nobody.
    Failure(String),
}

/// One request that did not go as all before it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) since: Instant,
    pub(crate) until: Instant,
    pub(crate) said: Said,
}

/// The answers to the requests of one service: the last, and all that need a second look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By who answered, the last.
    last: BTreeMap<String, Instant>,
    failures: Vec<Event>,
    others: Vec<Event>,
    owner: String,
    total: usize,
}

impl Answers {
    /// Of a service that belongs to this project.
    pub(crate) fn of(owner: &str) -> Self {
        let answers = Self::default();
        owner.clone_into(&mut answers.inner.lock().unwrap().owner);
        answers
    }

    /// For the clients.
    pub(crate) fn observer(&self) -> Observer {
        let inner = Arc::clone(&self.inner);
        Arc::new(move |since, answer| {
            let event = Event { since, until: Instant::now(), said: read(answer) };
            let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.total += 1;
            match &event.said {
                Said::Project(project) => {
                    inner.last.insert(project.clone(), event.until);
                    if *project != inner.owner {
                        inner.others.push(event);
                    }
                }
                Said::Failure(_) => inner.failures.push(event),
            }
        })
    }

    /// Whether its owner has answered a request that was sent after this moment, and nobody failed
    /// one since then.
    pub(crate) fn is_served(&self, since: Instant) -> bool {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = inner.failures.last().is_some_and(|event| event.until > since);
        !failed
            && inner
                .last
                .get(&inner.owner)
                .is_some_and(|last| *last > since + Duration::from_millis(50))
    }

    pub(crate) fn total(&self) -> usize {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// The failures since the last call.
    pub(crate) fn take_failures(&self) -> Vec<Event> {
        std::mem::take(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner).failures)
    }

    /// The answers of other projects since the last call.
    pub(crate) fn take_others(&self) -> Vec<Event> {
        std::mem::take(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner).others)
    }
}

fn read(answer: &std::io::Result<Answer>) -> Said {
    match answer {
        Ok(answer) => match answer.field("x-demo-name") {
            // Whatever the app says of the path: it was asked.
            Some(project) => Said::Project(project.to_owned()),
            None => Said::Failure(format!(
                "{} {}",
                answer.status,
                answer.field("x-cutover-reason").unwrap_or_else(|| answer.body.trim())
            )),
        },
        Err(error) => Said::Failure(error.to_string()),
    }
}
