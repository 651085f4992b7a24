//! The proxy as its owner sees it: start it, give it tables, ask it for numbers, stop it.

use std::future::pending;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use crate::downstream::listener;
use crate::metrics::access_log::{self, Target};
use crate::metrics::counters::Registry;
use crate::metrics::process;
use crate::pool::Pool;
use crate::pool::compile::{Table, TableError};
use crate::table::{Color, Generation, Hangup, ServiceName, Snapshot, TableSpec};
use crate::worker::Worker;
use crate::worker::admission::Limiter;
use crate::worker::run::{self, Command};
use crate::worker::shared::{Shared, WorkerSlot};

/// What a proxy starts with. Everything else comes with its tables.
#[derive(Debug)]
pub struct Settings {
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// How long requests may finish after [`Proxy::shutdown`].
    pub shutdown_timeout: Duration,
    /// Gives memory that a worker has freed back to the system. Called on the worker's thread, at
    /// most once a second, after connections have come to rest or closed: an allocator keeps the
    /// memory of a burst of clients otherwise.
    pub trim: Option<fn()>,
}

/// One address, with a listening socket for each worker (`SO_REUSEPORT`).
#[derive(Debug)]
pub struct Listener {
    /// The address, as it is named in metrics.
    pub address: SocketAddr,
    /// One socket per worker; every listener has equally many.
    pub sockets: Vec<TcpListener>,
}

/// A running proxy: one thread per worker. Dropping it stops the workers as [`Proxy::shutdown`]
/// does, without waiting for them.
#[derive(Debug)]
pub struct Proxy {
    handle: Handle,
    threads: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Starts the workers. They let nobody in before the first table.
    ///
    /// # Errors
    /// When there is no socket, the listeners have different numbers of them, or a thread or
    /// runtime cannot be started.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let workers = settings.listeners.first().map_or(0, |listener| listener.sockets.len());
        if workers == 0 || settings.listeners.iter().any(|other| other.sockets.len() != workers) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "every listener needs one socket per worker",
            ));
        }
        let listeners = settings.listeners.len();
        let addresses = settings.listeners.iter().map(|listener| listener.address).collect();
        let shared = Arc::new(Shared {
            table: ArcSwap::default(),
            registry: Registry::new(workers),
            access_log: access_log::Sender::start()?,
            started: Instant::now(),
            trim: settings.trim,
            slots: (0..workers).map(|_| Arc::new(WorkerSlot::new(listeners))).collect(),
            limiter: Limiter::start(),
            addresses,
        });
        let mut shares: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
        for listener in settings.listeners {
            for (share, socket) in shares.iter_mut().zip(listener.sockets) {
                listener::prepare(&socket);
                share.push(socket);
            }
        }
        let mut commands = Vec::new();
        let mut threads = Vec::new();
        for (id, sockets) in shares.into_iter().enumerate() {
            let (sender, inbox) = mpsc::unbounded_channel();
            let shared = Arc::clone(&shared);
            let grace = settings.shutdown_timeout;
            let run = move || work(id, shared, sockets, inbox, grace);
            threads.push(thread::Builder::new().name(format!("worker-{id}")).spawn(run)?);
            commands.push(sender);
        }
        let plane = Plane { shared, commands, pools: Mutex::default() };
        Ok(Self { handle: Handle(Arc::new(plane)), threads })
    }

    /// What the controller's messages act on.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Stops: kept-alive connections are told to close, requests in flight finish within the
    /// shutdown timeout. Blocks until every worker has ended.
    pub fn shutdown(mut self) {
        self.handle.0.tell(Command::Shutdown);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker has panicked");
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.handle.0.tell(Command::Shutdown);
    }
}

/// Changes and questions a running proxy. Cheap to clone; works from any thread.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Plane>);

/// A table went live.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Applied {
    /// Its generation.
    pub generation: Generation,
    /// What the swap itself took.
    pub swap: Duration,
}

#[derive(Debug)]
struct Plane {
    shared: Arc<Shared>,
    commands: Vec<mpsc::UnboundedSender<Command>>,
    /// Every pool that was ever live and may still have leases.
    pools: Mutex<Vec<Weak<Pool>>>,
}

impl Plane {
    fn tell(&self, command: Command) {
        for worker in &self.commands {
            // A worker that has ended needs no command.
            worker.send(command).ok();
        }
    }
}

