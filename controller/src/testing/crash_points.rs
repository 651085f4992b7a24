//! The places at which a test can stop the controller for good.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use cutover_harness::Dice;
use tokio::sync::{Notify, oneshot};

/// Numbers every place that work comes by, and stops it at one of them. Clones share the numbers.
///
/// Once stopped, whatever comes by any place waits for ever: a process that was killed does nothing
/// any more. The test then drops the controller, calls [`CrashPoints::reset`], and starts another.
///
/// With [`CrashPoints::keep_pace`], work passes one by one, in an order that a seed decides, and not
/// the scheduler.
#[derive(Clone, Default)]
pub(crate) struct CrashPoints {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    passed: Mutex<Passed>,
    /// The place to stop at has been reached.
    reached: Notify,
    /// Somebody waits for a turn.
    arrived: Notify,
}

#[derive(Default)]
struct Passed {
    places: Vec<String>,
    stop_at: Option<usize>,
    /// Whether a place is the one, where its number is not known.
    stop_where: Option<Chooser>,
    stopped: bool,
    turns: Option<Turns>,
    /// Hears of every place that is passed.
    listener: Option<Listener>,
}

type Chooser = Box<dyn FnMut(&str) -> bool + Send>;
type Listener = Box<dyn FnMut(&str) + Send>;

/// Those who wait for their turn.
struct Turns {
    dice: Dice,
    arrivals: u64,
    waiting: BTreeMap<(String, u64), oneshot::Sender<()>>,
}

impl CrashPoints {
    /// Comes by a place; never returns if this is the one, or it has been reached.
    pub(crate) async fn point(&self, place: impl Into<String>) {
        let place = place.into();
        if let Some(turn) = self.wait_for_turn(&place) {
            // Whoever gives turns is gone with its runtime, and so are we.
            turn.await.ok();
        }
        let stopped = {
            let mut passed = self.passed();
            if !passed.stopped {
                if let Some(listener) = passed.listener.as_mut() {
                    listener(&place);
                }
                let chosen = passed.stop_where.as_mut().is_some_and(|chooses| chooses(&place));
                passed.places.push(place);
                passed.stopped = chosen || passed.stop_at == Some(passed.places.len());
            }
            passed.stopped
        };
        if stopped {
            self.inner.reached.notify_waiters();
            std::future::pending::<()>().await;
        }
    }

    /// Who is to hear of every place that is passed.
    pub(crate) fn on_pass(&self, listener: impl FnMut(&str) + Send + 'static) {
        self.passed().listener = Some(Box::new(listener));
    }

    /// Stops at this place, the first being 1, counted from the last [`CrashPoints::reset`].
    pub(crate) fn stop_at(&self, number: usize) {
        self.passed().stop_at = Some(number);
    }

    /// Stops at the next place of which this holds.
    pub(crate) fn stop_where(&self, chooses: impl FnMut(&str) -> bool + Send + 'static) {
        self.passed().stop_where = Some(Box::new(chooses));
    }

    /// Forgets all numbers and whoever waits, and stops nowhere.
    pub(crate) fn reset(&self) {
        let mut passed = self.passed();
        let turns = passed.turns.take().map(|turns| Turns { waiting: BTreeMap::new(), ..turns });
        let listener = passed.listener.take();
        *passed = Passed { turns, listener, ..Passed::default() };
    }

    /// From now on work passes one by one, in an order of this seed, as far as
    /// [`CrashPoints::keep_pace`] lets it.
    pub(crate) fn take_turns(&self, seed: u64) {
        let waiting = BTreeMap::new();
        self.passed().turns = Some(Turns { dice: Dice::new(seed), arrivals: 0, waiting });
    }

    /// Lets one pass after the other, a millisecond apart, for ever. What follows from one is over
    /// before the next one passes, so that what happens does not depend on the scheduler.
    pub(crate) async fn keep_pace(self) {
        loop {
            let arrived = self.inner.arrived.notified();
            if self.next_turn() {
                tokio::time::sleep(PACE).await;
            } else {
                arrived.await;
                tokio::time::sleep(PACE).await;
            }
        }
    }

    /// The places passed so far, in order: what a failing test prints.
    pub(crate) fn places(&self) -> Vec<String> {
        self.passed().places.clone()
    }

    /// How many places have been passed so far.
    pub(crate) fn count(&self) -> usize {
        self.passed().places.len()
    }

    /// Whether it is to stop at a place.
    pub(crate) fn is_armed(&self) -> bool {
        let passed = self.passed();
        passed.stop_at.is_some() || passed.stop_where.is_some()
    }

    /// Whether the place has been reached.
    pub(crate) fn is_stopped(&self) -> bool {
        self.passed().stopped
    }

    /// Waits until the place has been reached.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn stopped(&self) {
        loop {
            let reached = self.inner.reached.notified();
            if self.is_stopped() {
                return;
            }
            reached.await;
        }
    }

    fn wait_for_turn(&self, place: &str) -> Option<oneshot::Receiver<()>> {
        let mut passed = self.passed();
        let turns = passed.turns.as_mut()?;
        let (pass, turn) = oneshot::channel();
        turns.arrivals += 1;
        turns.waiting.insert((place.to_owned(), turns.arrivals), pass);
        self.inner.arrived.notify_one();
        Some(turn)
    }

    /// Lets one pass; false where nobody waits.
    fn next_turn(&self) -> bool {
        let mut passed = self.passed();
        if passed.stopped {
            return false;
        }
        let Some(turns) = passed.turns.as_mut() else { return false };
        turns.waiting.retain(|_, pass| !pass.is_closed());
        let chosen = turns.dice.below(turns.waiting.len());
        let next = turns.waiting.keys().nth(chosen).cloned();
        next.and_then(|next| turns.waiting.remove(&next)).is_some_and(|pass| pass.send(()).is_ok())
    }

    fn passed(&self) -> MutexGuard<'_, Passed> {
        self.inner.passed.lock().unwrap()
    }
}

impl fmt::Debug for CrashPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.passed();
        f.debug_struct("CrashPoints")
            .field("passed", &passed.places.len())
            .field("stop_at", &passed.stop_at)
            .finish()
    }
}

/// The timer's resolution.
const PACE: Duration = Duration::from_millis(1);
