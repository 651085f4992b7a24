//! Random numbers for choices.

use std::cell::Cell;

/// A small generator of random numbers (xorshift64*), one per worker: choices need no secrecy.
#[derive(Debug)]
pub(crate) struct Random(Cell<u64>);

impl Random {
    /// Starts from `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Cell::new(seed | 1))
    }

    /// The next number.
    pub(crate) fn next(&self) -> u64 {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`; 0 where the bound is 0.
    pub(crate) fn below(&self, bound: usize) -> usize {
        // The high bits are the good ones; a bias of 2^-32 does not matter here.
        let high = u128::from(self.next() >> 32);
        usize::try_from((high * bound as u128) >> 32).unwrap_or(0)
    }
}
