//! What is known of one client connection: who it is, and how far its present request has come.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, Request, StatusCode, Version};
use http_body::Body;

use crate::exchange::delivery::Delivery;
use crate::exchange::tunnel::Tunnel;
use crate::message::forwarded::{Peer, Scheme};
use crate::message::reason::Reason;
use crate::message::validate::Hidden;
use crate::pool::view::{Hold, Lease};
use crate::table::{Limits, Policy};
use crate::time::{TICK, span};
use crate::worker::{self, Worker};

/// One client connection, shared by its socket side, its request and its response.
pub(crate) struct Client {
    pub(crate) worker: Rc<Worker>,
    pub(crate) address: SocketAddr,
    pub(crate) peer: Peer,
    policy: RefCell<Arc<Policy>>,
    phase: Cell<Phase>,
    /// The tick at which the phase began, where that has a deadline.
    since: Cell<u64>,
    delivery: Delivery,
    /// The tick at which the client half-closed during a request.
    half_closed: Cell<Option<u64>>,
    requests: Cell<u64>,
    version: Cell<Version>,
    body: Cell<RequestEnd>,
    hidden: Cell<Hidden>,
    /// The bytes of the head that is being read.
    raw_head: RefCell<Vec<u8>>,
    interim: RefCell<Vec<u8>>,
    mid_write: Cell<bool>,
    /// What hyper would have answered itself.
    refused: Cell<Option<Reason>>,
    tunnel: RefCell<Option<Tunnel>>,
    /// What a drain deadline may end while the client takes nothing.
    hold: RefCell<Hold>,
}

/// How far the present request has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// No byte of a request yet.
    Idle,
    /// Some bytes of a head.
    Head,
    /// The head is complete, the answer has not begun.
    Serving,
    /// The answer's body is under way.
    Answering,
    /// The last byte of the answer is with us; the socket has not taken it yet.
    Flushing,
}

/// Whether the end of the present request has been read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RequestEnd {
    /// Nobody reads the body, and nobody will: what follows on the connection is no request.
    Abandoned,
    /// It has.
    Read,
    /// Somebody may still read it.
    Unread,
}

/// What a connection waits for when it can do nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wait {
    /// An event, or at most this long.
    AtMost(Duration),
    /// Nothing any more.
    Over(Cut),
}

/// Why we end a connection, or take it apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cut {
    /// The client has half-closed and takes nothing.
    Gone,
    /// A drain deadline has ended the answer, and the client takes nothing.
    Drained,
    /// The head did not arrive in time.
    HeaderTimeout,
    /// Idle for long enough to give its memory back.
    Hibernate,
    /// Idle for too long, or the worker is draining.
    Idle,
    /// The client does not read.
    WriteTimeout,
}

impl Client {
    /// A client that has sent nothing yet.
    pub(crate) fn new(worker: Rc<Worker>, address: SocketAddr) -> Rc<Self> {
        let since = worker.timers.now();
        let policy = Arc::clone(&worker.view().table.policy);
        Rc::new(Self {
            address,
            peer: Peer::new(address, Scheme::Http),
            policy: RefCell::new(policy),
            phase: Cell::new(Phase::Idle),
            since: Cell::new(since),
            delivery: Delivery::default(),
            half_closed: Cell::default(),
            requests: Cell::default(),
            version: Cell::new(Version::HTTP_11),
            body: Cell::new(RequestEnd::Read),
            hidden: Cell::default(),
            raw_head: RefCell::default(),
            interim: RefCell::default(),
            mid_write: Cell::default(),
            refused: Cell::default(),
            tunnel: RefCell::default(),
            hold: RefCell::default(),
            worker,
        })
    }

    /// What the bytes of the present request's head showed but the parsed head does not.
    pub(crate) fn hidden(&self) -> Hidden {
        self.hidden.get()
    }

    /// Sends an interim response (RFC 9110 §15.2) ahead of the final one. Returns whether it goes
    /// out: not to HTTP/1.0, not once the answer has begun, nor while the socket is full.
    pub(crate) fn interim(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        if self.version.get() < Version::HTTP_11
            || self.phase.get() != Phase::Serving
            || self.mid_write.get()
        {
            return false;
        }
        let mut interim = self.interim.borrow_mut();
        if interim.len() > MAX_INTERIM_BYTES {
            return false;
        }
        let mut put = |bytes: &[u8]| interim.extend_from_slice(bytes);
        put(b"HTTP/1.1 ");
        put(status.as_str().as_bytes());
        put(b" ");
        put(status.canonical_reason().unwrap_or_default().as_bytes());
        put(b"\r\n");
        for (name, value) in headers {
            put(name.as_str().as_bytes());
            put(b": ");
            put(value.as_bytes());
            put(b"\r\n");
        }
        put(b"\r\n");
        true
    }

