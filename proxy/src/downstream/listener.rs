//! Accepting connections.

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener as StdListener};
use std::rc::Rc;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

use crate::downstream::client::Client;
use crate::downstream::h1;
use crate::message::reason::Reason;
use crate::time::TICK;
use crate::upstream::keepalive;
use crate::worker::admission::Permit;
use crate::worker::panics::caught;
use crate::worker::{Phase, Worker};

/// What every connection of a listening socket inherits; before the first of them is to be served.
pub(crate) fn prepare(socket: &StdListener) {
    let socket = SockRef::from(socket);
    if let Err(error) = socket.set_tcp_notsent_lowat(MAX_UNSENT_BYTES) {
        tracing::warn!(%error, "slow readers will hold more of the kernel's memory");
    }
    // A client that half-closed is served; whether it is still there only the kernel can ask.
    if let Err(error) = socket.set_tcp_keepalive(&keepalive()) {
        tracing::warn!(%error, "clients that are gone without a word stay for longer");
    }
}

/// Accepts the connections of one listening socket, from the first table until the worker drains.
///
/// `index` is the listener's place in the metrics. A connection for which there is no room is told so
/// and closed.
pub(crate) async fn serve(worker: Rc<Worker>, index: usize, socket: StdListener) {
    let listener = match socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket)) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a listening socket cannot be used");
            return;
        }
    };
    worker.life.reached(Phase::Serving).await;
    let mut accepting = Accepting {
        worker: Rc::clone(&worker),
        index,
        listener,
        leaving: VecDeque::with_capacity(MAX_LEAVING),
        quiet_until: 0,
    };
    while caught(accepting.run()).await.is_none() {
        worker.slot.panics.add(1);
        accepting.log("a panic has ended an accept loop, which begins anew", None);
        worker.timers.sleep(TICK).await;
    }
}

struct Accepting {
    worker: Rc<Worker>,
    index: usize,
    listener: TcpListener,
    /// Connections that have been turned away, with the ticks at which they are closed: a client that
    /// is still sending would take an earlier close for an error, and not read its answer.
    leaving: VecDeque<(u64, TcpStream)>,
    /// The tick before which nothing is logged again.
    quiet_until: u64,
}

impl Accepting {
    /// Accepts until the worker drains.
    async fn run(&mut self) {
        let worker = Rc::clone(&self.worker);
        loop {
            let (socket, address, permit) = tokio::select! {
                biased;
                () = worker.life.reached(Phase::Draining) => return,
                accepted = self.next() => accepted,
            };
            let open = Open::new(&worker, self.index, permit);
            let client = Client::new(Rc::clone(&worker), address);
            tokio::task::spawn_local(async move {
                h1::serve(client, socket).await;
                drop(open);
            });
        }
    }

    /// The next connection that may stay.
    ///
    /// # Cancel safety
    /// Dropping the future may close one connection that has not been read from.
    async fn next(&mut self) -> (TcpStream, SocketAddr, Permit) {
        loop {
            let (socket, address) = match self.accept().await {
                Ok(accepted) => accepted,
                // The client was gone before we came; there may be more behind it.
                Err(error) if is_of_one_connection(&error) => continue,
                // No descriptors or memory: the queue would be readable at once again.
                Err(error) => {
                    self.log("accepting failed", Some(&error));
                    self.worker.timers.sleep(TICK).await;
                    continue;
                }
            };
            let Some(mut permit) = self.worker.shared.limiter.admit() else {
                self.log("the connection limit is reached", None);
                self.turn_away(socket);
                continue;
            };
            let ip = address.ip().to_canonical();
            let is_trusted = self.worker.with_view(|view| {
                view.table.policy.trusted_proxies.iter().any(|net| net.contains(&ip))
            });
            if is_trusted || permit.charge(ip) {
                return (socket, address, permit);
            }
            self.turn_away(socket);
        }
    }

    /// What the kernel has for us. While some are leaving it also looks after them.
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            let now = self.worker.timers.now();
            while self.leaving.front().is_some_and(|(until, _)| *until <= now) {
                self.close_oldest();
            }
            if self.leaving.is_empty() {
                return self.listener.accept().await;
            }
            let timers = &self.worker.timers;
            if let Some(accepted) = timers.timeout(TICK, self.listener.accept()).await {
                return accepted;
            }
        }
    }

    /// Answers at once what there is no room for. It costs a place among those that leave, which the
    /// oldest of them makes free: a flood costs no task, no memory and no descriptor more.
    fn turn_away(&mut self, socket: TcpStream) {
        self.worker.slot.rejections.count(Reason::ConnectionLimit);
        h1::discard(&socket);
        h1::turn_away(&self.worker, &socket, Reason::ConnectionLimit);
        if SockRef::from(&socket).shutdown(Shutdown::Write).is_err() {
            return;
        }
        if self.leaving.len() >= MAX_LEAVING {
            self.close_oldest();
        }
        self.leaving.push_back((self.worker.timers.now() + LEAVING_TICKS, socket));
    }

    fn close_oldest(&mut self) {
        if let Some((_, socket)) = self.leaving.pop_front() {
            h1::discard(&socket);
        }
    }

    /// At most one line per second, however long the trouble lasts.
    fn log(&mut self, what: &str, error: Option<&io::Error>) {
        let now = self.worker.timers.now();
        if now >= self.quiet_until {
            self.quiet_until = now + QUIET_TICKS;
            tracing::warn!(error = error.map(tracing::field::display), "{what}");
        }
    }
}

/// Counts an open connection for as long as it lives.
struct Open {
    worker: Rc<Worker>,
    index: usize,
    _permit: Permit,
}

impl Open {
    fn new(worker: &Rc<Worker>, index: usize, permit: Permit) -> Self {
        worker.life.opened();
        if let Some(gauge) = worker.slot.connections.get(index) {
            gauge.add(1);
        }
        Self { worker: Rc::clone(worker), index, _permit: permit }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // Of a tunnel, say: what happens while HTTP is spoken is caught and counted in `conn`.
        if std::thread::panicking() {
            self.worker.slot.panics.add(1);
            tracing::error!("a panic has ended a connection");
        }
        self.worker.life.closed();
        if let Some(gauge) = self.worker.slot.connections.get(self.index) {
            gauge.sub(1);
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::PermissionDenied
    )
}

/// What the kernel takes of an answer beyond what is under way to the client. Without a bound that is
/// megabytes for each slow reader, and a thousand of them take all memory that TCP has. It also
/// sets how soon a slow reader is seen to have read something: after half of it.
const MAX_UNSENT_BYTES: u32 = 64 << 10;

/// One second.
const QUIET_TICKS: u64 = 10;

/// How many connections of a listener and worker may be leaving, and for how long: one second.
const MAX_LEAVING: usize = 16;
const LEAVING_TICKS: u64 = 10;
