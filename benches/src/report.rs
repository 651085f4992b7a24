//! The comparison as a table to read, and as JSON.

use std::fs;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::case::{Case, Measure};
use crate::compare::{CaseResult, Measured, Row, Sample};
use crate::control::FlipTimes;
use crate::summary::Spread;

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
    /// Measured rounds per proxy and case.
    pub rounds: usize,
    /// How long each was.
    pub seconds: u64,
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
    let versions: Vec<_> =
        setting.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let network = if setting.own_network { "own network namespace" } else { "machine's network" };
    let mut out = format!(
        "{} · kernel {} · {} · {} · load by {} · {network} · {} rounds of {} s · {}\n",
        setting.date,
        setting.kernel,
        setting.machine,
        setting.placement,
        setting.generator,
        setting.rounds,
        setting.seconds,
        versions.join(", "),
    );
    for name in &setting.missing {
        out += &format!("{name} is not installed: not measured.\n");
    }
    for result in results {
        out += &format!("\n### {}\n\n", result.case.title);
        out += &format!(
            "`{}`; the ratio is {}.\n\n",
            result.case.name,
            result.case.measure.ratio_of()
        );
        out += &match result.case.measure {
            Measure::Memory => memory_table(result),
            Measure::Cpu | Measure::Fleet | Measure::Workers => load_table(result),
        };
        for row in result.rows.iter().filter(|row| !row.flips.is_empty()) {
            out += &flips_line(row);
        }
    }
    out
}

fn load_table(result: &CaseResult) -> String {
    let mut out = String::from(
        "| proxy | CPU us/req | user | sys | ratio | spread | req/s | p50 us | p99 us | n | errors |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in &result.rows {
        let load = LoadSummary::of(&row.samples);
        let cpu = load.cpu_ns.median / 1e3;
        let user = cpu * load.user_share.median;
        let (ratio, spread) = ratio_words(load.ratio);
        out += &format!(
            "| {} | {cpu:.1} | {user:.1} | {:.1} | {ratio} | {spread} | {:.0} | {:.0} | {:.0} | {} | {} |\n",
            row.name,
            cpu - user,
            load.requests_per_second.median,
            load.p50_us.median,
            load.p99_us.median,
            row.samples.len(),
            load.errors,
        );
    }
    if let Some(direct) = &result.direct {
        out += &format!(
            "| direct | - | - | - | - | - | {:.0} | {:.0} | {:.0} | 1 | {} |\n",
            direct.rate(),
            direct.p50_us,
            direct.p99_us,
            direct.errors,
        );
    }
    out
}

fn memory_table(result: &CaseResult) -> String {
    let mut out = String::from(
        "| proxy | before, MiB | with them, MiB | bytes per client | ratio | spread | n |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for row in &result.rows {
        let memory = MemorySummary::of(&row.samples);
        let (ratio, spread) = ratio_words(memory.ratio);
        out += &format!(
            "| {} | {:.1} | {:.1} | {:.0} | {ratio} | {spread} | {} |\n",
            row.name,
            memory.base_bytes.median / MIB,
            memory.idle_bytes.median / MIB,
            memory.bytes_per_client.median,
            row.samples.len(),
        );
    }
    out
}

fn ratio_words(ratio: Option<Spread>) -> (String, String) {
    let dash = || "-".to_owned();
    ratio.map_or_else(
        || (dash(), dash()),
        |ratio| {
            (format!("**{:.2}**", ratio.median), format!("{:.2}-{:.2}", ratio.least, ratio.most))
        },
    )
}

fn flips_line(row: &Row) -> String {
    let times = FlipTimes::of(&row.flips);
    format!(
        "\n{}: {} flips, from the call to the live table {:.1} ms (p99 {:.1} ms), the swap {:.0} us of it.\n",
        row.name,
        times.flips,
        times.call_ms.spread.median,
        times.call_ms.p99,
        times.flip_us.spread.median,
    )
}

/// One document with every sample.
#[must_use]
pub fn json(setting: &Setting, results: &[CaseResult]) -> Value {
    let cases: Vec<_> = results
        .iter()
        .map(|result| {
            let Case { name, title, measure, .. } = result.case;
            let peers: Map<_, _> =
                result.rows.iter().map(|row| (row.name.clone(), row_json(measure, row))).collect();
            json!({
                "case": name, "title": title, "ratio": measure.ratio_of(), "peers": peers,
                "direct": result.direct,
            })
        })
        .collect();
    json!({"setting": setting, "cases": cases})
}

fn row_json(measure: Measure, row: &Row) -> Value {
    let mut summary = match measure {
        Measure::Memory => json!(MemorySummary::of(&row.samples)),
        Measure::Cpu | Measure::Fleet | Measure::Workers => json!(LoadSummary::of(&row.samples)),
    };
    if let Some(fields) = summary.as_object_mut() {
        fields.insert("samples".to_owned(), json!(row.samples));
        if !row.flips.is_empty() {
            fields.insert("flips".to_owned(), json!(FlipTimes::of(&row.flips)));
        }
    }
    summary
}

#[derive(Clone, Copy, Debug, Serialize)]
struct LoadSummary {
    cpu_ns: Spread,
    user_share: Spread,
    ratio: Option<Spread>,
    requests_per_second: Spread,
    p50_us: Spread,
    p99_us: Spread,
    errors: u64,
}

impl LoadSummary {
    fn of(samples: &[Sample]) -> Self {
        let mut all = Vec::with_capacity(samples.len());
        for sample in samples {
            if let Measured::Load { cpu_ns, user_share, figures } = sample.measured {
                all.push((cpu_ns, user_share, figures));
            }
        }
        Self {
            cpu_ns: Spread::of(all.iter().map(|(cpu_ns, ..)| *cpu_ns)),
            user_share: Spread::of(all.iter().map(|(_, user_share, _)| *user_share)),
            ratio: ratio(samples),
            requests_per_second: Spread::of(all.iter().map(|(.., figures)| figures.rate())),
            p50_us: Spread::of(all.iter().map(|(.., figures)| figures.p50_us)),
            p99_us: Spread::of(all.iter().map(|(.., figures)| figures.p99_us)),
            errors: all.iter().map(|(.., figures)| figures.errors).sum(),
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
struct MemorySummary {
    base_bytes: Spread,
    idle_bytes: Spread,
    bytes_per_client: Spread,
    ratio: Option<Spread>,
}

impl MemorySummary {
    fn of(samples: &[Sample]) -> Self {
        let mut all = Vec::with_capacity(samples.len());
        for sample in samples {
            if let Measured::Memory { base_bytes, idle_bytes, .. } = sample.measured {
                all.push((base_bytes as f64, idle_bytes as f64));
            }
        }
        Self {
            base_bytes: Spread::of(all.iter().map(|(base, _)| *base)),
            idle_bytes: Spread::of(all.iter().map(|(_, idle)| *idle)),
            bytes_per_client: Spread::of(samples.iter().map(|s| s.measured.bytes_per_client())),
            ratio: ratio(samples),
        }
    }
}

/// Of the rounds in which there was something to divide by.
#[must_use]
pub fn ratio(samples: &[Sample]) -> Option<Spread> {
    let ratios: Vec<_> = samples.iter().filter_map(|sample| sample.ratio).collect();
    (!ratios.is_empty()).then(|| Spread::of(ratios))
}

const MIB: f64 = (1 << 20) as f64;
