//! One request's entry in the metrics and the access log, written when its last byte has gone.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::StatusCode;

use crate::metrics::counters::UpstreamError;
use crate::metrics::log_line::LogLine;
use crate::pool::lease::Lease;
use crate::pool::view::context::ServiceContext;
use crate::upstream::Stage;
use crate::worker::Worker;

/// Counts a request exactly once: at its end, or when it is dropped, whichever way that happens.
///
/// It owns the lease, so that every outcome is booked on the color that had the request, and the pool
/// is let go only once that has been done.
#[derive(Debug)]
pub(crate) struct Record {
    worker: Rc<Worker>,
    started: Instant,
    outcome: Outcome,
    service: Option<Rc<ServiceContext>>,
    /// That of the attempt under way, or of the one that answered.
    lease: Option<Lease>,
    /// When that attempt began.
    attempted: Instant,
    /// Only while someone reads the log.
    line: Option<Box<LogLine>>,
}

/// Whose turn it is in an attempt: who keeps the other waiting.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Turn {
    /// The client's: more of its body is to come.
    Clients,
    /// The upstream's, from the beginning.
    #[default]
    Upstreams,
    /// The upstream's, since the last byte came from the client.
    UpstreamsSince(Instant),
}

impl Turn {
    /// Takes note of what the exchange waits for.
    pub(crate) fn note(&mut self, stage: Stage) {
        match (stage, *self) {
            (Stage::Receiving, _) => *self = Self::Clients,
            (Stage::Sent | Stage::Writing, Self::Clients) => {
                *self = Self::UpstreamsSince(Instant::now());
            }
            (Stage::Sent | Stage::Writing, _) => {}
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    /// No answer yet; if it stays so, the client has gone.
    Open,
    /// This head has been given to the client's side.
    Answered(StatusCode),
    /// Written.
    Done,
}

impl Record {
    /// Starts the clock. `line` fills in what the access log says of the request; it is called only
    /// when there is one.
    pub(crate) fn start(worker: &Rc<Worker>, line: impl FnOnce() -> LogLine) -> Self {
        let enabled = worker.shared.access_log.is_enabled();
        let now = Instant::now();
        Self {
            worker: Rc::clone(worker),
            started: now,
            outcome: Outcome::Open,
            service: None,
            lease: None,
            attempted: now,
            line: enabled.then(|| Box::new(line())),
        }
    }

    /// When the request came.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// The service that is to answer.
    pub(crate) fn routed(&mut self, service: &Rc<ServiceContext>) {
        self.service = Some(Rc::clone(service));
        if let Some(line) = &mut self.line {
            line.service = Some(service.settings.name.clone());
        }
    }

    /// An attempt begins, on this lease; the one before it ends.
    pub(crate) fn attempt(&mut self, lease: Lease) -> &Lease {
        if let Some(line) = &mut self.line {
            line.color = Some(lease.pool.shared.color);
            line.endpoint = Some(lease.endpoint.shared.id.clone());
            line.attempts += 1;
        }
        if self.lease.is_some() {
            self.attempted = Instant::now();
        }
        self.lease.insert(lease)
    }

    /// The lease of the present attempt.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// The present attempt failed.
    pub(crate) fn failed(&mut self, error: Option<UpstreamError>) {
        if let (Some(lease), Some(error)) = (&self.lease, error) {
            lease.pool.slot.errors.count(error);
        }
    }

    /// The app has answered. Only its own time is compared when a release is judged: from the last
    /// byte of the request to the head of the answer.
    pub(crate) fn answered_by_app(&mut self, status: StatusCode, turn: &Turn) {
        self.outcome = Outcome::Answered(status);
        let now = Instant::now();
        let took = match *turn {
            Turn::Upstreams => Some(now - self.attempted),
            Turn::UpstreamsSince(since) => Some(now - since),
            // It answered early: how long the client takes says nothing of it.
            Turn::Clients => None,
        };
        if let (Some(lease), Some(took)) = (&self.lease, took) {
            lease.pool.slot.answered(took);
        }
        if let Some(line) = &mut self.line {
            line.upstream_time = Some(now - self.attempted);
        }
    }

    /// We answer ourselves.
    pub(crate) fn answered_by_us(&mut self, status: StatusCode, reason: &'static str) {
        self.outcome = Outcome::Answered(status);
        if let Some(line) = &mut self.line {
            line.reason = Some(reason);
        }
    }

    /// From now on a stream, with the deadline of streams.
    pub(crate) fn become_stream(&self) {
        if let Some(lease) = &self.lease {
            lease.become_stream();
        }
    }

    /// Whether a drain deadline wants the request to end now.
    pub(crate) fn is_hung_up(&self) -> bool {
        self.lease.as_ref().is_some_and(Lease::is_hung_up)
    }

    /// A drain deadline has ended it.
    pub(crate) fn note_forced(&self) {
        if let Some(lease) = &self.lease {
            lease.note_forced();
        }
    }

    /// Body bytes that went upstream behind the head of the answer.
    pub(crate) fn uploaded(&self, bytes: u64) {
        if let Some(lease) = &self.lease {
            lease.pool.slot.bytes_up.add(bytes);
        }
    }

    /// The answer was broken off.
    pub(crate) fn broken(&mut self, reason: &'static str) {
        if let Some(line) = &mut self.line {
            line.reason = Some(reason);
        }
    }

    /// Writes the entry; `bytes` is the body's length downstream.
    pub(crate) fn finish(&mut self, bytes: u64) {
        let status = match self.outcome {
            Outcome::Done => return,
            Outcome::Open => CLIENT_GONE,
            Outcome::Answered(status) => status,
        };
        self.outcome = Outcome::Done;
        let took = self.started.elapsed();
        match (&self.lease, &self.service) {
            (Some(lease), _) => {
                lease.pool.slot.finish(status, took);
                lease.pool.slot.bytes_down.add(bytes);
            }
            (None, Some(service)) => service.slot.unserved.count(status),
            (None, None) => {}
        }
        if let Some(line) = self.line.take() {
            self.log(&line, status, bytes, took);
        }
    }

    fn log(&self, line: &LogLine, status: StatusCode, bytes: u64, took: Duration) {
        if !self.worker.shared.access_log.send(line.render(status, bytes, took)) {
            self.worker.slot.access_log_dropped.add(1);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.finish(0);
    }
}

/// nginx's code for a client that closed the request; it never goes out.
const CLIENT_GONE: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};
