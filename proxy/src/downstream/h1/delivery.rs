//! How a client takes its answer: bounded in how long it may take nothing, and in how little.

use std::cell::Cell;
use std::time::Duration;

use crate::table::Limits;
use crate::time::span;

/// The time in which the client's socket was full, and what it took meanwhile.
///
/// Only that time counts: nobody is late with what has not been written. What the kernel's buffer
/// takes before it is full for the first time counts for nothing, since it says nothing of the
/// client; and no credit lasts for longer than a `write_idle_timeout`.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    /// The tick since which the socket has taken nothing.
    blocked: Cell<Option<u64>>,
    /// Ticks for which it was full, in the present span.
    waited: Cell<u64>,
    /// What it took in the present span.
    bytes: Cell<u64>,
}

impl Delivery {
    /// The socket is full.
    pub(crate) fn block(&self, now: u64) {
        if self.blocked.get().is_none() {
            self.blocked.set(Some(now));
            if self.waited.get() == 0 {
                self.bytes.set(0);
            }
        }
    }

    /// The socket has taken some bytes.
    pub(crate) fn take(&self, now: u64, bytes: usize, limits: &Limits) {
        self.bytes.set(self.bytes.get() + bytes as u64);
        let Some(since) = self.blocked.take() else { return };
        self.waited.set(self.waited.get() + now.saturating_sub(since));
        let waited = span(self.waited.get());
        if waited > limits.write_idle_timeout && waited <= self.earned(limits) {
            self.waited.set(0);
        }
    }

    /// All has been taken, and nothing of it counts for the next answer.
    pub(crate) fn end(&self) {
        self.blocked.set(None);
        self.waited.set(0);
    }

    /// Whether the socket is full.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.get().is_some()
    }

    /// How much longer the socket may stay full; `None` when the client has had its time.
    pub(crate) fn left(&self, now: u64, limits: &Limits) -> Option<Duration> {
        let blocked = now.saturating_sub(self.blocked.get().unwrap_or(now));
        let idle = limits.write_idle_timeout.checked_sub(span(blocked))?;
        let earned = self.earned(limits).saturating_add(limits.write_idle_timeout);
        let slow = earned.checked_sub(span(self.waited.get() + blocked))?;
        Some(idle.min(slow))
    }

    /// How long what it took in a span may have lasted, at `min_write_rate`.
    fn earned(&self, limits: &Limits) -> Duration {
        let millis = self.bytes.get().saturating_mul(1000).checked_div(limits.min_write_rate);
        millis.map_or(Duration::MAX, Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: fn() -> Limits = Limits::default;

    /// Takes `bytes` every `pause` ticks for as long as it may; returns the ticks.
    fn held(bytes: usize, pause: u64, until: u64) -> u64 {
        let (delivery, limits) = (Delivery::default(), LIMITS());
        let mut now = 0;
        while now < until {
            delivery.take(now, bytes, &limits);
            delivery.block(now);
            for _ in 0..pause {
                now += 1;
                if delivery.left(now, &limits).is_none() {
                    return now;
                }
            }
        }
        now
    }

    #[test]
    fn who_takes_nothing_or_next_to_nothing_has_one_timeout() {
        assert_eq!(held(0, 1000, 1000), 301, "nothing at all");
        assert!((301..=302).contains(&held(1, 10, 1000)), "a byte a second");
        let half = held(1200, 100, 10_000);
        assert!((550..=650).contains(&half), "half the rate, once in ten seconds: {half}");
    }

    #[test]
    fn who_keeps_up_the_rate_may_take_for_ever() {
        assert_eq!(held(24, 1, 100_000), 100_000);
        assert_eq!(held(240 * 29, 290, 100_000), 100_050, "just before each timeout");
    }

    #[test]
    fn what_was_taken_quickly_is_no_credit_for_hours() {
        let (delivery, limits) = (Delivery::default(), LIMITS());
        delivery.block(0);
        delivery.take(1, 1_000_000_000, &limits);
        let mut now = 1;
        while delivery.left(now, &limits).is_some() {
            delivery.block(now);
            now += 10;
            if delivery.left(now, &limits).is_some() {
                delivery.take(now, 1, &limits);
            }
        }
        assert!(now <= 2 * 310, "{now}");
    }

    #[test]
    fn without_a_rate_a_byte_now_and_then_is_enough() {
        let (delivery, limits) = (Delivery::default(), Limits { min_write_rate: 0, ..LIMITS() });
        for now in (0..100_000).step_by(290) {
            delivery.take(now, 1, &limits);
            delivery.block(now);
            assert!(delivery.left(now + 290, &limits).is_some());
        }
    }
}
