//! From a request to the head of its answer: attempts and their deadlines.

mod connect;
mod retry;
pub(crate) mod waiting_room;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use http::request::Parts;
use http::{HeaderMap, StatusCode, response};
use http_body::Body as _;

use self::connect::{Connected, connect};
use self::retry::{Facts, Failed, History, Verdict};
use self::waiting_room::Seeker;
use crate::exchange::record::{Record, Turn};
use crate::exchange::request_body::{BodyError, RequestBody};
use crate::message::headers::Outgoing;
use crate::message::reason::Reason;
use crate::pool::balance_key::BalanceKey;
use crate::pool::binding::Bound;
use crate::pool::lease::Lease;
use crate::pool::view::endpoint::EndpointView;
use crate::upstream::{Connection, Failure, Progress, Reply, ResponseBody, Stage, Watch, exchange};
use crate::worker::Worker;

/// A request on its way upstream.
#[derive(Debug)]
pub(crate) struct Forward<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) parts: &'a Parts,
    pub(crate) outgoing: Outgoing<'a>,
    pub(crate) key: BalanceKey<'a>,
    /// The connection that serves this client alone; of use only where it leads to.
    pub(crate) bound: Option<Bound>,
    /// Keeps the lease of the attempt under way, and of the one that answered.
    pub(crate) record: &'a mut Record,
}

/// The answer of an upstream.
#[derive(Debug)]
pub(crate) enum Answered {
    /// A response with its body.
    Response(response::Parts, ResponseBody<RequestBody>),
    /// `101`: from here on a tunnel.
    Switching(response::Parts, Box<Connection>),
}

impl Answered {
    fn status(&self) -> StatusCode {
        match self {
            Self::Response(head, _) | Self::Switching(head, _) => head.status,
        }
    }
}

/// What the attempts so far mean for the next one.
#[derive(Debug)]
struct Attempts {
    /// The endpoints that had the request, or took no connection.
    tried: Vec<Rc<EndpointView>>,
    /// The last endpoint that had the request.
    had: Option<Rc<EndpointView>>,
    /// Why the last one failed; what the client is told if there is no other.
    last: Reason,
    /// Whether only a new connection will do, because an old one turned out closed.
    fresh_only: bool,
    is_bodiless: bool,
    history: History,
}

/// How an attempt failed, and what there is to say about it.
#[derive(Debug)]
struct Fault {
    failed: Failed,
    /// Told instead of what the kind of failure says.
    reason: Option<Reason>,
}

