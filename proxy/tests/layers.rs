//! A rule that is a test stays true: a module uses only what stands below it in `lib.rs`.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Reads the order of the `mod` lines and fails on a `crate::` path that points upwards.
#[test]
fn a_module_uses_only_what_stands_below_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let library = fs::read_to_string(source.join("lib.rs")).unwrap();
    let order: HashMap<&str, usize> = library
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod "))
        .map(|name| name.trim_end_matches(';'))
        .zip(0..)
        .collect();
    assert!(order.len() > 10, "lib.rs lists its modules");
    let mut upward = Vec::new();
    for (module, place) in &order {
        let mut files = vec![source.join(format!("{module}.rs"))];
        children(&source.join(module), &mut files);
        for file in files {
            for used in paths(&fs::read_to_string(&file).unwrap()) {
                if order.get(used.as_str()).is_some_and(|other| other < place) {
                    upward.push(format!("{}: {module} uses {used}", file.display()));
                }
            }
        }
    }
    assert!(upward.is_empty(), "upward edges:\n{}", upward.join("\n"));
}

/// The source files below a directory. Tests may look at everything.
pub fn children(directory: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.ends_with("tests") {
            children(&path, files);
        } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
}

/// The first names behind every `crate::` of a file, but for its comments and its tests.
fn paths(text: &str) -> Vec<String> {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let in_tests = |line: &&str| line.starts_with("#[cfg(test)]") || line.starts_with("mod tests");
    let code: Vec<&str> = text.lines().take_while(|line| !in_tests(line)).filter(is_code).collect();
    let name = |text: &str| {
        text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    let mut paths = Vec::new();
    for path in code.join("\n").split("crate::").skip(1) {
        match path.strip_prefix('{').and_then(|list| list.split_once("};")) {
            Some((list, _)) => paths.extend(list.split(',').map(name)),
            None => paths.push(name(path)),
        }
    }
    paths
}
