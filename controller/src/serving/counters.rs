//! What the controller itself has counted, for the metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_api::Ending;
use cutover_proxy::table::{Color, ServiceName, Snapshot};
use prometheus::core::Metric as _;
use prometheus::proto::Metric;
use prometheus::{Histogram, HistogramOpts};
use tokio::time::Instant;

/// Counters that only grow, and histograms.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Flips by service, target and result (`done`, `refused`, `failed`).
    pub(crate) flips: BTreeMap<(ServiceName, &'static str, &'static str), u64>,
    /// How long the swap of a flip took.
    pub(crate) flip_duration: Durations,
    /// How long probes took.
    pub(crate) probes: BTreeMap<(ServiceName, Color), Durations>,
    /// How long drains took.
    pub(crate) drains: BTreeMap<ServiceName, Durations>,
    /// Failovers by service and reason.
    pub(crate) failovers: BTreeMap<(ServiceName, &'static str), u64>,
    /// Config reloads.
    pub(crate) reloads: Reloads,
    /// Finished rollouts by service and result.
    pub(crate) rollouts: BTreeMap<(ServiceName, Ending), u64>,
    /// How busy each color is.
    pub(crate) rates: Meter,
}

/// Requests per second by service and color.
pub(crate) type Rates = BTreeMap<(ServiceName, Color), f64>;

/// Finished requests by service and color.
type Finished = BTreeMap<(ServiceName, Color), u64>;

/// Turns counts into rates.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    last: Option<(Instant, Finished)>,
    /// Between the last two counts.
    pub(crate) per_second: Rates,
}

impl Meter {
    /// Takes new counts. A count that has fallen is that of a new proxy: it starts from zero.
    pub(crate) fn count(&mut self, snapshot: &Snapshot, now: Instant) {
        let mut counts = BTreeMap::new();
        for service in &snapshot.services {
            let Ok(name) = service.name.parse::<ServiceName>() else {
                continue;
            };
            for color in &service.colors {
                if let Ok(parsed) = color.color.parse::<Color>() {
                    counts.insert((name.clone(), parsed), color.requests.values().sum::<u64>());
                }
            }
        }
        if let Some((then, before)) = &self.last {
            let seconds = now.saturating_duration_since(*then).as_secs_f64();
            let rate = |(key, n): (&(ServiceName, Color), &u64)| {
                let before = before.get(key).filter(|before| *before <= n).copied().unwrap_or(0);
                let rate = if seconds > 0.0 { (n - before) as f64 / seconds } else { 0.0 };
                (key.clone(), rate)
            };
            self.per_second = counts.iter().map(rate).collect();
        }
        self.last = Some((now, counts));
    }
}

/// Config reloads by result.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    /// Live.
    pub(crate) ok: u64,
    /// Refused; what was before stayed.
    pub(crate) refused: u64,
}

/// Durations of what is done off the way of a request: the crate's own histogram, of which none is
/// registered anywhere, for a scrape gathers them by service and color.
#[derive(Clone, Debug)]
pub(crate) struct Durations(Histogram);

impl Durations {
    /// Adds one duration.
    pub(crate) fn observe(&self, took: Duration) {
        self.0.observe(took.as_secs_f64());
    }

    /// All of them, without labels.
    #[must_use]
    pub(crate) fn metric(&self) -> Metric {
        self.0.metric()
    }
}

impl Default for Durations {
    #[expect(clippy::expect_used, reason = "the name is valid and the bounds ascend")]
    fn default() -> Self {
        // Its name and help are those of the family that it is gathered into.
        let options = HistogramOpts::new("durations", "durations").buckets(BOUNDS.to_vec());
        Self(Histogram::with_opts(options).expect("bounds that ascend"))
    }
}

/// From a swap of some microseconds to a drain of minutes.
const BOUNDS: &[f64] = &[
    0.000_01, 0.000_1, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0, 300.0,
];

#[cfg(test)]
mod tests {
    use cutover_proxy::table::{ColorStats, ServiceStats};

    use super::*;

    fn counts(n: u64) -> Snapshot {
        let blue = ColorStats {
            color: "blue".into(),
            requests: [(200, n)].into(),
            ..ColorStats::default()
        };
        let web =
            ServiceStats { name: "web".into(), colors: vec![blue], ..ServiceStats::default() };
        Snapshot { services: vec![web], ..Snapshot::default() }
    }

    #[test]
    fn a_rate_is_what_came_between_two_counts_and_a_new_proxy_starts_from_zero() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        let rates: Vec<f64> = [(0, 100), (2, 120), (4, 6)]
            .into_iter()
            .flat_map(|(at, n)| {
                meter.count(&counts(n), start + Duration::from_secs(at));
                meter.per_second.values().copied().collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(rates, [10.0, 3.0]);
    }
}
