//! What a worker's tasks work with.

use std::cell::{Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::date::Date;
use super::lifecycle::{Lifecycle, Phase};
use super::shared::{Shared, WorkerSlot};
use crate::message::forwarded::RequestIds;
use crate::pool::compile::Table;
use crate::pool::random::Random;
use crate::pool::view::View;
use crate::time::Timers;

/// One worker's state, behind an `Rc` that every task of the thread shares.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) timers: Rc<Timers>,
    pub(crate) random: Random,
    pub(crate) ids: RequestIds,
    pub(crate) slot: Arc<WorkerSlot>,
    pub(crate) life: Lifecycle,
    date: Date,
    view: RefCell<Rc<View>>,
}

impl Worker {
    /// A worker that has seen no table.
    pub(crate) fn new(id: usize, shared: Arc<Shared>) -> Rc<Self> {
        let table = shared.table.load_full();
        let seed = Instant::now().duration_since(shared.started).as_nanos() as u64;
        Rc::new(Self {
            id,
            timers: Rc::new(Timers::new(shared.started)),
            random: Random::new(seed ^ (id as u64) << 32 ^ u64::from(std::process::id())),
            ids: RequestIds::new(),
            slot: shared.slots.get(id).cloned().unwrap_or_default(),
            life: Lifecycle::default(),
            date: Date::default(),
            view: RefCell::new(Rc::new(View::new(table, None, id))),
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
        self.life.notify();
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
        self.life.phase()
    }
}
