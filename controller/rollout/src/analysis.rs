//! Whether a new color does worse than the old one: arithmetic over what the proxy counted.
//!
//! What is counted against a color are faults of the app: answers of 500 and above, and connections
//! that were refused, reset or broken. What a client did (it went away, its body was too large) is
//! not. Both kinds are judged by these rules, the first that holds is the breach:
//!
//! 1. Every one of the first requests failed, and there were at least 5: a breach, whatever
//!    [`Thresholds::min_requests`] says.
//! 2. There were `min_requests` or more, at least two of them failed, and the share of those that
//!    failed is larger than [`Thresholds::max_error_rate`], and larger than what the old color leads
//!    to expect: twice its share, or five points more than its share, whichever is less.
//! 3. Both colors have answered 100 requests, and the 99th percentile is more than three times the
//!    old color's and more than 250 ms above it.

mod figures;

use serde::{Deserialize, Serialize};

pub use self::figures::Figures;

/// From when on a color is judged, and what it is allowed.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Thresholds {
    /// Fewer requests than these say nothing, unless all of them failed.
    pub min_requests: u64,
    /// The share of failed requests that any color is allowed: `0.01` is 1 %.
    pub max_error_rate: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { min_requests: 20, max_error_rate: 0.01 }
    }
}

impl Thresholds {
    /// Says which figure of the new color breaks what the old one led to expect; `None` is as good
    /// as ever, or too few requests to say.
    #[must_use]
    pub fn breach(&self, old: &Figures, new: &Figures) -> Option<String> {
        let faults = [
            ("broken connections", new.broken, old.broken),
            ("answers of 500 and above", new.failed, old.failed),
        ];
        for (what, now, before) in faults {
            if self.is_breach((before, old.requests), (now, new.requests)) {
                return Some(format!(
                    "{what}: {now} of {} requests (before: {before} of {})",
                    new.requests, old.requests
                ));
            }
        }
        slower(old, new)
    }

    /// Rules 1 and 2, for failures out of requests.
    fn is_breach(&self, old: (u64, u64), new: (u64, u64)) -> bool {
        let (failed, requests) = new;
        if failed >= FIRST && failed >= requests {
            return true;
        }
        if requests < self.min_requests || failed < 2 {
            return false;
        }
        let (old, new) = (share(old), share(new));
        let expected = (old * 2.0).min(old + POINTS);
        new > self.max_error_rate.max(expected) + ROUNDING
    }
}

/// Rule 3.
fn slower(old: &Figures, new: &Figures) -> Option<String> {
    if old.requests < MANY || new.requests < MANY {
        return None;
    }
    let (before, now) = (old.quantile_ms(0.99), new.quantile_ms(0.99));
    let slower = now > before * 3.0 && now > before + 250.0;
    slower.then(|| format!("p99: {now} ms (before: {before} ms)"))
}

fn share((part, all): (u64, u64)) -> f64 {
    if all == 0 { 0.0 } else { figures::count(part) / figures::count(all) }
}

/// So many failures in a row, and nothing else, need no comparison.
const FIRST: u64 = 5;
/// For a 99th percentile.
const MANY: u64 = 100;
/// Five in a hundred.
const POINTS: f64 = 0.05;
/// Shares are quotients: one that is exactly at its limit is not above it.
const ROUNDING: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;

    fn breach(old: (u64, u64), new: (u64, u64)) -> bool {
        Thresholds::default().is_breach(old, new)
    }

    #[test]
    fn too_few_requests_judge_nobody_unless_all_of_them_failed() {
        assert!(!breach((0, 1000), (18, 19)));
        assert!(breach((0, 1000), (19, 19)));
        assert!(breach((0, 0), (5, 5)));
        assert!(!breach((0, 0), (4, 4)));
    }

    #[test]
    fn a_color_is_allowed_what_is_configured_and_one_failure() {
        assert!(!breach((0, 1000), (1, 20)));
        assert!(breach((0, 1000), (2, 20)));
        assert!(!breach((0, 1000), (10, 1000)));
        assert!(breach((0, 1000), (11, 1000)));
        let patient = Thresholds { min_requests: 50, max_error_rate: 0.2 };
        assert!(!patient.is_breach((0, 1000), (40, 49)));
        assert!(!patient.is_breach((0, 1000), (10, 50)));
        assert!(patient.is_breach((0, 1000), (11, 50)));
    }

    #[test]
    fn an_old_color_with_errors_excuses_as_many_and_a_few_more() {
        assert!(!breach((20, 1000), (40, 1000)));
        assert!(breach((20, 1000), (41, 1000)));
        assert!(!breach((290, 1000), (34, 100)));
        assert!(breach((290, 1000), (35, 100)));
    }

    #[test]
    fn an_old_color_that_fails_half_the_time_excuses_no_worse_one() {
        assert!(!breach((500, 1000), (55, 100)));
        assert!(breach((500, 1000), (56, 100)));
        assert!(breach((970, 1000), (100, 100)));
        assert!(!breach((970, 1000), (99, 100)));
    }

    #[test]
    fn a_breach_names_the_figures() {
        let (old, new) = (Figures::sample(1000, 0, 0, 1), Figures::sample(100, 30, 0, 1));
        let reason = Thresholds::default().breach(&old, &new).unwrap();
        assert_eq!(reason, "answers of 500 and above: 30 of 100 requests (before: 0 of 1000)");
    }

    #[test]
    fn a_color_that_refuses_connections_is_known_after_a_few() {
        let (old, new) = (Figures::sample(1000, 0, 0, 1), Figures::sample(6, 0, 6, 1));
        let reason = Thresholds::default().breach(&old, &new).unwrap();
        assert!(reason.starts_with("broken connections"), "{reason}");
    }

    #[test]
    fn a_color_ten_times_as_slow_is_a_breach() {
        let old = Figures::sample(1000, 0, 0, 4);
        assert_eq!(Thresholds::default().breach(&old, &Figures::sample(200, 0, 0, 5)), None);
        let reason = Thresholds::default().breach(&old, &Figures::sample(200, 0, 0, 10)).unwrap();
        assert!(reason.starts_with("p99"), "{reason}");
    }
}
