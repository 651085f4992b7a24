//! Files that were put into a container before its first start: Compose's `configs: content` and
//! `secrets: environment`, which are neither mounts nor anywhere in what `inspect` says.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cutover_api::FindingCode;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::notice::Notice;

/// One file, with what it holds.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct File {
    /// Where it is.
    pub path: String,
    /// Its permissions.
    pub mode: u32,
    /// Its owner.
    pub uid: u64,
    /// Its group.
    pub gid: u64,
    /// What is in it; base64 in the journal.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub content: Vec<u8>,
}

/// The files of a container.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    /// Those that a copy gets.
    pub found: Vec<File>,
    /// Those that it should get and does not, and why.
    pub lost: Vec<(String, String)>,
}

/// A file that was added to a container, as the engine's `stat` shows it.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Changed {
    /// Whether it is a regular file.
    pub regular: bool,
    /// When it was last written.
    pub modified: SystemTime,
    /// When the container was created.
    pub created: SystemTime,
}

impl Files {
    /// More than a config or a secret holds, in all.
    pub(in crate::engine) const LIMIT: usize = 256 * 1024;

    pub(super) fn notices(&self) -> Vec<Notice> {
        let notice = |(path, why): &(String, String)| {
            Notice::warning(
                FindingCode::FileNotCarried,
                format!("{path}, put into the container by Compose, is not carried over: {why}"),
                "mount it: `file:` in place of `content:` or `environment:`",
            )
        };
        self.lost.iter().map(notice).collect()
    }
}

/// Whether a file came out of an archive between its container's creation and start, as Compose and
/// `docker cp` do it: an archive has whole seconds, and a program that writes a file has not.
pub(in crate::engine) fn was_put_in(file: Changed) -> bool {
    let whole = file.modified.duration_since(UNIX_EPOCH).is_ok_and(|t| t.subsec_nanos() == 0);
    let window = file.created - SECOND..=file.created + SOON;
    file.regular && whole && window.contains(&file.modified)
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.path, self.content.len())
    }
}

fn to_base64<S: Serializer>(content: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&STANDARD.encode(content))
}

fn from_base64<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(from)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

const SECOND: Duration = Duration::from_secs(1);
/// From a container's creation until Compose has put its files in.
const SOON: Duration = Duration::from_secs(60);
