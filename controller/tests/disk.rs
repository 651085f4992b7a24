//! A disk that is full under the journal, before a rollout and in the middle of one.
//!
//! Needs root, to mount a disk that is small; where there is none, every test says so loudly.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use cutover_harness::{Edge, eventually};

#[test]
fn on_a_full_disk_deploys_and_flips_are_refused_and_what_serves_goes_on() {
    let Some(disk) = Disk::new() else { return };
    let Some(edge) = start(&disk) else { return };
    let service = edge.service();
    let load = edge.load();
    let deploy =
        |tag| edge.cutover(&["deploy", &service, "--tag", tag, "--monitor", "0s", "--json"]);
    assert_eq!(deploy("2").code, 0);
    let (active, containers) = (edge.active(), ids(&edge));
    assert_eq!(edge.rollout()["phase"], "keep_warm");
    disk.fill();
    for refused in [deploy("3"), edge.cutover(&["flip", &service, "blue"])] {
        assert_eq!(refused.code, 3, "{refused:?}");
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(said.contains("No space left on device"), "{said}");
        assert!(said.contains(&disk.path().display().to_string()), "{said}");
    }
    assert_eq!((edge.active(), ids(&edge)), (active, containers), "something was touched");
    assert_eq!(edge.rollout()["phase"], "keep_warm", "the warm color was given up for nothing");
    let text = edge.cutover(&["status"]).stdout;
    assert!(text.contains("No space left on device"), "{text}");
    load.passes(100);
    disk.free();
    eventually("the journal is written again", || edge.journal_error().is_none());
    assert_eq!(deploy("3").code, 0);
    edge.until_served("3");
    assert_eq!(load.stop().failures, Vec::<String>::new());
}

#[test]
fn a_disk_that_fills_up_before_the_flip_undoes_the_rollout() {
    let Some(disk) = Disk::new() else { return };
    let Some(edge) = start(&disk) else { return };
    let service = edge.service();
    let load = edge.load();
    let watch = edge.watch();
    let client = edge.spawn(&["deploy", &service, "--tag", "slow-start", "--json"]);
    watch.until("ready");
    disk.fill();
    let said = client.wait();
    assert_eq!(said.code, 3, "{said:?}");
    let report = said.report();
    assert!(report["reason"].as_str().unwrap().contains("No space left"), "{report}");
    assert_eq!(edge.active(), "blue");
    eventually("nothing runs that is nobody's", || edge.orphans().is_empty());
    load.passes(50);
    disk.free();
    let deploy = ["deploy", &service, "--tag", "2", "--monitor", "0s", "--keep-warm", "0s"];
    assert_eq!(edge.cutover(&deploy).code, 0);
    edge.until_served("2");
    assert_eq!(edge.containers().len(), 2, "{:?}", edge.containers());
    assert_eq!(load.stop().failures, Vec::<String>::new());
}

#[test]
fn a_disk_that_fills_up_after_the_flip_costs_neither_the_rollout_nor_the_journal() {
    let Some(disk) = Disk::new() else { return };
    let Some(edge) = start(&disk) else { return };
    let service = edge.service();
    let load = edge.load();
    let watch = edge.watch();
    let deploy = ["deploy", &service, "--tag", "2", "--monitor", "2s", "--keep-warm", "0s"];
    let client = edge.spawn(&deploy);
    watch.until("monitor");
    disk.fill();
    let said = client.wait();
    assert_eq!(said.code, 0, "{said:?}");
    edge.until_served("2");
    assert!(edge.journal_error().is_some(), "status knows that a restart would not");
    assert_eq!(edge.containers().len(), 2, "{:?}", edge.containers());
    // A controller that dies now finds what it had written last, and the world as it is.
    edge.kill_controller();
    eventually("the next one serves the same", || {
        edge.try_rollout().is_some_and(|r| r.is_null()) && edge.active() == "green"
    });
    load.passes(50);
    disk.free();
    eventually("the journal is written again", || edge.journal_error().is_none());
    edge.until_served("2");
    let history = edge.cutover(&["history", &service, "--json"]).report();
    assert_eq!(history["revisions"][0]["revision"], 2, "{history}");
    assert_eq!(load.stop().failures, Vec::<String>::new());
}

fn start(disk: &Disk) -> Option<Edge> {
    let edge = Edge::builder().state(&disk.path()).start()?;
    edge.pair("1");
    eventually("both are up", || edge.endpoints_up("blue") + edge.endpoints_up("green") == 2);
    Some(edge)
}

fn ids(edge: &Edge) -> Vec<String> {
    edge.containers().iter().map(|name| edge.identity(name)).collect()
}

/// A file system of two megabytes.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=2m", "tmpfs"];
        let mounted = Command::new("mount").args(mount).arg(dir.path()).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self(dir));
        }
        let required = std::env::var_os("CUTOVER_REQUIRE_DOCKER").is_some();
        assert!(!required, "no disk can be mounted, and CUTOVER_REQUIRE_DOCKER is set");
        eprintln!("NO DISK CAN BE MOUNTED: this test has NOT been run");
        None
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("state")
    }

    /// Leaves no byte.
    fn fill(&self) {
        let mut filler = std::fs::File::create(self.filler()).unwrap();
        while filler.write_all(&[1; 4096]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        Path::new(self.0.path()).join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").args(["-l"]).arg(self.0.path()).status().ok();
    }
}