    /// Leaves the tunnel that is to be run once the `101` that is about to be returned has been
    /// sent.
    pub(crate) fn switch(&self, tunnel: Tunnel) {
        self.tunnel.replace(Some(tunnel));
    }

    /// Whether this connection is to be closed after its present answer.
    pub(crate) fn is_last(&self) -> bool {
        self.body.get() == RequestEnd::Abandoned || self.worker.phase() >= worker::Phase::LameDuck
    }

    /// What the body of the present request has come to.
    pub(crate) fn note_body(&self, end: RequestEnd) {
        self.body.set(end);
    }

    pub(crate) fn body(&self) -> RequestEnd {
        self.body.get()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn version(&self) -> Version {
        self.version.get()
    }

    /// The limits of the table that was live when the connection was last set up.
    pub(crate) fn limits(&self) -> Limits {
        self.policy.borrow().limits
    }

    pub(crate) fn renew_policy(&self) {
        let policy = Arc::clone(&self.worker.view().table.policy);
        self.policy.replace(policy);
    }

    pub(crate) fn tunnel(&self) -> Option<Tunnel> {
        self.tunnel.take()
    }

    /// A head is complete.
    pub(crate) fn begin<B: Body>(&self, request: &Request<B>) {
        let has_body = !request.body().is_end_stream();
        self.enter(Phase::Serving);
        self.requests.set(self.requests.get() + 1);
        self.version.set(request.version());
        self.body.set(if has_body { RequestEnd::Abandoned } else { RequestEnd::Read });
        let mut raw = self.raw_head.borrow_mut();
        let has_coding = request.headers().contains_key(TRANSFER_ENCODING);
        let (hidden, end) = Hidden::find(&raw, request.method().as_str(), has_coding);
        self.hidden.set(hidden);
        // What follows a request without a body is the next head.
        if has_body || end >= raw.len() {
            let mut spare = std::mem::take(&mut *raw);
            spare.clear();
            if spare.capacity() <= MAX_SPARE_BYTES {
                SPARE.set(spare);
            }
        } else {
            raw.drain(..end);
        }
    }

    /// The answer's head is complete.
    pub(crate) fn answering(&self) {
        self.phase.set(Phase::Answering);
    }

    /// The answer's body has ended.
    pub(crate) fn answered(&self) {
        self.phase.set(Phase::Flushing);
    }

    /// The socket has taken all that hyper had.
    pub(crate) fn flushed(&self) {
        self.mid_write.set(false);
        if self.phase.get() == Phase::Flushing {
            self.delivery.end();
            self.enter(Phase::Idle);
        }
    }

    /// Bytes came while a head is read.
    pub(crate) fn read_head(&self, bytes: &[u8]) {
        if self.phase.get() == Phase::Idle {
            self.enter(Phase::Head);
        }
        let mut raw = self.raw_head.borrow_mut();
        if raw.capacity() == 0 {
            *raw = SPARE.take();
        }
        if raw.len() <= self.policy.borrow().limits.max_header_bytes {
            raw.extend_from_slice(bytes);
        }
    }

    /// There were bytes of a next head behind the last request.
    pub(crate) fn read_on(&self) {
        self.phase.set(Phase::Head);
    }

    /// The socket took some bytes, all that there were or not.
    pub(crate) fn wrote(&self, bytes: usize, all: bool) {
        self.mid_write.set(!all);
        self.delivery.take(self.worker.timers.now(), bytes, &self.policy.borrow().limits);
        if self.half_closed.get().is_some() {
            self.half_closed.set(Some(self.worker.timers.now()));
        }
    }

    /// The socket takes nothing.
    pub(crate) fn write_blocked(&self) {
        self.mid_write.set(true);
        self.delivery.block(self.worker.timers.now());
    }

    /// The client will send no more.
    pub(crate) fn half_closed(&self) {
        self.half_closed.set(Some(self.worker.timers.now()));
    }

    /// Whether to look out for the client's going away: it has nothing more to say in this request.
    pub(crate) fn awaits_hangup(&self) -> bool {
        matches!(self.phase.get(), Phase::Serving | Phase::Answering)
            && self.body.get() == RequestEnd::Read
            && self.half_closed.get().is_none()
    }

    /// Whether the answer waits while not all of the request has been read.
    pub(crate) fn awaits_reader(&self) -> bool {
        self.phase.get() == Phase::Serving && self.body.get() == RequestEnd::Unread
    }

    /// Whether a write would be hyper's own answer to a head that it cannot parse. It is not sent:
    /// the one that is names its reason.
    pub(crate) fn intercepts(&self, answer: &[u8]) -> bool {
        if !matches!(self.phase.get(), Phase::Idle | Phase::Head) {
            return false;
        }
        self.refused.set(Some(match answer.get(9..12) {
            Some(b"414") => Reason::TargetTooLong,
            Some(b"431") => Reason::HeaderTooLarge,
            _ => Reason::BadRequest,
        }));
        true
    }

    pub(crate) fn refused(&self) -> Option<Reason> {
        self.refused.get()
    }

    /// The pool that the present answer comes from.
    pub(crate) fn served_by(&self, lease: &Lease) {
        self.hold.replace(lease.hold());
    }

    pub(crate) fn waiting_interim(&self) -> &RefCell<Vec<u8>> {
        &self.interim
    }

    /// What the connection waits for now. Deadlines are kept in whole ticks, never early.
    pub(crate) fn wait(&self) -> Wait {
        let policy = self.policy.borrow();
        let limits = &policy.limits;
        if self.delivery.is_blocked() {
            // While the client takes nothing, hyper does not ask the body, which would know.
            if self.hold.borrow().is_hung_up() {
                return Wait::Over(Cut::Drained);
            }
            let left = self.delivery.left(self.worker.timers.now(), limits);
            return left.map_or(Wait::Over(Cut::WriteTimeout), Wait::AtMost);
        }
        if let Some(since) = self.half_closed.get() {
            return self.until(since, HALF_CLOSE_GRACE, Cut::Gone);
        }
        match self.phase.get() {
            Phase::Idle if self.worker.phase() >= worker::Phase::Draining => Wait::Over(Cut::Idle),
            Phase::Idle => match self.until(self.since.get(), TICK, Cut::Hibernate) {
                Wait::Over(_) if self.idle_left().is_none() => Wait::Over(Cut::Idle),
                wait => wait,
            },
            Phase::Head => self.until(self.since.get(), limits.header_timeout, Cut::HeaderTimeout),
            Phase::Serving if self.awaits_reader() => Wait::AtMost(TICK * 10),
            Phase::Serving | Phase::Answering | Phase::Flushing => Wait::AtMost(LONG),
        }
    }

    /// How long an idle connection may stay so; `None` when that is over, or the worker drains.
    pub(crate) fn idle_left(&self) -> Option<Duration> {
        if self.worker.phase() >= worker::Phase::Draining {
            return None;
        }
        match self.until(self.since.get(), self.policy.borrow().limits.idle_timeout, Cut::Idle) {
            Wait::AtMost(left) => Some(left),
            Wait::Over(_) => None,
        }
    }

    fn until(&self, since: u64, limit: Duration, cut: Cut) -> Wait {
        let ticks = self.worker.timers.now().saturating_sub(since);
        // The first tick was partly over when it was noted, hence "more than".
        match limit.checked_sub(span(ticks)) {
            Some(left) => Wait::AtMost(left),
            None => Wait::Over(cut),
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(self.worker.timers.now());
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.address)
            .field("phase", &self.phase.get())
            .finish_non_exhaustive()
    }
}

/// How long a client that has half-closed is served without taking a byte. A half-close and a
/// client that is gone look the same until something is written.
const HALF_CLOSE_GRACE: Duration = Duration::from_secs(5);
/// Until something wakes the connection.
const LONG: Duration = Duration::from_secs(3600);
const MAX_INTERIM_BYTES: usize = 64 << 10;
const MAX_SPARE_BYTES: usize = 64 << 10;

thread_local! {
    /// Where heads are kept: one buffer serves all connections whose heads come whole.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}
