//! When there are flips: in every other second.

use std::time::{Duration, Instant};

/// The seconds of a drill. The first warms up and has no flips, the second has, and so on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    /// Begins with the first second.
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// The second in which something happened.
    pub(super) fn second(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.0).as_secs()
    }

    /// Whether a second is one with flips.
    pub(super) fn has_flips(second: u64) -> bool {
        !second.is_multiple_of(2)
    }

    /// When the `nth` flip is due, where each second with flips has so many.
    pub(super) fn due(&self, nth: u64, per_second: u64) -> Instant {
        let second = 2 * (nth / per_second) + 1;
        let within = (nth % per_second) as f64 / per_second as f64;
        self.0 + Duration::from_secs(second) + Duration::from_secs_f64(within)
    }

    /// The end of the second in which so many flips are done.
    pub(super) fn end(&self, flips: u64, per_second: u64) -> Instant {
        self.0 + Duration::from_secs(2 * flips.div_ceil(per_second) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flips_are_due_in_every_other_second_and_a_calm_one_is_the_last() {
        let clock = Clock::start();
        for nth in 0..100 {
            let second = clock.second(clock.due(nth, 10));
            assert!(Clock::has_flips(second), "{nth}: {second}");
        }
        assert_eq!(clock.second(clock.due(0, 10)), 1);
        assert_eq!(clock.second(clock.due(9, 10)), 1);
        assert_eq!(clock.second(clock.due(10, 10)), 3);
        assert_eq!(clock.second(clock.end(10, 10)), 3);
        assert_eq!(clock.second(clock.end(11, 10)), 5);
    }
}