impl Forward<'_> {
    /// Sends the request to endpoints of its service until one answers, or none may be asked any
    /// more: see [`retry`].
    ///
    /// # Errors
    /// The reason of the last failure.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection in use; the record books a client that went away.
    pub(crate) async fn send(
        mut self,
        mut seeker: Seeker,
        mut body: Option<RequestBody>,
        interim: &mut dyn FnMut(StatusCode, &HeaderMap),
    ) -> Result<Answered, Reason> {
        seeker.service().retries.earn();
        let mut attempts = Attempts {
            tried: Vec::new(),
            had: None,
            last: Reason::NoEndpoint,
            fresh_only: false,
            is_bodiless: body.as_ref().is_none_or(RequestBody::is_end_stream),
            history: History::default(),
        };
        loop {
            let (method, last) = (&self.parts.method, attempts.last);
            let lease = seeker.lease(method, &self.key, &mut attempts.tried, last).await?;
            let lease = self.record.attempt(lease);
            let bound = self.bound.take_if(|bound| Rc::ptr_eq(&bound.endpoint, &lease.endpoint));
            let connected = match bound {
                Some(bound) => Ok(Connected { connection: bound.connection, slot: None }),
                None => connect(self.worker, lease, attempts.fresh_only).await,
            };
            let failed = match connected {
                Ok(connected) => {
                    if self.awaits_restart(&mut attempts, &seeker)? {
                        continue;
                    }
                    match self.attempt(connected, &mut body, interim).await {
                        Ok(answered) => return Ok(answered),
                        Err(fault) => fault,
                    }
                }
                Err(failed) => {
                    attempts.history.note_down();
                    Fault { failed, reason: None }
                }
            };
            self.judge(failed, &mut attempts, &seeker)?;
        }
    }

    /// Whether to look again later, since the endpoint that takes connections now may be the app
    /// that broke them: it is another one only if the endpoint has been down, out of the table or
    /// without a connection in between.
    fn awaits_restart(&mut self, attempts: &mut Attempts, seeker: &Seeker) -> Result<bool, Reason> {
        if seeker.has_met_none() || attempts.had.as_ref().is_some_and(|had| had.is_retired()) {
            attempts.history.note_down();
        }
        if !attempts.history.awaits_restart() {
            return Ok(false);
        }
        if let Some(lease) = self.record.lease() {
            attempts.tried.push(Rc::clone(&lease.endpoint));
        }
        if attempts.history.may_look_again() {
            return Ok(true);
        }
        self.record.failed(Failed::Closed { reused: false, consumed: false }.error(true));
        Err(Reason::UpstreamClosed)
    }

    /// One exchange on one connection, under its deadlines.
    async fn attempt(
        &mut self,
        Connected { connection, slot }: Connected,
        body: &mut Option<RequestBody>,
        interim: &mut dyn FnMut(StatusCode, &HeaderMap),
    ) -> Result<Answered, Fault> {
        let Some(lease) = self.record.lease() else {
            return Err(Fault { failed: Failed::Ended, reason: None });
        };
        let mut turn = Turn::default();
        let reply = self.exchange(lease, connection, body, interim, &mut turn).await?;
        if let Some(slot) = slot {
            slot.answered();
        }
        lease.endpoint.shared.note_success();
        let answered = match reply {
            Reply::Response(parts, body) => Answered::Response(parts, body),
            Reply::Switching(parts, connection) => Answered::Switching(parts, connection),
        };
        self.record.answered_by_app(answered.status(), &turn);
        Ok(answered)
    }

    /// Sends the request and waits for the head of its answer, for as long as that may take.
    async fn exchange(
        &self,
        lease: &Lease,
        connection: Box<Connection>,
        body: &mut Option<RequestBody>,
        interim: &mut dyn FnMut(StatusCode, &HeaderMap),
        turn: &mut Turn,
    ) -> Result<Reply<RequestBody>, Fault> {
        let limit = lease.service.settings.timeouts.response_header;
        let progress = Progress::default();
        let _sent = Sent { lease, progress: &progress };
        let watch = Watch { progress: &progress, interim };
        let mut exchange = pin!(exchange(connection, self.parts, &self.outgoing, body, watch));
        let mut sleep = self.worker.timers.sleep(limit);
        let mut seen = (Stage::Receiving, 0);
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = exchange.as_mut().poll(cx) {
                return Poll::Ready(outcome.map_err(Fault::from));
            }
            if lease.is_hung_up() {
                lease.note_forced();
                return Poll::Ready(Err(Fault { failed: Failed::Ended, reason: None }));
            }
            // The clock of the answer runs while the upstream is the one to move: from the last byte
            // it took. While the client is, the body keeps time itself.
            let now = (progress.stage(), progress.written());
            turn.note(now.0);
            if now != seen || now.0 == Stage::Receiving {
                seen = now;
                sleep.reset(limit);
            }
            let timeout = Pin::new(&mut sleep).poll(cx);
            timeout.map(|()| Err(Fault { failed: Failed::Timeout, reason: None }))
        })
        .await
    }

    /// Books a failure, and prepares the next attempt if there may be one.
    fn judge(
        &mut self,
        fault: Fault,
        attempts: &mut Attempts,
        seeker: &Seeker,
    ) -> Result<(), Reason> {
        let failed = fault.failed;
        let Some(lease) = self.record.lease() else {
            return Err(failed.reason());
        };
        attempts.tried.push(Rc::clone(&lease.endpoint));
        if !matches!(failed, Failed::ConnectTimeout | Failed::Refused | Failed::Retired) {
            attempts.had = Some(Rc::clone(&lease.endpoint));
        }
        if failed.is_endpoints_fault() {
            lease.note_failure(self.worker.uptime());
        }
        let facts = Facts {
            is_idempotent: self.parts.method.is_idempotent(),
            is_bodiless: attempts.is_bodiless,
            endpoints: lease.pool.endpoints.len(),
            has_other: seeker.has_other(&attempts.tried),
        };
        let retry = match attempts.history.judge(failed, facts) {
            Verdict::Again(retry) => Some(retry),
            Verdict::AgainIfAffordable(retry) => lease.service.retries.spend().then_some(retry),
            Verdict::Final => None,
        };
        let endpoint = &lease.endpoint.shared.id;
        tracing::debug!(%endpoint, ?failed, ?retry, "an attempt failed");
        if let Some(retry) = retry {
            lease.service.slot.retries.count(retry);
        }
        self.record.failed(failed.error(retry.is_none()));
        if retry.is_none() {
            return Err(fault.reason.unwrap_or_else(|| failed.reason()));
        }
        attempts.last = failed.reason();
        if matches!(failed, Failed::Retired | Failed::Stale | Failed::Closed { reused: true, .. }) {
            // The same endpoint is fine; only its old connection was not.
            attempts.fresh_only = true;
            attempts.tried.pop();
        }
        Ok(())
    }
}

impl From<Failure<BodyError>> for Fault {
    fn from(failure: Failure<BodyError>) -> Self {
        let mut reason = None;
        let failed = match failure {
            Failure::Unsent(_) => Failed::Stale,
            Failure::Refused(_) => Failed::Refused,
            Failure::Closed { reused, consumed, .. } => Failed::Closed { reused, consumed },
            Failure::Io(_) => Failed::Broken,
            Failure::Malformed(rule) => {
                tracing::warn!(rule, "malformed answer");
                Failed::Malformed
            }
            Failure::Downstream(error) => {
                reason = Some(match error {
                    BodyError::TooLarge => Reason::BodyTooLarge,
                    BodyError::Idle | BodyError::TooSlow => Reason::BodyTimeout,
                    BodyError::Client(_) => Reason::ClientBody,
                });
                Failed::Ended
            }
        };
        Self { failed, reason }
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
