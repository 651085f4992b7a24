//! The journal on a disk: one small file, replaced whole.
//!
//! It is written beside, synced, renamed, and the directory synced; the generation before it is
//! kept. Both hold every container's environment, so nobody else may read them. One that cannot be
//! read is set aside under another name and never overwritten: a newer version may have written it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::task::spawn_blocking;
use tracing::warn;

use super::{Loaded, NotSaved, Saving, Store};
use crate::state::journal::Journal;
use crate::state::journal::codec::{self, Decoded, Unreadable};

/// A directory that holds the journal.
#[derive(Clone, Debug)]
pub struct Disk {
    dir: PathBuf,
    /// Whether something that could not be read could not be set aside either.
    obstructed: Arc<AtomicBool>,
}

impl Disk {
    /// Names the directory; touches nothing.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, obstructed: Arc::default() }
    }

    /// Blocks on the disk.
    fn write(&self, journal: &Journal) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let bytes = codec::encode(journal)?;
        let temporary = self.dir.join("state.json.new");
        let mut file = create_private(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        if self.obstructed.load(Ordering::Relaxed) {
            self.clear_the_way()?;
        }
        // Between the two renames only the previous generation is there; the new one was not yet
        // promised to anybody.
        match fs::rename(self.current(), self.previous()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(&temporary, self.current())?;
        File::open(&self.dir)?.sync_all()
    }

    /// Tries again to set aside what could not be read at the start; nothing is written over it.
    fn clear_the_way(&self) -> io::Result<()> {
        for path in [self.current(), self.previous()] {
            if let Some(Err(why)) = read(&path) {
                self.set_aside(&path).map_err(|error| {
                    let path = path.display();
                    let text = format!("{path} cannot be read ({why}) nor set aside: {error}");
                    io::Error::new(error.kind(), text)
                })?;
            }
        }
        self.obstructed.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Gives a file a name that no journal has. Gives the new name.
    fn set_aside(&self, path: &Path) -> io::Result<PathBuf> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let kind = if path == self.previous() { ".previous" } else { "" };
        let names = (now..).map(|at| self.dir.join(format!("state.unreadable-{at}{kind}.json")));
        let free = |name: &PathBuf| fs::symlink_metadata(name).is_err();
        let aside = names.take(1000).find(free).ok_or(io::ErrorKind::AlreadyExists)?;
        fs::rename(path, &aside)?;
        Ok(aside)
    }

    /// Keeps what an older version wrote, for a way back to that version.
    fn keep_older(&self, path: &Path) -> io::Result<PathBuf> {
        let kept = self.dir.join("state.before-update.json");
        let mut file = create_private(&kept)?;
        file.write_all(&fs::read(path)?)?;
        file.sync_all()?;
        Ok(kept)
    }

    fn current(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    fn previous(&self) -> PathBuf {
        self.dir.join("state.previous.json")
    }
}

impl Store for Disk {
    fn load(&self) -> Loaded {
        let mut loaded = Loaded::default();
        let mut found = false;
        for path in [self.current(), self.previous()] {
            match read(&path) {
                None => continue,
                // Both are looked at: an unreadable one behind a good one would be overwritten next.
                Some(Ok(_)) if found => {}
                Some(Ok(Decoded { journal, migrated })) => {
                    found = true;
                    loaded.journal = journal;
                    if migrated && let Err(error) = self.keep_older(&path) {
                        warn!(path = %path.display(), %error, "no copy of the older format is kept");
                    }
                }
                Some(Err(error)) => {
                    let aside = self.set_aside(&path);
                    let what = match &aside {
                        Ok(aside) => format!("kept as {}", aside.display()),
                        Err(error) => format!("it cannot be set aside: {error}"),
                    };
                    let note = format!("{} cannot be read: {error}; {what}", path.display());
                    warn!("{note}");
                    loaded.notes.push(note);
                    match aside {
                        Ok(aside) => keep_private(&aside),
                        Err(_) => self.obstructed.store(true, Ordering::Relaxed),
                    }
                    continue;
                }
            }
            keep_private(&path);
        }
        loaded
    }

    fn save(&self, journal: Journal) -> Saving<'_> {
        Box::pin(async move {
            let this = self.clone();
            let written = spawn_blocking(move || this.write(&journal)).await;
            let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
            let place = || self.dir.display().to_string();
            written.map_err(|error| NotSaved { place: place(), source: error.into() })
        })
    }
}

/// What a file holds; `None` is no file at all.
fn read(path: &Path) -> Option<Result<Decoded, Unreadable>> {
    let bytes = match fs::symlink_metadata(path).and_then(|_| fs::metadata(path)) {
        // What is no file, a pipe say, might keep the reader waiting for ever.
        Ok(found) if !found.is_file() => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "not a file"))
        }
        Ok(_) => fs::read(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => Err(error),
    };
    Some(bytes.map_err(Unreadable::Io).and_then(|bytes| codec::decode(&bytes)))
}

/// Begins a file that only we may read.
fn create_private(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // One of an older version may be there already.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Takes a file that an older version left to everybody from them.
fn keep_private(path: &Path) {
    // Not what a link leads to: that is not ours.
    let open = |found: fs::Metadata| found.is_file() && found.permissions().mode() & 0o077 != 0;
    if fs::symlink_metadata(path).is_ok_and(open)
        && let Err(error) = fs::set_permissions(path, Permissions::from_mode(0o600))
    {
        warn!(path = %path.display(), %error, "others may read it");
    }
}

#[cfg(test)]
mod tests;
