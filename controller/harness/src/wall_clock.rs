//! A wall clock that a test can move.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

/// The wall clock of a Cutover that was started by [`WallClock::script`]; no other clock moves.
#[derive(Debug)]
pub struct WallClock {
    file: fs::File,
    directory: tempfile::TempDir,
}

impl WallClock {
    /// Builds what is preloaded, with the C compiler that links Rust programs too.
    ///
    /// # Panics
    /// Where there is none.
    #[must_use]
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wall_clock.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-o"]).arg(directory.path().join("wall_clock.so")).arg(source);
        assert!(cc.arg("-ldl").status().unwrap().success());
        let file = fs::File::create(directory.path().join("shift")).unwrap();
        let clock = Self { file, directory };
        clock.shift(0);
        clock
    }

    /// For `StaticEdge::start_as`.
    #[must_use]
    pub fn script(&self) -> String {
        let root = self.directory.path().display();
        format!("LD_PRELOAD={root}/wall_clock.so WALL_CLOCK={root}/shift exec \"$@\"")
    }

    /// Moves it to so many seconds from the true time.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn shift(&self, seconds: i64) {
        self.file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new()
    }
}
