//! The comparison as a table to read, and as JSON.

use std::fs;

use serde::Serialize;
use serde_json::json;

use crate::compare::{CaseResult, Sample};

/// Where and with what the rounds were run.
#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    /// The day, in UTC.
    pub date: String,
    /// The processors.
    pub machine: String,
    /// The kernel's release.
    pub kernel: String,
    /// Name and version of each proxy.
    pub versions: Vec<(String, String)>,
    /// Proxies that were asked for and are not installed.
    pub missing: Vec<String>,
    /// How processes share the processors.
    pub placement: String,
    /// What sent the requests.
    pub generator: String,
    /// Whether it ran in a network of its own.
    pub own_network: bool,
    /// Measured rounds of one second per proxy and case.
    pub rounds: usize,
}

/// The processors of this machine, in words.
#[must_use]
pub fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<_> = info
        .lines()
        .filter(|line| line.starts_with("model name"))
        .filter_map(|line| line.split_once(": "))
        .collect();
    let model = models.first().map_or("unknown processor", |(_, model)| model);
    format!("{} x {model}", models.len())
}

/// A table per case, in Markdown.
#[must_use]
pub fn table(setting: &Setting, results: &[CaseResult]) -> String {
    let mut out = String::new();
    let versions: Vec<_> =
        setting.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let network = if setting.own_network { "own network namespace" } else { "machine's network" };
    out += &format!(
        "{} · kernel {} · {} · {} · load by {} · {network} · {} rounds of 1 s · {}\n",
        setting.date,
        setting.kernel,
        setting.machine,
        setting.placement,
        setting.generator,
        setting.rounds,
        versions.join(", "),
    );
    for name in &setting.missing {
        out += &format!("{name} is not installed: not measured.\n");
    }
    for result in results {
        out += &format!("\n### {}\n\n", result.case.title);
        out.push_str(
            "| proxy | CPU us/req | user | sys | ratio | spread | req/s | p50 us | p99 us | n | errors |\n\
             |---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for (peer, samples) in &result.samples {
            out.push_str(&row(peer.name(), samples));
        }
        let direct = &result.direct;
        out += &format!(
            "| direct | - | - | - | - | - | {:.0} | {:.0} | {:.0} | 1 | {} |\n",
            direct.requests as f64 / direct.seconds,
            direct.p50_us,
            direct.p99_us,
            direct.errors,
        );
    }
    out
}

fn row(name: &str, samples: &[Sample]) -> String {
    let column = |of: fn(&Sample) -> f64| Spread::of(samples.iter().map(of));
    let cpu = column(|s| s.cpu_ns / 1e3).median;
    let user = column(|s| s.cpu_ns / 1e3 * s.user_share).median;
    let ratio = Spread::of(samples.iter().filter_map(|s| s.ratio));
    let (middle, spread) = if samples.iter().any(|s| s.ratio.is_some()) {
        let spread = format!("{:.2}-{:.2}", ratio.least, ratio.most);
        (format!("{:.2}", ratio.median), spread)
    } else {
        ("-".to_owned(), "-".to_owned())
    };
    let rate = column(|s| s.figures.requests as f64 / s.figures.seconds).median;
    let p50 = column(|s| s.figures.p50_us).median;
    let p99 = column(|s| s.figures.p99_us).median;
    let errors: u64 = samples.iter().map(|s| s.figures.errors).sum();
    format!(
        "| {name} | {cpu:.1} | {user:.1} | {:.1} | **{middle}** | {spread} | {rate:.0} | {p50:.0} | {p99:.0} | {} | {errors} |\n",
        cpu - user,
        samples.len(),
    )
}

/// One document with every sample.
#[must_use]
pub fn json(setting: &Setting, results: &[CaseResult]) -> serde_json::Value {
    let cases: Vec<_> = results
        .iter()
        .map(|result| {
            let peers: serde_json::Map<_, _> = result
                .samples
                .iter()
                .map(|(peer, samples)| {
                    let ratio = Spread::of(samples.iter().filter_map(|s| s.ratio));
                    let cpu = Spread::of(samples.iter().map(|s| s.cpu_ns));
                    let errors: u64 = samples.iter().map(|s| s.figures.errors).sum();
                    let summary = json!({
                        "cpu_ns": cpu, "ratio": ratio, "errors": errors, "samples": samples,
                    });
                    (peer.name().to_owned(), summary)
                })
                .collect();
            json!({"case": result.case.name, "peers": peers, "direct": result.direct})
        })
        .collect();
    json!({"setting": setting, "cases": cases})
}

/// The middle and the ends of a list; zeros for an empty one.
#[derive(Clone, Copy, Debug, Serialize)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_list_is_the_middle_of_its_middle() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0].into_iter());
        assert_eq!((spread.least, spread.median, spread.most), (1.0, 2.5, 4.0));
    }

    #[test]
    fn an_empty_list_has_no_spread() {
        let spread = Spread::of(std::iter::empty());
        assert_eq!((spread.least, spread.median, spread.most), (0.0, 0.0, 0.0));
    }
}
