//! Coarse deadlines: one tick per worker, and a slab of wakers, instead of one timer entry each.
//!
//! A proxy has many deadlines and nearly none of them comes true. Here a deadline costs a slab slot,
//! and only once its owner has to wait at all; it fires up to one [`TICK`] late.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The resolution of every deadline of a worker.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// How long so many ticks are.
pub(crate) fn span(ticks: u64) -> Duration {
    TICK * u32::try_from(ticks).unwrap_or(u32::MAX >> 4)
}

/// So many ticks at least, in arithmetic of 64 bits: requests come by here.
pub(crate) fn ticks(duration: Duration) -> u64 {
    let rest = duration.subsec_nanos().div_ceil(TICK.subsec_nanos());
    duration.as_secs().saturating_mul(TICKS_PER_SECOND).saturating_add(u64::from(rest))
}

const TICKS_PER_SECOND: u64 = 10;

/// The clock and the deadlines of one worker.
#[derive(Debug)]
pub(crate) struct Timers {
    started: Instant,
    now: Cell<u64>,
    /// Time since the start, as of the last tick.
    uptime: Cell<Duration>,
    slab: RefCell<Slab>,
}

impl Default for Timers {
    fn default() -> Self {
        Self::new(Instant::now())
    }
}

impl Timers {
    /// A clock that counts from `started`.
    pub(crate) fn new(started: Instant) -> Self {
        Self {
            started,
            now: Cell::new(0),
            uptime: Cell::new(started.elapsed()),
            slab: RefCell::default(),
        }
    }

    /// A sleep of at least `duration`; it starts now, and takes a slot when it is first polled.
    pub(crate) fn sleep(self: &Rc<Self>, duration: Duration) -> Sleep {
        Sleep { timers: Rc::clone(self), deadline: self.deadline(duration), slot: None }
    }

    /// Runs `future` for at most `duration`: `None` when the time is up first.
    pub(crate) async fn timeout<F: Future>(
        self: &Rc<Self>,
        duration: Duration,
        future: F,
    ) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut sleep = self.sleep(duration);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            Pin::new(&mut sleep).poll(cx).map(|()| None)
        })
        .await
    }

    /// Moves time on by one tick and wakes what is due.
    pub(crate) fn tick(&self) {
        let now = self.now.get() + 1;
        self.now.set(now);
        self.uptime.set(self.started.elapsed());
        self.wake(|slot| slot.deadline <= now);
    }

    /// Wakes every sleeper, due or not: something it also waits for has changed.
    pub(crate) fn wake_all(&self) {
        self.wake(|_| true);
    }

    /// Ticks since the worker started.
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    /// Time since the start, up to one [`TICK`] old: no request asks the system for it.
    pub(crate) fn uptime(&self) -> Duration {
        self.uptime.get()
    }

    /// The first tick by which `duration` has surely passed.
    fn deadline(&self, duration: Duration) -> u64 {
        // One more: the present tick is partly over.
        self.now.get().saturating_add(ticks(duration)).saturating_add(1)
    }

    fn wake(&self, due: impl Fn(&Slot) -> bool) {
        // Wakers run after the borrow has ended: a waker may drop a task and with it a sleep.
        let wakers: Vec<Waker> = {
            let slab = self.slab.borrow();
            slab.slots
                .iter()
                .filter(|slot| due(slot))
                .filter_map(|slot| slot.waker.clone())
                .collect()
        };
        for waker in wakers {
            waker.wake();
        }
    }
}

/// Ready once its time has come. Dropping it gives the slot back.
#[derive(Debug)]
pub(crate) struct Sleep {
    timers: Rc<Timers>,
    deadline: u64,
    slot: Option<usize>,
}

impl Sleep {
    /// Starts over with a new duration, keeping the slot.
    pub(crate) fn reset(&mut self, duration: Duration) {
        self.deadline = self.timers.deadline(duration);
        if let Some(index) = self.slot
            && let Some(slot) = self.timers.slab.borrow_mut().slots.get_mut(index)
        {
            slot.deadline = self.deadline;
        }
    }

    /// Whether the time has come.
    pub(crate) fn is_over(&self) -> bool {
        self.timers.now.get() >= self.deadline
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_over() {
            return Poll::Ready(());
        }
        let timers = Rc::clone(&self.timers);
        let mut slab = timers.slab.borrow_mut();
        match self.slot.and_then(|index| slab.slots.get_mut(index)) {
            Some(slot) => match &mut slot.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => slot.waker = Some(cx.waker().clone()),
            },
            None => self.slot = Some(slab.insert(self.deadline, cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(index) = self.slot {
            self.timers.slab.borrow_mut().remove(index);
        }
    }
}

#[derive(Debug, Default)]
struct Slab {
    slots: Vec<Slot>,
    free: Vec<usize>,
}

impl Slab {
    fn insert(&mut self, deadline: u64, waker: Waker) -> usize {
        let slot = Slot { deadline, waker: Some(waker) };
        if let Some(index) = self.free.pop()
            && let Some(free) = self.slots.get_mut(index)
        {
            *free = slot;
            return index;
        }
        self.slots.push(slot);
        self.slots.len() - 1
    }

    fn remove(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.waker = None;
            self.free.push(index);
        }
    }
}

#[derive(Debug)]
struct Slot {
    deadline: u64,
    waker: Option<Waker>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ready(sleep: &mut Sleep) -> bool {
        Pin::new(sleep).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_sleep_never_ends_early() {
        let timers = Rc::new(Timers::default());
        let mut sleep = timers.sleep(TICK * 2);
        for _ in 0..2 {
            timers.tick();
            assert!(!is_ready(&mut sleep));
        }
        timers.tick();
        assert!(is_ready(&mut sleep));
    }

    #[test]
    fn a_dropped_sleep_gives_its_slot_to_the_next() {
        let timers = Rc::new(Timers::default());
        for _ in 0..100 {
            let mut sleep = timers.sleep(TICK);
            assert!(!is_ready(&mut sleep));
        }
        assert_eq!(timers.slab.borrow().slots.len(), 1);
    }

    #[test]
    fn a_reset_moves_the_deadline_of_a_registered_sleep() {
        let timers = Rc::new(Timers::default());
        let mut sleep = timers.sleep(TICK);
        assert!(!is_ready(&mut sleep));
        timers.tick();
        sleep.reset(TICK);
        timers.tick();
        assert!(!is_ready(&mut sleep));
        timers.tick();
        assert!(is_ready(&mut sleep));
    }
}
