//! Watches the config file and reads it again when it really has changed.
//!
//! The directory is watched, never the inode: editors, `mv` and Kubernetes replace the file. Every
//! directory on the way through symbolic links is watched too, and found anew after each change.
//! Where the kernel says nothing (a file mounted alone, a queue that overflowed) a look every two
//! seconds finds the change.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::config::file::read;
use crate::config::{Config, DEFAULT_PATH, Report};

/// How often to look without having been told.
const LOOK: Duration = Duration::from_secs(2);
/// What is read must stay so for this long: a file is often written in pieces.
const SETTLE: Duration = Duration::from_millis(250);
/// How long a file may be missing while an editor replaces it.
const REPLACING: Duration = Duration::from_secs(1);
/// Symbolic links followed before they are taken for a circle.
const MAX_HOPS: usize = 32;

/// The config file, under watch.
#[derive(Debug)]
pub(crate) struct Reload {
    path: PathBuf,
    /// What the file said when it was last taken or refused.
    known: Content,
    /// Whether the last config that was taken has services.
    serves: bool,
    told: Arc<Notify>,
    /// `None` where the kernel refuses: looking is enough then.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    /// Where the last valid text is kept.
    kept: Option<PathBuf>,
}

impl Reload {
    /// Watches a file, or the default one, from now on. `text` is what it said when the running
    /// config was read, `None` where there was no file; `serves`, whether that config has services.
    #[must_use]
    pub(crate) fn watch(path: Option<&Path>, text: Option<String>, serves: bool) -> Self {
        let path = path.unwrap_or_else(|| Path::new(DEFAULT_PATH));
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let told = Arc::new(Notify::new());
        let teller = Arc::clone(&told);
        // Whatever it was, the content decides.
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own look opens the file, and would call for the next look, for ever.
            let opened = |event: &notify::Event| {
                matches!(event.kind, EventKind::Access(AccessKind::Open(_) | AccessKind::Read))
            };
            if !event.as_ref().is_ok_and(opened) {
                teller.notify_one();
            }
        });
        let watcher = match watcher {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "no change notices from the kernel: the config is looked at every {LOOK:?}");
                None
            }
        };
        let known = text.map_or(Content::Missing, Content::Text);
        let watched = BTreeSet::new();
        let mut reload = Self { path, known, serves, told, watcher, watched, kept: None };
        reload.watch_directories();
        reload
    }

    /// Keeps a copy of every valid config from now on, for a restart while the file is broken.
    pub(crate) fn keep_at(&mut self, path: PathBuf) {
        if let Content::Text(text) = &self.known {
            keep(&path, text);
        }
        self.kept = Some(path);
    }

    /// The next config, or what is wrong with it, each once.
    ///
    /// # Cancel safety
    /// Nothing is lost: what was not given is found again.
    pub(crate) async fn next(&mut self) -> Result<Config, Report> {
        loop {
            // Told or not, it is time to look.
            timeout(LOOK, self.told.notified()).await.ok();
            self.watch_directories();
            let content = self.settled().await;
            if content == self.known {
                continue;
            }
            self.known = content.clone();
            return match content {
                Content::Text(text) => {
                    let config = Config::parse_again(&self.path, &text, self.serves)?;
                    self.serves = !config.services.is_empty();
                    if let Some(path) = &self.kept {
                        keep(path, &text);
                    }
                    Ok(config)
                }
                Content::Missing => {
                    let error = io::Error::new(io::ErrorKind::NotFound, "the file has gone");
                    Err(Report::unreadable(&self.path, &error))
                }
                Content::Unreadable(kind) => Err(Report::unreadable(&self.path, &kind.into())),
            };
        }
    }

    /// The content once it has stopped changing.
    async fn settled(&self) -> Content {
        let mut content = self.content().await;
        loop {
            if content == self.known {
                return content;
            }
            sleep(if content == Content::Missing { REPLACING } else { SETTLE }).await;
            let now = self.content().await;
            if now == content {
                return content;
            }
            content = now;
        }
    }

    async fn content(&self) -> Content {
        let path = self.path.clone();
        match tokio::task::spawn_blocking(move || read(&path)).await {
            Ok(Ok(text)) => Content::Text(text),
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Content::Missing,
            Ok(Err(error)) => Content::Unreadable(error.kind()),
            Err(_) => Content::Unreadable(io::ErrorKind::Other),
        }
    }

    fn watch_directories(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let wanted = directories(&self.path);
        for gone in self.watched.difference(&wanted) {
            // The directory may not be there any more, and the kernel has forgotten it by itself.
            watcher.unwatch(gone).ok();
        }
        // A directory that is replaced under its own name is seen by the next look only.
        let mut watched = BTreeSet::new();
        for directory in wanted {
            let known = self.watched.contains(&directory);
            if known || watcher.watch(&directory, RecursiveMode::NonRecursive).is_ok() {
                watched.insert(directory);
            }
        }
        self.watched = watched;
    }
}

/// What a look found.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Content {
    Missing,
    Text(String),
    Unreadable(io::ErrorKind),
}

/// Best effort: without it, only a crash while the file is broken has nothing to go back to.
fn keep(path: &Path, text: &str) {
    let new = path.with_extension("new");
    let write = || {
        if let Some(directory) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        // One that was left by an older version may be open to everybody.
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    if let Err(error) = write() {
        tracing::debug!(path = %path.display(), %error, "the config is not kept");
    }
}

/// The directory of the file, and that of everything it points to.
fn directories(path: &Path) -> BTreeSet<PathBuf> {
    let mut directories = BTreeSet::new();
    let mut path = path.to_owned();
    for _ in 0..MAX_HOPS {
        let Some(parent) = path.parent() else { break };
        // A directory of the path may be a link too (`..data` of Kubernetes): its own parent shows
        // when it is swapped.
        if let Ok(target) = fs::read_link(parent) {
            directories.extend(parent.parent().map(Path::to_owned));
            directories.extend(parent.parent().map(|above| above.join(target)));
        }
        directories.insert(parent.to_owned());
        match fs::read_link(&path) {
            Ok(target) => path = parent.join(target),
            Err(_) => break,
        }
    }
    directories
}

/// Whether the file was mounted by itself: then a replaced file is never seen, for the mount shows
/// the old inode for ever.
#[must_use]
pub(crate) fn is_pinned(path: &Path) -> bool {
    let Ok(path) = fs::canonicalize(path) else {
        return false;
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    pinned_by(&mounts, &path)
}

/// proc(5): the fifth field of a line is the mount point, with octal escapes.
fn pinned_by(mounts: &str, path: &Path) -> bool {
    let escaped = path.to_string_lossy().replace('\\', "\\134").replace(' ', "\\040");
    mounts.lines().filter_map(|line| line.split(' ').nth(4)).any(|point| point == escaped)
}

#[cfg(test)]
mod tests;
