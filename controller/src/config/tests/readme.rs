//! The reference in README.md says what the parser does.

use super::*;

const README: &str = include_str!("../../../../README.md");
const KEYS: &str = include_str!("../keys.rs");

#[test]
fn the_defaults_in_readme_are_the_defaults() {
    let text: String = reference()
        .iter()
        .filter(|(_, default)| !default.is_empty())
        .map(|(key, default)| format!("{} = {default}\n", key.replace("NAME", "web")))
        .collect();
    let mut config = parse(&text).unwrap_or_else(|report| panic!("{}", report.render()));
    let mut web = config.services.pop_first().unwrap().1;
    // That all of it was written makes no difference to what it says.
    web.written = Written::default();
    assert_eq!(web, ServiceConfig::default());
    assert_eq!(config, Config::default());
}

#[test]
fn readme_lists_exactly_the_keys_there_are() {
    let told: Vec<_> = reference().into_iter().map(|(key, _)| key).collect();
    let known: Vec<_> = known().into_iter().collect();
    let mut sorted = told.clone();
    sorted.sort();
    assert_eq!(sorted, known, "left: README.md, right: keys.rs");
}

/// The rows of the table: key and default.
fn reference() -> Vec<(String, String)> {
    let section = README.split("\n## Config\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (key, rest) = row.split_once("` |").unwrap();
        let default = rest.split(" | ").next().unwrap();
        (key.to_owned(), default.trim().trim_matches('`').to_owned())
    })
    .collect()
}

/// What `keys.rs` reads, by the function that reads it.
fn known() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut reader = "";
    let mut lines = KEYS.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some((_, name)) = line.split_once("fn ") {
            reader = name.split('(').next().unwrap();
        }
        let Some((_, rest)) = line.split_once("section.value(") else { continue };
        let literal = if rest.is_empty() { lines.peek().unwrap() } else { rest };
        let key = literal.split('"').nth(1).unwrap();
        let table = match reader {
            "config" => "access_log",
            "service" | "service_of_file" => "services.NAME",
            "timeouts" | "probe" | "drain" | "rollout" => &format!("services.NAME.{reader}"),
            "listen" | "runtime" | "limits" | "docker" => reader,
            other => panic!("where do the keys of {other} stand?"),
        };
        keys.insert(format!("{table}.{key}"));
    }
    keys
}
