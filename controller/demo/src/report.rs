//! The zero-drop report.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::check::Posts;
use crate::control::Metrics;
use crate::counters::Counters;
use crate::latency::Latency;

/// What the demo has shown; its JSON is public surface.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Answered as they should be, and not.
    requests: u64,
    /// Requests, streams and flips that failed, and POSTs lost or doubled.
    failed: u64,
    flips: u64,
    by_color: ByColor,
    retried: u64,
    held: u64,
    posts: PostCounts,
    streams: StreamCounts,
    flip_us: FlipTimes,
    latency_ms: Phases,
}

#[derive(Debug, Serialize)]
struct ByColor {
    blue: u64,
    green: u64,
}

#[derive(Debug, Serialize)]
struct PostCounts {
    sent: u64,
    lost: u64,
    doubled: u64,
}

#[derive(Debug, Serialize)]
struct StreamCounts {
    ended: u64,
    messages: u64,
}

#[derive(Debug, Serialize)]
struct FlipTimes {
    p50: u64,
    max: u64,
}

#[derive(Debug, Serialize)]
struct Phases {
    before: Percentiles,
    during: Percentiles,
    after: Percentiles,
}

#[derive(Debug, Serialize)]
struct Percentiles {
    p50: f64,
    p99: f64,
}

impl Percentiles {
    fn of(latency: &Latency) -> Self {
        Self { p50: latency.percentile_ms(50), p99: latency.percentile_ms(99) }
    }
}

impl Report {
    pub(super) fn new(counters: &Counters, posts: Posts, metrics: Metrics) -> Self {
        let counts = counters.counts();
        let [blue, green] = counts.by_color;
        let [before, during, after] = counts.latency.each_ref().map(Percentiles::of);
        let mut flips: Vec<_> = counts.flips.iter().map(Duration::as_micros).collect();
        flips.sort_unstable();
        let micros = |at: usize| {
            let micros = flips.get(at).copied().unwrap_or(0);
            u64::try_from(micros).unwrap_or(u64::MAX)
        };
        Self {
            requests: blue + green + counts.failed,
            failed: counts.failed + posts.lost + posts.doubled,
            flips: flips.len() as u64,
            by_color: ByColor { blue, green },
            retried: metrics.retried,
            held: metrics.held,
            posts: PostCounts {
                sent: counters.posts_sent(),
                lost: posts.lost,
                doubled: posts.doubled,
            },
            streams: StreamCounts { ended: counts.streams, messages: counts.messages },
            flip_us: FlipTimes {
                p50: micros(flips.len() / 2),
                max: micros(flips.len().saturating_sub(1)),
            },
            latency_ms: Phases { before, during, after },
        }
    }

    /// Whether nothing failed while both colors were seen to serve.
    pub(super) fn is_clean(&self) -> bool {
        self.failed == 0 && self.flips > 0 && self.by_color.blue > 0 && self.by_color.green > 0
    }

    /// The report for eyes.
    pub(super) fn table(&self) -> String {
        let mut counts = Table::new();
        counts.load_preset(presets::UTF8_BORDERS_ONLY);
        let rows = [
            ("requests", self.requests.to_string()),
            ("  served by blue", self.by_color.blue.to_string()),
            ("  served by green", self.by_color.green.to_string()),
            ("failed", self.failed.to_string()),
            ("retried", self.retried.to_string()),
            ("held", self.held.to_string()),
            ("POSTs sent", self.posts.sent.to_string()),
            ("  lost", self.posts.lost.to_string()),
            ("  doubled", self.posts.doubled.to_string()),
            ("streams", self.streams.ended.to_string()),
            ("  messages on them", self.streams.messages.to_string()),
            ("flips", self.flips.to_string()),
            ("  median", format!("{} us", self.flip_us.p50)),
            ("  slowest", format!("{} us", self.flip_us.max)),
        ];
        for (name, value) in rows {
            counts.add_row([name.to_owned(), value]);
        }
        if let Some(values) = counts.column_mut(1) {
            values.set_cell_alignment(CellAlignment::Right);
        }

        let mut latency = Table::new();
        latency.load_preset(presets::UTF8_HORIZONTAL_ONLY);
        latency.set_header(["latency", "p50", "p99"]);
        for (phase, percentiles) in [
            ("before the flips", &self.latency_ms.before),
            ("during the flips", &self.latency_ms.during),
            ("after the flips", &self.latency_ms.after),
        ] {
            latency.add_row([
                phase.to_owned(),
                format!("{:.2} ms", percentiles.p50),
                format!("{:.2} ms", percentiles.p99),
            ]);
        }
        let verdict =
            if self.is_clean() { "Nothing was dropped." } else { "Something was dropped." };
        format!("{counts}\n{latency}\n{verdict}")
    }
}
