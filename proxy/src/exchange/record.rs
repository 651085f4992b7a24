//! One request's entry in the metrics and the access log, written when its last byte has gone.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::StatusCode;

use crate::metrics::counters::UpstreamError;
use crate::metrics::log_line::LogLine;
use crate::pool::view::{Lease, LocalSettings};
use crate::worker::Worker;

/// Counts a request exactly once: at its end, or when it is dropped, whichever way that happens.
#[derive(Debug)]
pub(crate) struct Record {
    worker: Rc<Worker>,
    started: Instant,
    outcome: Outcome,
    service: Option<Rc<LocalSettings>>,
    /// Only while someone reads the log.
    line: Option<Box<LogLine>>,
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
        Self {
            worker: Rc::clone(worker),
            started: Instant::now(),
            outcome: Outcome::Open,
            service: None,
            line: enabled.then(|| Box::new(line())),
        }
    }

    /// The service that is to answer.
    pub(crate) fn routed(&mut self, service: &Rc<LocalSettings>) {
        self.service = Some(Rc::clone(service));
        if let Some(line) = &mut self.line {
            line.service = Some(service.settings.name.clone());
        }
    }

    /// An attempt begins.
    pub(crate) fn attempt(&mut self, lease: &Lease) {
        if let Some(line) = &mut self.line {
            line.color = Some(lease.pool.pool.color);
            line.endpoint = Some(lease.endpoint.endpoint.id.clone());
            line.attempts += 1;
            line.upstream_started = Some(Instant::now());
        }
    }

    /// An attempt failed.
    pub(crate) fn failed(&mut self, lease: &Lease, error: UpstreamError) {
        lease.pool.slot.errors.count(error);
    }

    /// The head of the answer is on its way to the client.
    pub(crate) fn answered(&mut self, status: StatusCode, reason: Option<&'static str>) {
        self.outcome = Outcome::Answered(status);
        if let Some(line) = &mut self.line {
            line.reason = reason;
            line.upstream_time = line.upstream_started.map(|at| at.elapsed());
        }
    }

    /// The answer was broken off.
    pub(crate) fn broken(&mut self, reason: &'static str) {
        if let Some(line) = &mut self.line {
            line.reason = Some(reason);
        }
    }

    /// Writes the entry. `lease` is the one that served, `bytes` the body's length downstream.
    pub(crate) fn finish(&mut self, lease: Option<&Lease>, bytes: u64) {
        let status = match self.outcome {
            Outcome::Done => return,
            Outcome::Open => CLIENT_GONE,
            Outcome::Answered(status) => status,
        };
        self.outcome = Outcome::Done;
        let took = self.started.elapsed();
        match (lease, &self.service) {
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
        self.finish(None, 0);
    }
}

/// nginx's code for a client that closed the request; it never goes out.
const CLIENT_GONE: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};
