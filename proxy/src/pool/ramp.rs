//! How many new connections to an endpoint may be on trial at once.
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
pub(crate) struct Trials {
    open: Cell<usize>,
    /// Since the last that failed.
    passed: Cell<usize>,
    waiting: Cell<usize>,
    /// The last tick with late ones, and how many it had.
    late: Cell<(u64, usize)>,
    changed: Notify,
}

impl Trials {
    /// A new connection, if there may be one more.
    pub(crate) fn begin(self: &Rc<Self>) -> Option<Trial> {
        (self.open.get() < FIRST + self.passed.get()).then(|| self.open())
    }

    /// A new connection for who has waited for long: the app may well answer nothing for minutes.
    /// Those who have waited together go in turns.
    pub(crate) fn begin_late(self: &Rc<Self>, now: u64) -> Option<Trial> {
        let (tick, begun) = self.late.get();
        let begun = if tick == now { begun } else { 0 };
        (begun < LATE).then(|| {
            self.late.set((now, begun + 1));
            self.open()
        })
    }

    fn open(self: &Rc<Self>) -> Trial {
        self.open.set(self.open.get() + 1);
        Trial(Rc::clone(self))
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

/// A connection that has answered nothing yet. Dropping it ends the trial without a result.
#[derive(Debug)]
pub(crate) struct Trial(Rc<Trials>);

impl Trial {
    /// It was accepted, and has answered.
    pub(crate) fn pass(self) {
        self.0.passed.set(self.0.passed.get() + 1);
        // One for the place of its own that becomes free, one for the new.
        self.0.wake();
    }

    /// It was not accepted: from the beginning.
    pub(crate) fn fail(self) {
        self.0.passed.set(0);
    }
}

impl Drop for Trial {
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
        let trials = Rc::new(Trials::default());
        let mut open: Vec<Trial> = std::iter::from_fn(|| trials.begin()).collect();
        for expected in [2, 4, 8, 16] {
            assert_eq!(open.len(), expected);
            open.drain(..).for_each(Trial::pass);
            open = std::iter::from_fn(|| trials.begin()).collect();
        }
        open.pop().unwrap().fail();
        drop(open);
        assert_eq!(std::iter::from_fn(|| trials.begin()).collect::<Vec<_>>().len(), 2);
    }

    #[test]
    fn who_has_waited_for_long_goes_in_turns() {
        let trials = Rc::new(Trials::default());
        for tick in 1..5 {
            let late = std::iter::from_fn(|| trials.begin_late(tick)).map(std::mem::forget);
            assert_eq!(late.count(), LATE);
        }
        assert_eq!(trials.open.get(), 4 * LATE);
    }

    #[tokio::test]
    async fn who_waits_goes_on_with_an_answer_a_spare_connection_or_when_the_time_is_up() {
        let trials = Rc::new(Trials::default());
        assert!(!trials.wait(ready(())).await);
        let trial = trials.begin().unwrap();
        let pass = async { trial.pass() };
        let (again, ()) = tokio::join!(trials.wait(pending()), pass);
        assert!(again);
        let spare = async { trials.wake() };
        let (again, ()) = tokio::join!(trials.wait(pending()), spare);
        assert!(again);
        assert_eq!(trials.waiting.get(), 0);
    }
}
