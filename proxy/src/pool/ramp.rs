//! How many new connections to an endpoint may wait for their first answer at once.
//!
//! After a flip every request in flight wants a connection to an app that nobody is connected to.
//! All at once they overflow its listen queue, and what the kernel drops there comes again after
//! seconds. So an app is connected to as it answers: two more for each answer.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;

use tokio::sync::Notify;

/// One worker's new connections to one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Ramp {
    open: Cell<usize>,
    /// Those that have answered since the last that failed.
    answered: Cell<usize>,
    waiting: Cell<usize>,
    /// The last tick with late ones, and how many it had.
    late: Cell<(u64, usize)>,
    changed: Notify,
}

impl Ramp {
    /// A new connection, if there may be one more.
    pub(crate) fn begin(self: &Rc<Self>) -> Option<RampSlot> {
        (self.open.get() < FIRST + self.answered.get()).then(|| self.open())
    }

    /// A new connection for who has waited for long: the app may well answer nothing for minutes.
    /// Those who have waited together go in turns.
    pub(crate) fn begin_late(self: &Rc<Self>, now: u64) -> Option<RampSlot> {
        let (tick, begun) = self.late.get();
        let begun = if tick == now { begun } else { 0 };
        (begun < LATE).then(|| {
            self.late.set((now, begun + 1));
            self.open()
        })
    }

    fn open(self: &Rc<Self>) -> RampSlot {
        self.open.set(self.open.get() + 1);
        RampSlot(Rc::clone(self))
    }

    /// Waits until there is a connection to spare, or may be one more; or until `patience` ends.
    /// Returns whether it is worth another look.
    ///
    /// # Cancel safety
    /// Cancel safe; the turn goes to the next.
    pub(crate) async fn wait(&self, patience: impl Future<Output = ()>) -> bool {
        let _waiting = Count::new(&self.waiting);
        tokio::select! {
            biased;
            () = self.changed.notified() => true,
            () = patience => false,
        }
    }

    /// A connection can be used by somebody else, or opened.
    pub(crate) fn wake(&self) {
        if self.waiting.get() > 0 {
            self.changed.notify_one();
        }
    }
}

/// The slot of a connection that has answered nothing yet. Dropping it frees the slot for another and
/// says nothing of the endpoint.
#[derive(Debug)]
pub(crate) struct RampSlot(Rc<Ramp>);

impl RampSlot {
    /// It was accepted, and has answered.
    pub(crate) fn answered(self) {
        self.0.answered.set(self.0.answered.get() + 1);
        // One for the place of its own that becomes free, one for the new.
        self.0.wake();
    }

    /// It was not accepted: from the beginning.
    pub(crate) fn failed(self) {
        self.0.answered.set(0);
    }
}

impl Drop for RampSlot {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.wake();
    }
}

struct Count<'a>(&'a Cell<usize>);

impl<'a> Count<'a> {
    fn new(cell: &'a Cell<usize>) -> Self {
        cell.set(cell.get() + 1);
        Self(cell)
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Per worker. The smallest listen queues in use hold five.
const FIRST: usize = 2;

/// Per worker and tick.
const LATE: usize = 64;

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[test]
    fn each_answer_makes_room_for_two_and_a_failure_starts_over() {
        let ramp = Rc::new(Ramp::default());
        let mut open: Vec<RampSlot> = std::iter::from_fn(|| ramp.begin()).collect();
        for expected in [2, 4, 8, 16] {
            assert_eq!(open.len(), expected);
            open.drain(..).for_each(RampSlot::answered);
            open = std::iter::from_fn(|| ramp.begin()).collect();
        }
        open.pop().unwrap().failed();
        drop(open);
        assert_eq!(std::iter::from_fn(|| ramp.begin()).collect::<Vec<_>>().len(), 2);
    }

    #[test]
    fn who_has_waited_for_long_goes_in_turns() {
        let ramp = Rc::new(Ramp::default());
        for tick in 1..5 {
            let late = std::iter::from_fn(|| ramp.begin_late(tick)).map(std::mem::forget);
            assert_eq!(late.count(), LATE);
        }
        assert_eq!(ramp.open.get(), 4 * LATE);
    }

    #[tokio::test]
    async fn who_waits_goes_on_with_an_answer_a_spare_connection_or_when_the_time_is_up() {
        let ramp = Rc::new(Ramp::default());
        assert!(!ramp.wait(ready(())).await);
        let slot = ramp.begin().unwrap();
        let answer = async { slot.answered() };
        let (again, ()) = tokio::join!(ramp.wait(pending()), answer);
        assert!(again);
        let spare = async { ramp.wake() };
        let (again, ()) = tokio::join!(ramp.wait(pending()), spare);
        assert!(again);
        assert_eq!(ramp.waiting.get(), 0);
    }
}
