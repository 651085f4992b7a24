//! Bytes of the journal: a header line with the version and a checksum, then JSON.

use std::io;

use super::{Journal, migrate};

/// Writes a journal in the newest version.
///
/// # Errors
/// When a value cannot be JSON, which no value of ours is.
pub fn encode(journal: &Journal) -> io::Result<Vec<u8>> {
    let mut body = serde_json::to_vec_pretty(journal)?;
    body.push(b'\n');
    let mut bytes = format!("{MAGIC}{VERSION} {:08x}\n", crc32fast::hash(&body)).into_bytes();
    bytes.append(&mut body);
    Ok(bytes)
}

/// Reads what [`encode`] of this or of an older version wrote. Pure, and total: any bytes give a
/// journal or an error.
///
/// # Errors
/// When the bytes are not a whole journal of a version that is known.
pub fn decode(bytes: &[u8]) -> Result<Decoded, Unreadable> {
    let line = bytes.iter().position(|&b| b == b'\n').ok_or(Unreadable::Foreign)?;
    let (header, body) = bytes.split_at_checked(line + 1).ok_or(Unreadable::Foreign)?;
    let header = std::str::from_utf8(header).map_err(|_| Unreadable::Foreign)?;
    let (version, sum) = header
        .strip_prefix(MAGIC)
        .and_then(|rest| rest.trim_end_matches('\n').split_once(' '))
        .ok_or(Unreadable::Foreign)?;
    if ![VERSION, migrate::V1].contains(&version) {
        return Err(Unreadable::Version(version.chars().take(16).collect()));
    }
    if sum != format!("{:08x}", crc32fast::hash(body)) {
        return Err(Unreadable::Torn);
    }
    let journal = match version {
        migrate::V1 => migrate::from_v1(serde_json::from_slice(body).map_err(Unreadable::Json)?),
        _ => serde_json::from_slice(body).map_err(Unreadable::Json)?,
    };
    Ok(Decoded { journal, migrated: version != VERSION })
}

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The journal, in today's form.
    pub journal: Journal,
    /// Whether an older version wrote it.
    pub migrated: bool,
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is not a journal.
    #[error("not a journal of Cutover")]
    Foreign,
    /// It cannot be read from the disk.
    #[error(transparent)]
    Io(io::Error),
    /// The checksum is right, the content is not.
    #[error("content: {0}")]
    Json(serde_json::Error),
    /// The checksum does not match.
    #[error("torn: the checksum does not match")]
    Torn,
    /// A newer Cutover wrote it.
    #[error("written in format {0:?}, this version reads up to {VERSION:?}")]
    Version(String),
}

const MAGIC: &str = "cutover-journal ";
const VERSION: &str = "2";
