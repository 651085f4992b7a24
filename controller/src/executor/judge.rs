//! Whether the new color does worse than the old one: pure arithmetic over what the proxy counted.

use cutover_proxy::table::{Color, ColorStats, DURATION_BUCKETS, ServiceName, Snapshot};

/// What one color did within some time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// Requests that ended.
    pub requests: u64,
    /// Those that ended with a status of 500 or more.
    pub failed: u64,
    /// Connections refused, reset or broken, retried or not.
    pub broken: u64,
    /// Durations, one count per bucket.
    durations: Vec<u64>,
}

impl Figures {
    /// All that a color did since the proxy started.
    #[must_use]
    pub(crate) fn of(snapshot: &Snapshot, service: &ServiceName, color: Color) -> Self {
        let service = snapshot.services.iter().find(|s| s.name == service.as_str());
        let stats = service.and_then(|s| s.colors.iter().find(|c| c.color == color.as_str()));
        stats.map(Self::of_color).unwrap_or_default()
    }

    fn of_color(stats: &ColorStats) -> Self {
        Self {
            requests: stats.requests.values().sum(),
            failed: stats.requests.range(500..).map(|(_, count)| count).sum(),
            broken: stats.upstream_errors.values().sum(),
            durations: stats.duration_counts.clone(),
        }
    }

    /// What was done since `before`. A proxy that was restarted in between counts from nothing.
    #[must_use]
    pub(crate) fn since(&self, before: &Self) -> Self {
        if self.requests < before.requests {
            return self.clone();
        }
        let counts = self.durations.iter().enumerate().map(|(bucket, count)| {
            count.saturating_sub(before.durations.get(bucket).copied().unwrap_or(0))
        });
        Self {
            requests: self.requests.saturating_sub(before.requests),
            failed: self.failed.saturating_sub(before.failed),
            broken: self.broken.saturating_sub(before.broken),
            durations: counts.collect(),
        }
    }

    /// The duration below which this share of the requests stayed, in milliseconds, within the
    /// width of a bucket; 0 where there was no request.
    #[must_use]
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        let all: u64 = self.durations.iter().sum();
        if all == 0 {
            return 0.0;
        }
        let rank = share * count(all);
        let mut below = 0.0;
        let mut lower = 0.0;
        for (bucket, counted) in self.durations.iter().enumerate() {
            let here = count(*counted);
            let upper = DURATION_BUCKETS.get(bucket).map_or(lower, |us| count(*us) / 1000.0);
            if below + here >= rank && here > 0.0 {
                let within = lower + (upper - lower) * ((rank - below) / here);
                return (within * 100.0).round() / 100.0;
            }
            below += here;
            lower = upper;
        }
        lower
    }

    fn share(&self, part: u64) -> f64 {
        if self.requests == 0 {
            return 0.0;
        }
        count(part) / count(self.requests)
    }
}

/// Says which figure of the new color breaks what the old one led to expect; `None` is as good as
/// ever, or too few requests to say.
#[must_use]
pub(crate) fn breach(old: &Figures, new: &Figures) -> Option<String> {
    let of = |part: u64, figures: &Figures| format!("{part} of {} requests", figures.requests);
    let broken_fast = new.broken >= FEW && new.share(new.broken) > 0.5;
    if broken_fast || (new.requests >= SOME && worse(new.share(new.broken), old.share(old.broken)))
    {
        return Some(format!(
            "broken connections: {} (before: {})",
            of(new.broken, new),
            of(old.broken, old)
        ));
    }
    if new.requests >= SOME && worse(new.share(new.failed), old.share(old.failed)) {
        return Some(format!(
            "answers of 500 and above: {} (before: {})",
            of(new.failed, new),
            of(old.failed, old)
        ));
    }
    if new.requests >= MANY && old.requests >= MANY {
        let (before, now) = (old.quantile_ms(0.99), new.quantile_ms(0.99));
        if now > before * 3.0 && now > before + 250.0 {
            return Some(format!("p99: {now} ms (before: {before} ms)"));
        }
    }
    None
}

/// Twice the share, and five in a hundred more.
fn worse(new: f64, old: f64) -> bool {
    new > old * 2.0 && new > old + 0.05
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn count(n: u64) -> f64 {
    n as f64
}

const FEW: u64 = 5;
const SOME: u64 = 20;
const MANY: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(requests: u64, failed: u64, broken: u64, bucket: usize) -> Figures {
        let mut durations = vec![0; DURATION_BUCKETS.len() + 1];
        durations[bucket] = requests;
        Figures { requests, failed, broken, durations }
    }

    #[test]
    fn too_few_requests_judge_nobody() {
        assert_eq!(breach(&figures(1000, 0, 0, 1), &figures(19, 19, 0, 1)), None);
    }

    #[test]
    fn a_color_that_answers_500_is_a_breach_unless_the_old_one_did_too() {
        let bad = figures(100, 30, 0, 1);
        let reason = breach(&figures(1000, 0, 0, 1), &bad).unwrap();
        assert!(reason.contains("30 of 100 requests"), "{reason}");
        assert_eq!(breach(&figures(1000, 290, 0, 1), &bad), None);
    }

    #[test]
    fn a_color_that_refuses_connections_is_known_after_a_few() {
        let reason = breach(&figures(1000, 0, 0, 1), &figures(6, 0, 6, 1)).unwrap();
        assert!(reason.starts_with("broken connections"), "{reason}");
    }

    #[test]
    fn a_color_ten_times_as_slow_is_a_breach() {
        let old = figures(1000, 0, 0, 4);
        assert_eq!(breach(&old, &figures(200, 0, 0, 5)), None);
        assert!(breach(&old, &figures(200, 0, 0, 10)).unwrap().starts_with("p99"));
    }

    #[test]
    fn quantiles_lie_in_their_bucket() {
        let figures = figures(100, 0, 0, 3);
        let p50 = figures.quantile_ms(0.5);
        assert!((2.5..=5.0).contains(&p50), "{p50}");
        assert!(figures.quantile_ms(0.99) > p50);
        assert_eq!(Figures::default().quantile_ms(0.5), 0.0);
    }

    #[test]
    fn a_restarted_proxy_counts_from_nothing() {
        let before = figures(100, 0, 0, 3);
        let after = figures(10, 1, 0, 3);
        assert_eq!(after.since(&before), after);
    }
}
