//! What one color did within some time.

use cutover_proxy::table::{Color, ColorStats, DURATION_BUCKETS, ServiceName, Snapshot};
use serde::{Deserialize, Serialize};

/// What one color did within some time.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Figures {
    /// Requests that ended.
    pub requests: u64,
    /// Those that ended with a status of 500 or more.
    pub failed: u64,
    /// Connections refused, reset or broken, retried or not.
    pub broken: u64,
    /// How long the app took, one count per bucket: what clients take to send and to read, and what
    /// requests wait in a pause, is not the app's.
    durations: Vec<u64>,
}

impl Figures {
    /// All that a color did since the proxy started.
    #[must_use]
    pub fn of(snapshot: &Snapshot, service: &ServiceName, color: Color) -> Self {
        let service = snapshot.services.iter().find(|s| s.name == service.as_str());
        let stats = service.and_then(|s| s.colors.iter().find(|c| c.color == color.as_str()));
        stats.map(Self::of_color).unwrap_or_default()
    }

    fn of_color(stats: &ColorStats) -> Self {
        Self {
            requests: stats.requests.values().sum(),
            failed: stats.requests.range(500..).map(|(_, count)| count).sum(),
            broken: stats.upstream_errors.values().sum(),
            durations: stats.answer_counts.clone(),
        }
    }

    /// What was done since `before`. A proxy that was restarted in between counts from nothing.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
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
    pub fn quantile_ms(&self, share: f64) -> f64 {
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

    /// Figures whose durations all lie in one bucket.
    #[cfg(test)]
    pub(super) fn sample(requests: u64, failed: u64, broken: u64, bucket: usize) -> Self {
        let mut durations = vec![0; DURATION_BUCKETS.len() + 1];
        durations[bucket] = requests;
        Self { requests, failed, broken, durations }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(super) fn count(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_in_their_bucket() {
        let figures = Figures::sample(100, 0, 0, 3);
        let p50 = figures.quantile_ms(0.5);
        assert!((2.5..=5.0).contains(&p50), "{p50}");
        assert!(figures.quantile_ms(0.99) > p50);
        assert_eq!(Figures::default().quantile_ms(0.5), 0.0);
    }

    #[test]
    fn a_restarted_proxy_counts_from_nothing() {
        let before = Figures::sample(100, 0, 0, 3);
        let after = Figures::sample(10, 1, 0, 3);
        assert_eq!(after.since(&before), after);
    }
}
