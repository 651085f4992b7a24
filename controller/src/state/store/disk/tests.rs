use std::os::unix::fs::symlink;

use cutover_api::{Ending, Kind, Report};
use cutover_proxy::table::{Color, Generation, ServiceName};

use super::*;
use crate::state::history::Entry;

struct Dir {
    dir: tempfile::TempDir,
    disk: Disk,
}

impl Dir {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path().join("state"));
        Self { dir, disk }
    }

    /// A directory with two generations: 7, then 8.
    fn with_two() -> Self {
        let this = Self::new();
        this.disk.write(&sample(7)).unwrap();
        this.disk.write(&sample(8)).unwrap();
        this
    }

    fn set_aside(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.path().join("state")).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.to_string_lossy().contains("state.unreadable-"));
        paths.sort();
        paths
    }
}

fn sample(generation: u64) -> Journal {
    let mut journal = Journal::default();
    journal.generation = Generation(generation);
    let web: ServiceName = "web".parse().unwrap();
    let colors = (Color::Blue, Color::Green);
    let report = Report::new(&web, 8, colors, Kind::Deploy, Ending::Done);
    let report = Report { image: "web:ü".into(), ..report };
    journal.service_mut(&web).record(Entry::new(report, None));
    journal
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_was_saved_is_loaded() {
    let Dir { disk, .. } = Dir::new();
    assert_eq!(disk.load(), Loaded::default());
    disk.write(&sample(7)).unwrap();
    assert_eq!(disk.load(), Loaded { journal: sample(7), notes: Vec::new() });
}

#[test]
fn a_file_torn_at_any_byte_falls_back_to_the_generation_before_and_is_kept() {
    let dir = Dir::with_two();
    let whole = fs::read(dir.disk.current()).unwrap();
    for cut in 0..whole.len() {
        fs::write(dir.disk.current(), &whole[..cut]).unwrap();
        let loaded = dir.disk.load();
        assert_eq!(loaded.journal, sample(7), "cut at {cut}");
        assert_eq!(loaded.notes.len(), 1);
        let aside = dir.set_aside().pop().unwrap();
        assert_eq!(fs::read(&aside).unwrap(), whole[..cut]);
        fs::remove_file(aside).unwrap();
    }
}

#[test]
fn two_unreadable_generations_start_from_nothing_and_both_are_kept() {
    let dir = Dir::with_two();
    fs::write(dir.disk.current(), b"\0\0\0").unwrap();
    fs::write(dir.disk.previous(), b"cutover-journal 9 00000000\n{}").unwrap();
    let loaded = dir.disk.load();
    assert_eq!(loaded.journal, Journal::default());
    assert!(loaded.notes[0].contains("not a journal") && loaded.notes[1].contains("format \"9\""));
    dir.disk.write(&sample(9)).unwrap();
    dir.disk.write(&sample(10)).unwrap();
    assert_eq!(dir.disk.load().journal, sample(10));
    let kept: Vec<_> = dir.set_aside().iter().map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(kept.len(), 2);
    assert!(kept.contains(&b"\0\0\0".to_vec()));
    assert!(kept.contains(&b"cutover-journal 9 00000000\n{}".to_vec()));
}

#[test]
fn an_unreadable_generation_behind_a_good_one_is_not_overwritten_either() {
    let dir = Dir::with_two();
    fs::write(dir.disk.previous(), b"cutover-journal 9 00000000\n{}").unwrap();
    assert_eq!(dir.disk.load().journal, sample(8));
    dir.disk.write(&sample(9)).unwrap();
    assert_eq!(dir.set_aside().len(), 1);
}

#[test]
fn what_cannot_be_set_aside_is_not_overwritten() {
    let dir = Dir::with_two();
    fs::write(dir.disk.current(), b"of a newer version").unwrap();
    dir.disk.obstructed.store(true, Ordering::Relaxed);
    dir.disk.write(&sample(9)).unwrap();
    let aside = dir.set_aside().pop().expect("a write tries again to set it aside");
    assert_eq!(fs::read(aside).unwrap(), b"of a newer version");
    assert_eq!(dir.disk.load().journal, sample(9));
}

#[test]
fn what_is_no_file_is_set_aside_and_its_target_left_alone() {
    let dir = Dir::with_two();
    fs::remove_file(dir.disk.current()).unwrap();
    let before = mode(Path::new("/dev/zero"));
    // It has no end, as a pipe without a writer has no beginning.
    symlink("/dev/zero", dir.disk.current()).unwrap();
    assert_eq!(dir.disk.load().journal, sample(7));
    assert_eq!(mode(Path::new("/dev/zero")), before);
}

#[test]
fn what_an_older_version_wrote_is_kept_for_a_way_back() {
    let dir = Dir::with_two();
    let v1 = include_bytes!("../../journal/migrate/v1-in-monitor.json");
    fs::write(dir.disk.current(), v1).unwrap();
    let loaded = dir.disk.load();
    assert!(loaded.notes.is_empty() && !loaded.journal.services.is_empty());
    dir.disk.write(&loaded.journal).unwrap();
    dir.disk.write(&loaded.journal).unwrap();
    let kept = dir.dir.path().join("state/state.before-update.json");
    assert_eq!(fs::read(&kept).unwrap(), v1);
    assert_eq!(mode(&kept), 0o600);
    assert_eq!(dir.disk.load().journal, loaded.journal);
}

#[test]
fn a_failed_save_leaves_the_old_state_readable() {
    let dir = Dir::new();
    dir.disk.write(&sample(7)).unwrap();
    // A directory in the way of the temporary file: the same to us as a full disk.
    fs::create_dir(dir.dir.path().join("state/state.json.new")).unwrap();
    assert!(dir.disk.write(&sample(8)).is_err());
    assert_eq!(dir.disk.load().journal, sample(7));
}

#[test]
fn nobody_else_may_read_what_is_written_nor_what_an_older_version_left() {
    let dir = Dir::with_two();
    assert_eq!(mode(&dir.dir.path().join("state")), 0o700);
    for path in [dir.disk.current(), dir.disk.previous()] {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    }
    dir.disk.load();
    assert_eq!(mode(&dir.disk.current()), 0o600);
    assert_eq!(mode(&dir.disk.previous()), 0o600);
}

#[test]
fn a_journal_that_all_could_read_is_private_once_it_is_migrated_and_written_again() {
    let dir = Dir::with_two();
    let v1 = include_bytes!("../../journal/migrate/v1-in-monitor.json");
    let state = dir.dir.path().join("state");
    // The last one is what a crash in the middle of a write leaves.
    for path in [dir.disk.current(), dir.disk.previous(), state.join("state.json.new")] {
        fs::write(&path, v1).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    }
    let loaded = dir.disk.load();
    for _ in 0..2 {
        dir.disk.write(&loaded.journal).unwrap();
        for file in fs::read_dir(&state).unwrap() {
            let path = file.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
    assert_eq!(dir.disk.load().journal, loaded.journal);
}
