//! One worker: a thread with a current-thread runtime that owns everything its requests touch.

pub(crate) mod admission;
mod date;
pub(crate) mod panics;

use std::cell::{Cell, Ref, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc};

use self::admission::Limiter;
use self::date::Date;
use crate::message::forwarded::RequestIds;
use crate::message::reason::Reason;
use crate::metrics::access_log;
use crate::metrics::counters::{Counter, Counts, Registry};
use crate::pool::balance::Dice;
use crate::pool::compile::Table;
use crate::pool::view::View;
use crate::table::Snapshot;
use crate::time::{TICK, Timers};

/// What all workers share. A request touches none of it but the table pointer.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) table: ArcSwap<Table>,
    pub(crate) registry: Registry,
    pub(crate) access_log: access_log::Sender,
    pub(crate) started: Instant,
    pub(crate) trim: Option<fn()>,
    pub(crate) slots: Vec<Arc<WorkerSlot>>,
    pub(crate) limiter: Arc<Limiter>,
    /// The listeners, in the order of their gauges.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Shared {
    /// Open client connections by listener.
    pub(crate) fn connections(&self) -> BTreeMap<String, u64> {
        let open = |index| self.slots.iter().filter_map(move |slot| slot.connections.get(index));
        let addresses = self.addresses.iter().enumerate();
        addresses
            .map(|(index, address)| (address.to_string(), open(index).map(Counter::value).sum()))
            .collect()
    }
}

/// One worker's figures that belong to no service.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WorkerSlot {
    pub(crate) panics: Counter,
    pub(crate) access_log_dropped: Counter,
    /// Requests that no service has in its figures ([`Reason::is_unrouted`]).
    pub(crate) rejections: Counts<Reason>,
    /// Open client connections, by listener.
    pub(crate) connections: Box<[Counter]>,
}

impl WorkerSlot {
    /// Zeros, with a gauge for each listener.
    pub(crate) fn new(listeners: usize) -> Self {
        let connections = (0..listeners).map(|_| Counter::default()).collect();
        Self { connections, ..Self::default() }
    }

    /// Adds these figures to those of the other workers.
    pub(crate) fn add_to(&self, snapshot: &mut Snapshot) {
        snapshot.panics += self.panics.value();
        snapshot.access_log_dropped += self.access_log_dropped.value();
        self.rejections.add_some_to(&mut snapshot.rejected, Reason::is_unrouted);
    }
}

/// What the main thread tells a worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Nudge {
    /// Retired pools have been hung up.
    Hangup,
    /// Finish what is in flight.
    Shutdown,
    /// There is a new table.
    Table,
}

/// How far a worker's life has come.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Phase {
    /// No table yet: nobody is let in.
    Starting,
    /// Serving.
    Serving,
    /// Connections close after their present request; new ones are still taken.
    LameDuck,
    /// No new connections; what is open finishes.
    Draining,
    /// What has not finished is broken off.
    Over,
}

/// One worker's state, behind an `Rc` that every task of the thread shares.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) timers: Rc<Timers>,
    pub(crate) dice: Dice,
    pub(crate) ids: RequestIds,
    pub(crate) slot: Arc<WorkerSlot>,
    /// Woken when the view or the phase has changed.
    pub(crate) changed: Notify,
    /// Open client connections; each connection's guard counts itself.
    pub(crate) connections: Cell<usize>,
    /// Set when a connection has given up its memory, for the next trim.
    pub(crate) has_freed: Cell<bool>,
    date: Date,
    view: RefCell<Rc<View>>,
    phase: Cell<Phase>,
}

impl Worker {
    /// A worker that has seen no table.
    pub(crate) fn new(id: usize, shared: Arc<Shared>) -> Rc<Self> {
        let table = shared.table.load_full();
        let seed = Instant::now().duration_since(shared.started).as_nanos() as u64;
        Rc::new(Self {
            id,
            timers: Rc::new(Timers::new(shared.started)),
            dice: Dice::new(seed ^ (id as u64) << 32 ^ u64::from(std::process::id())),
            ids: RequestIds::new(),
            slot: shared.slots.get(id).cloned().unwrap_or_default(),
            changed: Notify::new(),
            connections: Cell::new(0),
            has_freed: Cell::new(false),
            date: Date::default(),
            view: RefCell::new(Rc::new(View::new(table, None, id))),
            phase: Cell::new(Phase::Starting),
            shared,
        })
    }

