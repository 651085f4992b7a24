//! The journal is private and versioned, and one that cannot be read is never overwritten.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use cutover_harness::{Edge, eventually};

/// All files of the state directory.
fn files(edge: &Edge) -> Vec<std::path::PathBuf> {
    let all = fs::read_dir(edge.dir().join("state")).unwrap();
    all.map(|file| file.unwrap().path()).filter(|path| path.is_file()).collect()
}

#[test]
fn nobody_else_reads_what_the_journal_knows() {
    let Some(edge) = Edge::start() else { return };
    edge.pair("1");
    edge.deploy("2", "0s");
    let all = files(&edge);
    assert!(!all.is_empty());
    for path in all {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    }
}

#[test]
fn a_journal_that_cannot_be_read_is_set_aside_and_told() {
    let Some(edge) = Edge::start() else { return };
    edge.pair("1");
    let foreign = ["cutover-journal 999 00000000\n{}\n", "{\"not\": \"ours\"}"];
    for text in foreign {
        edge.crash(|edge| {
            for path in files(edge).iter().filter(|path| !is_aside(path)) {
                fs::write(path, text).unwrap();
            }
        });
        edge.until_served("1");
        eventually("it lies under another name", || {
            let mut aside = files(&edge).into_iter().filter(|path| is_aside(path));
            aside.any(|path| fs::read_to_string(path).unwrap() == text)
        });
        assert!(edge.status().unwrap().to_string().contains("unreadable"), "status says so");
    }
}

fn is_aside(path: &std::path::Path) -> bool {
    path.file_name().unwrap().to_string_lossy().contains("unreadable")
}
