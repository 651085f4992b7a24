//! Many figures as a few.

use serde::Serialize;

/// The middle and the ends of a list; zeros for an empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of these values.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let upper = values.get(values.len() / 2).copied().unwrap_or(0.0);
        let lower = values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0);
        Self {
            median: f64::midpoint(lower, upper),
            least: values.first().copied().unwrap_or(0.0),
            most: values.last().copied().unwrap_or(0.0),
        }
    }
}

/// The value that `100 - percent` of a hundred exceed, of a sorted list; 0 for an empty one.
#[must_use]
pub fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((sorted.len() * percent / 100).min(last)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_list_is_the_middle_of_its_middle() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]);
        assert_eq!((spread.least, spread.median, spread.most), (1.0, 2.5, 4.0));
    }

    #[test]
    fn an_empty_list_has_no_spread() {
        assert_eq!(Spread::of([]), Spread::default());
        assert!(percentile(&[], 99).abs() < f64::EPSILON);
    }

    #[test]
    fn one_in_a_hundred_exceeds_the_99th_percentile() {
        let sorted: Vec<f64> = (0..200).map(f64::from).collect();
        let p99 = percentile(&sorted, 99);
        assert_eq!(sorted.iter().filter(|value| **value >= p99).count(), 2);
        assert!((percentile(&sorted, 100) - 199.0).abs() < f64::EPSILON);
    }
}
