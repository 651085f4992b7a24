//! Metric families, each once, however often it is named.

use std::collections::BTreeMap;

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use crate::serving::counters::Durations;

/// All families of one scrape, by name.
#[derive(Debug, Default)]
pub(super) struct Families(BTreeMap<&'static str, Family>);

impl Families {
    /// The family of this name, made on first use.
    pub(super) fn family(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: MetricType,
    ) -> &mut Family {
        self.0.entry(name).or_insert_with(|| Family { help, kind, metrics: Vec::new() })
    }

    /// What the encoder takes: families with at least one value.
    pub(super) fn finish(self) -> Vec<MetricFamily> {
        let filled = self.0.into_iter().filter(|(_, family)| !family.metrics.is_empty());
        filled
            .map(|(name, family)| {
                let mut proto = MetricFamily::default();
                proto.set_name(name.into());
                proto.set_help(family.help.into());
                proto.set_field_type(family.kind);
                proto.set_metric(family.metrics);
                proto
            })
            .collect()
    }
}

/// One name with its values by label.
#[derive(Debug)]
pub(super) struct Family {
    help: &'static str,
    kind: MetricType,
    metrics: Vec<Metric>,
}

impl Family {
    /// Adds a value of a counter or gauge.
    pub(super) fn value(&mut self, labels: &[(&str, &str)], value: f64) {
        let mut metric = metric(labels);
        match self.kind {
            MetricType::COUNTER => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            _ => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        self.metrics.push(metric);
    }

    /// As [`Family::value`], with labels that were made for it.
    pub(super) fn owned(&mut self, labels: &[(&str, String)], value: f64) {
        let labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (*n, v.as_str())).collect();
        self.value(&labels, value);
    }

    /// Adds a value for each entry of a map, whose keys are the values of `label`.
    pub(super) fn counts(
        &mut self,
        label: &str,
        labels: &[(&str, &str)],
        counts: &BTreeMap<String, u64>,
    ) {
        for (key, n) in counts {
            let mut labels = labels.to_vec();
            labels.push((label, key));
            self.value(&labels, super::count(*n));
        }
    }

    /// Adds a histogram that the crate keeps.
    pub(super) fn durations(&mut self, labels: &[(&str, &str)], durations: &Durations) {
        let mut metric = metric(labels);
        metric.set_histogram(durations.metric().get_histogram().clone());
        self.metrics.push(metric);
    }

    /// Adds a histogram of the proxy's, from counts that are not cumulative, the last of them above
    /// all bounds. The proxy counts without the crate: each of its workers adds to a slot of its own
    /// with one plain write, where the crate's histogram is shared by all of them and costs several
    /// atomic operations per request.
    pub(super) fn histogram(
        &mut self,
        labels: &[(&str, &str)],
        bounds: &[f64],
        counts: &[u64],
        sum: f64,
    ) {
        let mut below = 0;
        let buckets = bounds.iter().zip(counts).map(|(&bound, &n)| {
            below += n;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(below);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(counts.iter().sum());
        histogram.set_sample_sum(sum);
        let mut metric = metric(labels);
        metric.set_histogram(histogram);
        self.metrics.push(metric);
    }
}

fn metric(labels: &[(&str, &str)]) -> Metric {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).into());
        pair.set_value((*value).into());
        pair
    };
    Metric::from_label(labels.iter().map(pair).collect())
}
