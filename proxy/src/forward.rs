//! From a request to the head of its answer: attempts, deadlines, and when to try again.

mod attempts;
mod connect;
pub(crate) mod waiting_room;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use http::request::Parts;
use http::{HeaderMap, StatusCode, response};

use crate::exchange::record::Record;
use crate::exchange::request_body::{BodyError, RequestBody};
use crate::forward::attempts::{Attempts, Resends, Trouble};
use crate::forward::connect::{Connected, NotConnected, connect};
use crate::forward::waiting_room::Seeker;
use crate::message::headers::Outgoing;
use crate::message::reason::Reason;
use crate::metrics::counters::{Retry, UpstreamError};
use crate::pool::balance::Traits;
use crate::pool::view::{Lease, LocalSettings};
use crate::upstream::{Connection, Failure, Progress, Reply, ResponseBody, Stage, Watch, exchange};
use crate::worker::Worker;

/// A request on its way upstream.
#[derive(Debug)]
pub(crate) struct Forward<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) parts: &'a Parts,
    pub(crate) outgoing: Outgoing<'a>,
    pub(crate) traits: Traits<'a>,
    pub(crate) record: &'a mut Record,
}

/// The answer of an upstream, and the hold on the pool that gave it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) lease: Lease,
    pub(crate) kind: Kind,
}

/// The two ways an exchange can go on behind its head.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A response with its body.
    Response(response::Parts, ResponseBody<RequestBody>),
    /// `101`: from here on a tunnel.
    Switching(response::Parts, Box<Connection>),
}

/// Why there is no answer, and who was the last to fail.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) lease: Option<Lease>,
}

