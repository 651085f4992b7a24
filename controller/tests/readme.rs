//! README.md says what there is: every verb, flag, route, code, reason, metric and log field.

#![expect(clippy::unwrap_used, reason = "blocking test code; a panic is how a test fails")]

use std::collections::BTreeSet;
use std::process::Command;

const README: &str = include_str!("../../README.md");

#[test]
fn every_verb_and_flag_is_told_and_exists() {
    let block = section("Command line").split("```").nth(1).unwrap();
    let mut told: Vec<(String, BTreeSet<String>)> = Vec::new();
    for line in block.lines() {
        if let Some(rest) = line.strip_prefix("cutover ") {
            told.push((rest.split_whitespace().next().unwrap().to_owned(), BTreeSet::new()));
        }
        if let Some((_, flags)) = told.last_mut() {
            flags.extend(flags_of(line));
        }
    }
    let mut verbs = commands_of(&help(&["--help"]));
    verbs.insert("demo-app".to_owned()); // the one that is told and not listed
    let of_readme: BTreeSet<_> = told.iter().map(|(verb, _)| verb.clone()).collect();
    assert_eq!(of_readme, verbs, "left: README.md, right: cutover --help");
    for (verb, told) in told {
        let mut known = flags_of(&help(&[&verb, "--help"]));
        for everywhere in ["--help", "--version", "--socket", "--json"] {
            known.remove(everywhere);
        }
        // The flags of `plan` are those of `deploy`, told once.
        let known = if verb == "plan" { BTreeSet::new() } else { known };
        assert_eq!(told, known, "{verb}: left: README.md, right: --help");
    }
}

#[test]
fn what_readme_types_can_be_typed() {
    let verbs = commands_of(&help(&["--help"]));
    let mut typed = 0;
    for block in README.split("```sh").skip(1) {
        let block = block.split("```").next().unwrap();
        for line in block.lines() {
            let command = line.split('#').next().unwrap();
            for words in command.split("cutover ").skip(1) {
                let Some(verb) = words.split_whitespace().next() else { continue };
                if !(verbs.contains(verb) || verb == "demo-app") {
                    continue;
                }
                let help = help(&[verb, "--help"]);
                let known = flags_of(&help);
                assert!(flags_of(words).is_subset(&known), "{line}");
                typed += 1;
            }
        }
    }
    assert!(typed > 8, "{typed}");
}

#[test]
fn every_metric_is_told_and_exists() {
    let source =
        [include_str!("../src/http/metrics.rs"), include_str!("../src/http/metrics/process.rs")];
    let known = quoted(&source.concat(), |word| word.starts_with("cutover_"));
    assert_eq!(first_column("Metrics"), known);
}

#[test]
fn every_reason_is_told_and_exists() {
    let known = arms(include_str!("../../proxy/src/message/reason.rs"));
    assert_eq!(first_column("When Cutover answers itself"), known);
}

#[test]
fn every_route_and_code_is_told_and_exists() {
    let source = [
        include_str!("../src/http/control/routes.rs"),
        include_str!("../src/http/rollouts.rs"),
        include_str!("../src/http/control.rs"),
    ];
    let known = quoted(&source.concat(), |word| word.starts_with("/v1/") || word == "/metrics");
    let cells = first_column("Control socket");
    let (routes, codes): (BTreeSet<_>, BTreeSet<_>) =
        cells.into_iter().partition(|cell| cell.contains('/'));
    let paths = routes.iter().map(|route| route.split(' ').nth(1).unwrap().to_owned());
    assert_eq!(paths.collect::<BTreeSet<_>>(), known);
    let variants = include_str!("../api/src/error.rs").split("pub enum Code {").nth(1).unwrap();
    let variants = variants.split("\n}").next().unwrap().lines().map(str::trim);
    let names = variants.filter(|line| !line.starts_with("//")).filter_map(|l| l.strip_suffix(','));
    let known: BTreeSet<_> = names.map(snake).collect();
    assert_eq!(codes, known);
}

#[test]
fn every_field_of_the_access_log_is_told_and_exists() {
    let source = include_str!("../../proxy/src/metrics/log_line.rs");
    let known: BTreeSet<_> = ["out.text(\"", "out.number(\"", "out.millis(\""]
        .iter()
        .flat_map(|call| source.split(call).skip(1))
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    assert_eq!(spans(section("Access log")), known);
}

fn section(title: &str) -> &'static str {
    let after = README.split(&format!("\n## {title}\n")).nth(1);
    after.unwrap_or_else(|| panic!("no section {title}")).split("\n## ").next().unwrap()
}

/// The code spans in the first column of a section's tables.
fn first_column(title: &str) -> BTreeSet<String> {
    let rows = section(title).lines().filter_map(|line| line.strip_prefix("| `"));
    rows.flat_map(|row| spans(&format!("`{}", row.split(" | ").next().unwrap()))).collect()
}

fn spans(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn quoted(source: &str, wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    source.split('"').filter(|word| wanted(word)).map(str::to_owned).collect()
}

/// The words of `Self::Name => "word",`.
fn arms(source: &str) -> BTreeSet<String> {
    let arms = source.lines().filter_map(|line| line.split_once(" => \""));
    let words = arms.map(|(_, rest)| rest.split('"').next().unwrap());
    words.filter(|word| !word.contains(' ')).map(str::to_owned).collect()
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn flags_of(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    let flags = words.filter(|word| word.len() > 2 && word.starts_with("--"));
    flags.map(str::to_owned).collect()
}

fn commands_of(help: &str) -> BTreeSet<String> {
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    list.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_cutover")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
