//! How the cost of a function grows with its input: what tests of linear work compare.

use std::time::{Duration, Instant};

/// How many times longer `large` takes than `small`, each at its best of several turns.
///
/// Both take their turns one after the other, so that what else the machine does meets both.
pub(crate) fn growth(mut small: impl FnMut(), mut large: impl FnMut()) -> f64 {
    let mut best = [Duration::MAX; 2];
    for _ in 0..TURNS {
        let turns: [&mut dyn FnMut(); 2] = [&mut small, &mut large];
        for (best, turn) in best.iter_mut().zip(turns) {
            let start = Instant::now();
            turn();
            *best = start.elapsed().min(*best);
        }
    }
    let [small, large] = best;
    large.as_secs_f64() / small.as_secs_f64()
}

const TURNS: usize = 7;
