//! Latencies in constant memory.

use std::time::Duration;

/// A histogram of microseconds that is exact to one part in 64.
#[derive(Debug)]
pub(super) struct Latency {
    counts: Vec<u64>,
    total: u64,
}

/// Steps within each power of two, as a power of two.
const STEPS: u32 = 6;

impl Default for Latency {
    fn default() -> Self {
        Self { counts: vec![0; bucket(u32::MAX) + 1], total: 0 }
    }
}

impl Latency {
    /// Adds one; what is longer than an hour counts as an hour.
    pub(super) fn record(&mut self, duration: Duration) {
        let micros = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
        if let Some(count) = self.counts.get_mut(bucket(micros)) {
            *count += 1;
            self.total += 1;
        }
    }

    /// The latency, in milliseconds, that `percent` of all do not exceed; 0 without any.
    pub(super) fn percentile_ms(&self, percent: u64) -> f64 {
        let rank = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_bound(index) / 1000.0;
            }
        }
        0.0
    }
}

fn bucket(micros: u32) -> usize {
    let power = micros.max(1).ilog2();
    let shift = power.saturating_sub(STEPS);
    ((shift << STEPS) + (micros >> shift)) as usize
}

fn upper_bound(bucket: usize) -> f64 {
    let (steps, power) = (1_usize << STEPS, bucket >> STEPS);
    let shift = power.saturating_sub(1);
    let base = bucket - shift * steps;
    ((base as u64 + 1) << shift) as f64 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_within_one_part_in_64() {
        let mut latency = Latency::default();
        for micros in 1..=100_000 {
            latency.record(Duration::from_micros(micros));
        }
        for (percent, exact) in [(1, 1.0), (50, 50.0), (99, 99.0), (100, 100.0)] {
            let told = latency.percentile_ms(percent);
            assert!((exact..=exact * 65.0 / 64.0).contains(&told), "p{percent}: {told}");
        }
    }

    #[test]
    fn the_longest_duration_has_a_bucket() {
        let mut latency = Latency::default();
        latency.record(Duration::MAX);
        assert!(latency.percentile_ms(50) > 4_000_000.0);
        assert_eq!(Latency::default().percentile_ms(50), 0.0);
    }
}