impl Handle {
    /// The generation of the live table; 0 before the first.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.0.shared.table.load().generation
    }

    /// Makes a table the live one. When this returns, no request that starts anywhere can see the
    /// old one: every request loads the table pointer once, when it starts.
    ///
    /// # Errors
    /// A [`TableError`]; the live table stays.
    pub fn apply(&self, spec: TableSpec) -> Result<Applied, TableError> {
        let shared = &self.0.shared;
        // Also what makes two callers take turns.
        let mut pools = self.0.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let table = Table::compile(spec, &shared.table.load(), &shared.registry)?.publish();
        let generation = table.generation;
        shared.limiter.apply(&table.policy.limits);
        pools.retain(|pool| pool.strong_count() > 0);
        for pool in table.pools().filter(|pool| pool.generation == generation) {
            pools.push(Arc::downgrade(pool));
        }
        let table = Arc::new(table);
        let before = Instant::now();
        shared.table.store(table);
        let swap = before.elapsed();
        // Workers that are idle let go of the old table too; a drain never waits for traffic.
        self.0.tell(Command::Table);
        Ok(Applied { generation, swap })
    }

    /// Ends work of a color's retired pools by force: what came before generation `before`.
    pub fn hang_up(&self, service: &ServiceName, color: Color, before: Generation, what: Hangup) {
        for pool in self.pools() {
            if pool.service == *service && pool.color == color && pool.generation < before {
                pool.hang_up(what);
            }
        }
        self.0.tell(Command::Hangup);
    }

    /// Where access log lines go from now on.
    pub fn log_to(&self, target: Target) {
        self.0.shared.access_log.redirect(target);
    }

    /// The sum of what the workers have counted.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let shared = &self.0.shared;
        let now = shared.started.elapsed();
        let generation = self.generation();
        let mut snapshot = Snapshot {
            generation,
            services: shared.registry.stats(),
            process: process::stats(),
            ..Snapshot::default()
        };
        let pools = self.pools();
        // Loaded after the pools were: one that is not in it is retired, and not too new for it.
        let table = shared.table.load();
        for pool in pools {
            let live = table.pool(&pool.service, pool.color);
            let is_live = live.is_some_and(|live| Arc::ptr_eq(live, &pool));
            let stats = pool.stats(!is_live, now);
            // The registry gives them out by name.
            let place =
                snapshot.services.binary_search_by(|s| s.name.as_str().cmp(stats.service.as_str()));
            let service = place.ok().and_then(|place| snapshot.services.get_mut(place));
            if let Some(color) = service.and_then(|s| s.colors.get_mut(stats.color.index())) {
                color.requests_in_flight += stats.requests;
                color.streams_in_flight += stats.streams;
            }
            snapshot.pools.push(stats);
        }
        for slot in &shared.slots {
            slot.add_to(&mut snapshot);
        }
        snapshot.connections = shared.connections();
        snapshot
    }

    fn pools(&self) -> Vec<Arc<Pool>> {
        let pools = self.0.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.iter().filter_map(Weak::upgrade).collect()
    }
}

/// One worker's thread, from start to end.
fn work(
    id: usize,
    shared: Arc<Shared>,
    sockets: Vec<TcpListener>,
    commands: mpsc::UnboundedReceiver<Command>,
    grace: Duration,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(worker = id, %error, "no runtime");
            return;
        }
    };
    or_abort(id, || {
        runtime.block_on(async {
            let worker = Worker::new(id, shared);
            let mut listeners = JoinSet::new();
            for (index, socket) in sockets.into_iter().enumerate() {
                listeners.spawn_local(listener::serve(Rc::clone(&worker), index, socket));
            }
            let accepting = async {
                while let Some(ended) = listeners.join_next().await {
                    if let Some(Ok(payload)) = ended.err().map(JoinError::try_into_panic) {
                        // Here it ends the worker.
                        panic::resume_unwind(payload);
                    }
                }
                pending().await
            };
            tokio::select! {
                () = run::run(&worker, commands, grace) => {}
                () = accepting => {}
            }
        });
    });
}

/// Without this worker its share of the connections would wait for ever, since the kernel goes on
/// filling its queues. The supervisor has the sockets too: another process takes them over.
fn or_abort(id: usize, work: impl FnOnce()) {
    if panic::catch_unwind(AssertUnwindSafe(work)).is_err() {
        tracing::error!(worker = id, "a worker has panicked, and the process ends");
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::or_abort;

    #[test]
    fn a_panic_of_a_worker_ends_the_process_so_that_another_takes_its_sockets() {
        const PLAYED: &str = "CUTOVER_TEST_WORKER_PANICS";
        if std::env::var_os(PLAYED).is_some() {
            or_abort(0, || panic!("injected"));
        }
        let mut again = Command::new(std::env::current_exe().unwrap());
        let name = "a_panic_of_a_worker_ends_the_process_so_that_another_takes_its_sockets";
        again.args(["--exact", &format!("proxy::tests::{name}")]).env(PLAYED, "1");
        let ended = again.output().unwrap().status;
        assert_eq!(ended.signal(), Some(6), "SIGABRT");
    }
}