    /// Looks at the view of the live table: the one load of the table that a request makes.
    ///
    /// A closure cannot hold on to a view across an await; see [`View`].
    pub(crate) fn with_view<T>(&self, look: impl FnOnce(&View) -> T) -> T {
        look(&self.view())
    }

    /// Makes this worker's view that of the live table; the old view lets go of its pools.
    pub(crate) fn renew_view(&self) {
        self.view();
    }

    fn view(&self) -> Rc<View> {
        let live = self.shared.table.load();
        let view = self.view.borrow();
        if Arc::ptr_eq(&live, &view.table) {
            return Rc::clone(&view);
        }
        drop(view);
        self.replace_view(Arc::clone(&live))
    }

    #[cold]
    fn replace_view(&self, table: Arc<Table>) -> Rc<View> {
        let view = {
            let old = self.view.borrow();
            Rc::new(View::new(table, Some(&old), self.id))
        };
        let old = self.view.replace(Rc::clone(&view));
        drop(old);
        self.changed.notify_waiters();
        view
    }

    /// Time since the proxy started: the clock of ejections.
    pub(crate) fn uptime(&self) -> Duration {
        self.timers.uptime()
    }

    /// The time of day as it stands in a `Date` field.
    pub(crate) fn date(&self) -> Ref<'_, [u8]> {
        self.date.now(self.timers.now())
    }

    /// How far this worker's life has come.
    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Waits until the worker has come at least as far as `phase`.
    ///
    /// Cancel safe.
    pub(crate) async fn reached(&self, phase: Phase) {
        while self.phase.get() < phase {
            self.changed.notified().await;
        }
    }

    /// Carries out nudges until shutdown; `grace` is the longest it then waits for connections.
    pub(crate) async fn run(
        self: &Rc<Self>,
        mut nudges: mpsc::UnboundedReceiver<Nudge>,
        grace: Duration,
    ) {
        let ticker = tokio::task::spawn_local(tick(Rc::clone(self)));
        loop {
            match nudges.recv().await {
                Some(Nudge::Table) => {
                    self.renew_view();
                    self.advance(Phase::Serving);
                }
                Some(Nudge::Hangup) => self.timers.wake_all(),
                Some(Nudge::Shutdown) | None => break,
            }
        }
        self.finish(grace).await;
        ticker.abort();
    }

    /// A short lame duck, so that who is just connecting still gets an answer; then the rest.
    async fn finish(&self, grace: Duration) {
        let deadline = Instant::now() + grace;
        self.advance(Phase::LameDuck);
        self.timers.wake_all();
        tokio::time::sleep(LAME_DUCK.min(grace / 4)).await;
        self.advance(Phase::Draining);
        self.timers.wake_all();
        self.wait_for_connections(deadline).await;
        // Those that are left end in a reset: a plain close would make what was sent look whole.
        self.advance(Phase::Over);
        self.timers.wake_all();
        self.wait_for_connections(Instant::now() + TICK * 5).await;
    }

    async fn wait_for_connections(&self, deadline: Instant) {
        while self.connections.get() > 0 && Instant::now() < deadline {
            tokio::time::sleep(TICK / 4).await;
        }
    }

    fn advance(&self, phase: Phase) {
        if self.phase.get() < phase {
            self.phase.set(phase);
            self.changed.notify_waiters();
        }
    }
}

/// How long a worker that shuts down still takes new connections.
const LAME_DUCK: Duration = Duration::from_millis(500);

async fn tick(worker: Rc<Worker>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        interval.tick().await;
        // Without ticks no deadline of this worker would ever come.
        if panic::catch_unwind(AssertUnwindSafe(|| tick_once(&worker))).is_err() {
            worker.slot.panics.add(1);
            tracing::error!("a panic has ended the work of one tick");
        }
    }
}

fn tick_once(worker: &Worker) {
    worker.timers.tick();
    if worker.timers.now().is_multiple_of(SWEEP_TICKS) {
        worker.with_view(|view| view.sweep(worker.timers.now()));
        if worker.has_freed.take()
            && let Some(trim) = worker.shared.trim
        {
            trim();
        }
    }
}

/// What is done once a second: idle upstream connections, freed memory.
const SWEEP_TICKS: u64 = 10;
