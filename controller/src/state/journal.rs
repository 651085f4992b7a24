//! What must survive a crash: which color serves, and what was about to change that.
//!
//! One small file, replaced whole: written beside, synced, renamed, the directory synced, and the
//! generation before it kept. A file that does not match its checksum is as good as none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cutover_proxy::table::{Color, Generation, Pause, ServiceName};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::error::Error;
use crate::state::roster::Roster;
use crate::state::weights::Weights;

/// Everything the journal holds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct State {
    /// Who we are among the edges of an engine: what we have made is marked with it.
    pub edge: String,
    /// The last table that is known to have been live.
    pub generation: Generation,
    /// By service; also of services that are not configured at present, for they may come back.
    pub services: BTreeMap<ServiceName, ServiceState>,
    /// Shares that were about to go live. Whether they did is unknown to a reader who finds this:
    /// the flip was decided and is finished at the next start.
    pub intent: Option<BTreeMap<ServiceName, Weights>>,
}

/// What is remembered of one service.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct ServiceState {
    /// The shares of the colors; `None` while nothing has decided them.
    pub weights: Option<Weights>,
    /// The colors that serve by force until their probes pass.
    pub forced: BTreeSet<Color>,
    /// Requests are held.
    pub pause: Option<Pause>,
    /// The rollout under way, in its own words.
    pub rollout: Option<serde_json::Value>,
    /// Which containers are of which color.
    pub roster: Roster,
    /// Reports of former rollouts, oldest first.
    pub history: Vec<serde_json::Value>,
}

impl State {
    /// Gives the edge a name that no other has, unless it has one.
    #[must_use]
    pub fn christened(mut self) -> Self {
        if self.edge.is_empty() {
            let random = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
            random.trim().clone_into(&mut self.edge);
        }
        self
    }

    /// Takes note of shares that are about to go live.
    pub fn intend(&mut self, changes: &[(ServiceName, Weights)]) {
        self.intent.get_or_insert_default().extend(changes.iter().cloned());
    }

    /// Whether these shares are noted as about to go live.
    #[must_use]
    pub fn intends(&self, changes: &[(ServiceName, Weights)]) -> bool {
        let noted = |(service, weights): &(ServiceName, Weights)| {
            self.intent.as_ref().is_some_and(|intent| intent.get(service) == Some(weights))
        };
        changes.iter().all(noted)
    }

    /// Forgets what was about to go live, of these services.
    pub fn forget_intent(&mut self, changes: &[(ServiceName, Weights)]) {
        if let Some(intent) = &mut self.intent {
            intent.retain(|service, _| !changes.iter().any(|(changed, _)| changed == service));
        }
        self.intent.take_if(|intent| intent.is_empty());
    }

    /// Carries a pending intent out, as a start after a crash does.
    pub fn settle(&mut self) {
        for (service, weights) in self.intent.take().into_iter().flatten() {
            self.services.entry(service).or_default().weights = Some(weights);
        }
    }
}

/// A file's content. What is no file, a pipe say, might keep the reader waiting for ever.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a file"));
    }
    fs::read(path)
}

/// Where the state is kept.
#[derive(Clone, Debug)]
pub struct Journal {
    dir: PathBuf,
}

impl Journal {
    /// Names the directory; touches nothing.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Reads the newest generation that is whole, or starts from nothing. It never fails: a torn,
    /// foreign or newer file is a warning, for an edge that does not start helps nobody.
    #[must_use]
    pub fn load(&self) -> State {
        for path in [self.current(), self.previous()] {
            match read(&path).map_err(Unreadable::Io).and_then(|bytes| decode(&bytes)) {
                Ok(state) => return state,
                Err(Unreadable::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => warn!(path = %path.display(), %error, "journal passed over"),
            }
        }
        State::default()
    }

    /// Makes `state` what the next [`Journal::load`] returns, through a crash at any instant.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    /// When the disk does not take it. The generation before is then still readable.
    pub fn save(&self, state: &State) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let temporary = self.dir.join("state.json.new");
        let mut file = File::create(&temporary)?;
        file.write_all(&encode(state)?)?;
        file.sync_all()?;
        // Between the two renames only the previous generation is there; the new one was not yet
        // promised to anybody.
        match fs::rename(self.current(), self.previous()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(&temporary, self.current())?;
        File::open(&self.dir)?.sync_all()
    }

    /// Saves, and says where the disk did not take it.
    ///
    /// # Errors
    /// [`Error::StateUnwritable`].
    pub fn keep(&self, state: &State) -> Result<(), Error> {
        let unwritable = |source| Error::StateUnwritable { dir: self.dir.clone(), source };
        self.save(state).map_err(unwritable)
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn current(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    fn previous(&self) -> PathBuf {
        self.dir.join("state.previous.json")
    }
}

/// Writes a state as a header line with the checksum, and JSON.
///
/// # Errors
/// When a value cannot be JSON, which no value of ours is.
pub fn encode(state: &State) -> io::Result<Vec<u8>> {
    let mut body = serde_json::to_vec_pretty(state)?;
    body.push(b'\n');
    let mut bytes = format!("{MAGIC}{VERSION} {:08x}\n", crc32fast::hash(&body)).into_bytes();
    bytes.append(&mut body);
    Ok(bytes)
}

/// Reads what [`encode`] wrote. Pure, and total: any bytes give a state or an error.
///
/// # Errors
/// When the bytes are not a journal of this version, whole.
pub fn decode(bytes: &[u8]) -> Result<State, Unreadable> {
    let line = bytes.iter().position(|&b| b == b'\n').ok_or(Unreadable::Foreign)?;
    let (header, body) = bytes.split_at_checked(line + 1).ok_or(Unreadable::Foreign)?;
    let header = std::str::from_utf8(header).map_err(|_| Unreadable::Foreign)?;
    let (version, sum) = header
        .strip_prefix(MAGIC)
        .and_then(|rest| rest.trim_end_matches('\n').split_once(' '))
        .ok_or(Unreadable::Foreign)?;
    if version != VERSION {
        return Err(Unreadable::Version(version.chars().take(16).collect()));
    }
    if sum != format!("{:08x}", crc32fast::hash(body)) {
        return Err(Unreadable::Torn);
    }
    serde_json::from_slice(body).map_err(Unreadable::Json)
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is not a journal.
    #[error("not a journal of Cutover")]
    Foreign,
    /// It cannot be read.
    #[error(transparent)]
    Io(io::Error),
    /// The checksum is right, the content is not.
    #[error("content: {0}")]
    Json(serde_json::Error),
    /// The checksum does not match.
    #[error("torn: the checksum does not match")]
    Torn,
    /// Written by another version.
    #[error("written in format {0:?}, this version reads {VERSION:?}")]
    Version(String),
}

const MAGIC: &str = "cutover-journal ";
const VERSION: &str = "1";

#[cfg(test)]
mod tests;
