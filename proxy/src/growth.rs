//! How the cost of a function grows with its input: what tests of linear work compare.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How many times more processor time `large` takes than `small`, each at its best of several turns.
///
/// Not a clock's time: what else the machine does, the other tests to begin with, would count.
pub(crate) fn growth(mut small: impl FnMut(), mut large: impl FnMut()) -> f64 {
    let mut best = [Duration::MAX; 2];
    for _ in 0..TURNS {
        let turns: [&mut dyn FnMut(); 2] = [&mut small, &mut large];
        for (best, turn) in best.iter_mut().zip(turns) {
            let start = processor_time();
            turn();
            *best = (processor_time() - start).min(*best);
        }
    }
    let [small, large] = best;
    large.as_secs_f64() / small.as_secs_f64()
}

/// What this thread has used so far.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap()
}

const TURNS: usize = 7;
