//! SECURITY.md promises nothing without a test.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn every_guarantee_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut tests = BTreeSet::new();
    for directory in ["controller", "proxy"] {
        collect(&root.join(directory), &mut tests);
    }
    assert!(tests.len() > 100, "{} tests found", tests.len());
    let text = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let (_, table) = text.split_once("| claim | tests |").unwrap();
    let rows: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with("| ")).collect();
    assert!(rows.len() > 20, "{} guarantees", rows.len());
    for row in rows {
        let names: Vec<&str> =
            row.split('|').nth(2).unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            assert!(tests.contains(name), "no such test: {name}");
        }
    }
}

/// The names of all test functions below a directory.
fn collect(directory: &Path, tests: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                let rest = line.strip_prefix("async ").unwrap_or(line);
                match rest.strip_prefix("fn ").and_then(|rest| rest.split('(').next()) {
                    Some(name) if is_test => {
                        tests.insert(name.to_owned());
                        is_test = false;
                    }
                    Some(_) => is_test = false,
                    None if line.starts_with("#[test]") || line.starts_with("#[tokio::test") => {
                        is_test = true;
                    }
                    None => {}
                }
            }
        }
    }
}