impl Forward<'_> {
    /// Sends the request to endpoints of its service until one answers.
    ///
    /// Guarantee 3: what has not been sent may be sent again, whatever it is; what may have been
    /// executed is sent again only if it is idempotent (RFC 9110 §9.2.2) and its body is untouched.
    /// An endpoint that does not answer in time, or with no valid head, counts as failed, and another
    /// one is asked, once.
    ///
    /// # Errors
    /// The reason of the last failure.
    pub(crate) async fn send(
        mut self,
        mut seeker: Seeker,
        first: Option<Lease>,
        mut body: Option<RequestBody>,
        interim: &mut dyn FnMut(StatusCode, &HeaderMap),
    ) -> Result<Answer, Refusal> {
        seeker.service().earn_retry();
        let mut attempts = Attempts::new(seeker.service(), body.as_ref());
        let mut next = first;
        loop {
            let lease = match next.take() {
                Some(lease) => lease,
                None => seeker
                    .lease(&self.parts.method, &self.traits, &mut attempts.tried, attempts.last)
                    .await
                    .map_err(|reason| Refusal { reason, lease: None })?,
            };
            self.record.attempt(&lease);
            let connected = connect(self.worker, &lease, attempts.fresh_only).await;
            let Connected { connection, trial } = match connected {
                Ok(connected) => connected,
                Err(failure) => {
                    self.not_connected(&lease, &failure, &mut attempts);
                    continue;
                }
            };
            if attempts.awaits_restart(&seeker) {
                if attempts.look_again(&lease.endpoint) {
                    continue;
                }
                self.record.failed(&lease, UpstreamError::Closed);
                return Err(Refusal { reason: Reason::UpstreamClosed, lease: Some(lease) });
            }
            let failure = match self.attempt(&lease, connection, &mut body, interim).await {
                Ok(kind) => {
                    if let Some(trial) = trial {
                        trial.pass();
                    }
                    lease.endpoint.endpoint.note_success();
                    return Ok(Answer { lease, kind });
                }
                Err(failure) => failure,
            };
            attempts.had(&lease.endpoint);
            attempts.resends.elsewhere = seeker.has_other(&attempts.tried);
            let Some(retry) =
                self.judge(&lease, &attempts.service, &failure, &mut attempts.resends)
            else {
                let reason = self.refuse(&lease, failure);
                return Err(Refusal { reason, lease: Some(lease) });
            };
            attempts.again(retry, &failure);
        }
    }

    /// Books an endpoint that took no connection; the request has not been sent.
    fn not_connected(&mut self, lease: &Lease, failure: &NotConnected, attempts: &mut Attempts) {
        let retries = &attempts.service.slot.retries;
        match *failure {
            NotConnected::Retired => retries.count(Retry::Stale),
            NotConnected::Failed(error) => {
                self.record.failed(lease, error);
                lease.pool.pool.note_failure(&lease.endpoint.endpoint, self.worker.uptime());
                attempts.last = match error {
                    UpstreamError::ConnectTimeout => Reason::ConnectTimeout,
                    _ => Reason::ConnectFailed,
                };
                retries.count(Retry::ConnectFailed);
                attempts.tried.push(Rc::clone(&lease.endpoint));
            }
        }
        attempts.resends.note_down();
    }

    /// One exchange on one connection, under its deadlines.
    async fn attempt(
        &mut self,
        lease: &Lease,
        connection: Box<Connection>,
        body: &mut Option<RequestBody>,
        interim: &mut dyn FnMut(StatusCode, &HeaderMap),
    ) -> Result<Kind, Trouble> {
        let limit = lease.service.settings.timeouts.response_header;
        let progress = Progress::default();
        let _sent = Sent { lease, progress: &progress };
        let watch = Watch { progress: &progress, interim };
        let mut exchange = pin!(exchange(connection, self.parts, &self.outgoing, body, watch));
        let mut sleep = self.worker.timers.sleep(limit);
        let mut seen = (Stage::Receiving, 0);
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(outcome) = exchange.as_mut().poll(cx) {
                return Poll::Ready(outcome.map_err(Trouble::Failure));
            }
            if lease.is_hung_up() {
                lease.note_forced();
                return Poll::Ready(Err(Trouble::Drained));
            }
            // The clock of the answer runs while the upstream is the one to move: from the last byte
            // it took. While the client is, the body keeps time itself.
            let now = (progress.stage(), progress.written());
            if now != seen || now.0 == Stage::Receiving {
                seen = now;
                sleep.reset(limit);
            }
            Pin::new(&mut sleep).poll(cx).map(|()| Err(Trouble::Timeout))
        })
        .await;
        Ok(match outcome? {
            Reply::Response(parts, body) => Kind::Response(parts, body),
            Reply::Switching(parts, connection) => Kind::Switching(parts, connection),
        })
    }

    /// Whether the request may be sent again after a failure, and as what it counts.
    ///
    /// What may have been executed is sent again once for each endpoint of the pool at most: enough
    /// to get past a stale connection and every bad endpoint, and no more, since the request itself
    /// may be what kills them. Then only an app that has been down in between gets it once more: one
    /// that is being stopped resets an old connection and then a new one.
    fn judge(
        &mut self,
        lease: &Lease,
        service: &LocalSettings,
        failure: &Trouble,
        resends: &mut Resends,
    ) -> Option<Retry> {
        match failure {
            Trouble::Failure(Failure::Unsent(_)) => Some(Retry::Stale),
            Trouble::Failure(Failure::Refused(_)) => {
                self.record.failed(lease, UpstreamError::ConnectFailed);
                lease.pool.pool.note_failure(&lease.endpoint.endpoint, self.worker.uptime());
                Some(Retry::ConnectFailed)
            }
            Trouble::Failure(Failure::Closed { reused, consumed: false, .. })
                if self.parts.method.is_idempotent() =>
            {
                if resends.done >= lease.pool.endpoints.len() {
                    return resends.await_restart().then_some(Retry::Closed);
                }
                if *reused {
                    return Some(Retry::Stale);
                }
                lease.pool.pool.note_failure(&lease.endpoint.endpoint, self.worker.uptime());
                (resends.is_free() || service.spend_retry()).then_some(Retry::Closed)
            }
            Trouble::Failure(Failure::Closed { reused: false, .. }) => {
                lease.pool.pool.note_failure(&lease.endpoint.endpoint, self.worker.uptime());
                None
            }
            Trouble::Timeout => {
                self.ask_another(lease, resends, UpstreamError::Timeout, Retry::Timeout)
            }
            Trouble::Failure(Failure::Io(_)) => {
                self.ask_another(lease, resends, UpstreamError::Closed, Retry::Closed)
            }
            Trouble::Failure(Failure::Malformed(_)) => {
                self.ask_another(lease, resends, UpstreamError::Malformed, Retry::Malformed)
            }
            Trouble::Drained | Trouble::Failure(_) => None,
        }
    }

    /// An endpoint had the whole request and gave no answer that can be used: another one, once.
    fn ask_another(
        &mut self,
        lease: &Lease,
        resends: &mut Resends,
        error: UpstreamError,
        retry: Retry,
    ) -> Option<Retry> {
        lease.pool.pool.note_failure(&lease.endpoint.endpoint, self.worker.uptime());
        let again = self.parts.method.is_idempotent() && resends.may_ask_another();
        if again {
            self.record.failed(lease, error);
        }
        again.then_some(retry)
    }

    /// Counts a failure that nothing can be done about.
    fn refuse(&mut self, lease: &Lease, failure: Trouble) -> Reason {
        let endpoint = &lease.endpoint.endpoint.id;
        let (error, reason) = match failure {
            Trouble::Drained => return Reason::Drained,
            Trouble::Timeout => (UpstreamError::Timeout, Reason::UpstreamTimeout),
            Trouble::Failure(Failure::Downstream(error)) => return reason_of(&error),
            Trouble::Failure(Failure::Malformed(rule)) => {
                tracing::warn!(%endpoint, rule, "malformed answer");
                (UpstreamError::Malformed, Reason::UpstreamMalformed)
            }
            Trouble::Failure(
                failure @ (Failure::Closed { .. }
                | Failure::Io(_)
                | Failure::Refused(_)
                | Failure::Unsent(_)),
            ) => {
                tracing::debug!(%endpoint, %failure, "no answer");
                (UpstreamError::Closed, Reason::UpstreamClosed)
            }
        };
        self.record.failed(lease, error);
        reason
    }
}

/// Counts the body bytes of an attempt when it ends, also when the client goes away in its middle.
struct Sent<'a> {
    lease: &'a Lease,
    progress: &'a Progress,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        self.lease.pool.slot.bytes_up.add(self.progress.body());
    }
}

fn reason_of(error: &BodyError) -> Reason {
    match error {
        BodyError::TooLarge => Reason::BodyTooLarge,
        BodyError::Idle | BodyError::TooSlow => Reason::BodyTimeout,
        BodyError::Client(_) => Reason::ClientBody,
    }
}
