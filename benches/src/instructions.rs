//! Instruction counts, and how they compare with the committed ones.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Instructions of once through each room, by its name.
pub type Counts = BTreeMap<String, f64>;

/// How often the benches go through each room.
pub const TURNS: u32 = 100;

/// The committed counts.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Committed {
    /// What there is to know of the file.
    pub comment: String,
    /// What compiled them, and for which processor.
    pub compiler: String,
    /// The counts.
    pub rooms: Counts,
}

impl Committed {
    /// What is to be committed.
    #[must_use]
    pub fn new(compiler: String, rooms: Counts) -> Self {
        let rooms = rooms.into_iter().map(|(name, count)| (name, count.round())).collect();
        Self { comment: COMMENT.to_owned(), compiler, rooms }
    }
}

/// Reads what the benches print: a line of JSON for each, with the sum over [`TURNS`].
///
/// # Errors
/// Fails when a line is none, or names no count.
pub fn parse(output: &str) -> anyhow::Result<Counts> {
    let mut counts = Counts::new();
    for line in output.lines().filter(|line| line.starts_with('{')) {
        let summary: Value = serde_json::from_str(line)?;
        let name = summary.get("id").and_then(Value::as_str).context("a bench without a name")?;
        let count = summary.pointer("/profiles/0/data/total/metrics/Ir/values/new");
        let count = count.and_then(Value::as_f64).with_context(|| format!("{name}: no count"))?;
        counts.insert(name.to_owned(), count / f64::from(TURNS));
    }
    ensure!(!counts.is_empty(), "the benches have printed no counts");
    Ok(counts)
}

/// How the counts of today compare.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// A line for each room.
    pub table: String,
    /// The rooms that take more than is allowed, or are only on one side.
    pub broken: Vec<String>,
}

/// Compares; a room may take so many percent more than is committed, and in any case [`SLACK`] more.
#[must_use]
pub fn compare(committed: &Counts, today: &Counts, percent: f64) -> Comparison {
    let names: BTreeMap<_, ()> =
        committed.keys().chain(today.keys()).map(|name| (name, ())).collect();
    let mut comparison = Comparison { table: String::new(), broken: Vec::new() };
    let mut line = |name: &str, then: &str, now: &str, change: &str| {
        let written = writeln!(comparison.table, "{name:<26} {then:>10} {now:>10} {change:>8}");
        written.is_ok()
    };
    line("instructions", "committed", "today", "change");
    for name in names.into_keys() {
        let words =
            |count: Option<&f64>| count.map_or_else(|| "-".to_owned(), |n| format!("{n:.0}"));
        let (then, now) = (committed.get(name), today.get(name));
        let change = then.zip(now).map(|(then, now)| 100.0 * (now / then - 1.0));
        let said = change.map_or_else(|| "-".to_owned(), |change| format!("{change:+.1} %"));
        line(name, &words(then), &words(now), &said);
        let slack = then.zip(now).is_some_and(|(then, now)| now - then <= SLACK);
        if change.is_none_or(|change| change > percent && !slack) {
            comparison.broken.push(name.clone());
        }
    }
    comparison
}

/// Instructions by which a room may grow whatever its size: how the compiler inlines changes that much.
pub const SLACK: f64 = 20.0;

const COMMENT: &str = "Instructions of once through each room of a request's way, by callgrind: \
    `cargo run -p benches --bin instructions` compares, with `-- --write` it writes this file. \
    They are those of the named compiler; another one needs them written anew.";

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(rooms: &[(&str, f64)]) -> Counts {
        rooms.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn counts_are_read_from_the_lines_of_json_and_divided_by_the_turns() {
        let line = |id: &str, count: u64| {
            let metrics = format!(r#"{{"Ir":{{"values":{{"new":{count},"old":1}}}}}}"#);
            format!(
                r#"{{"id":"{id}","profiles":[{{"data":{{"total":{{"metrics":{metrics}}}}}}}]}}"#
            )
        };
        let output = format!("noise\n{}\n{}\n", line("a", 1000), line("b", 250));
        assert_eq!(parse(&output).unwrap(), counts(&[("a", 10.0), ("b", 2.5)]));
        assert!(parse("noise\n").is_err());
        assert!(parse("{\"id\":\"a\"}\n").is_err());
    }

    #[test]
    fn more_than_the_allowed_percentage_is_broken_and_less_is_not() {
        let committed =
            counts(&[("faster", 1e4), ("same", 1e4), ("slower", 1e4), ("small", 100.0)]);
        let today =
            counts(&[("faster", 5e3), ("same", 10_290.0), ("slower", 10_310.0), ("small", 120.0)]);
        let comparison = compare(&committed, &today, 3.0);
        assert_eq!(comparison.broken, ["slower"]);
        assert!(comparison.table.contains("-50.0 %"), "{}", comparison.table);
    }

    #[test]
    fn a_room_that_is_only_on_one_side_is_broken() {
        let comparison = compare(&counts(&[("gone", 1.0)]), &counts(&[("new", 1.0)]), 3.0);
        assert_eq!(comparison.broken, ["gone", "new"]);
    }

    #[test]
    fn the_committed_file_reads_back_as_written() {
        let committed = Committed::new("rustc".to_owned(), counts(&[("a", 10.4)]));
        assert_eq!(committed.rooms, counts(&[("a", 10.0)]));
        let text = serde_json::to_string(&committed).unwrap();
        assert_eq!(serde_json::from_str::<Committed>(&text).unwrap(), committed);
    }
}
