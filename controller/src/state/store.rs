//! Where the journal is kept.

mod disk;
#[cfg(test)]
mod memory;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

pub use self::disk::Disk;
#[cfg(test)]
pub(crate) use self::memory::Memory;
use crate::error::Error;
use crate::state::journal::Journal;

/// Keeps one journal: the last that was saved, whatever happens in between.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Reads the newest generation that is whole, or starts from nothing. It never fails, for an
    /// edge that does not start helps nobody; what cannot be read is set aside and said.
    fn load(&self) -> Loaded;

    /// Keeps a journal in place of the one before.
    fn save(&self, journal: Journal) -> Saving<'_>;
}

/// A save under way.
///
/// # Cancel safety
/// One that is dropped may or may not take place; what is kept is the old or the new journal.
pub type Saving<'s> = Pin<Box<dyn Future<Output = Result<(), NotSaved>> + Send + 's>>;

/// What a store held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// The journal.
    pub journal: Journal,
    /// What people should know of what was found: what was set aside, where, and why.
    pub notes: Vec<String>,
}

/// A journal was not kept. The one before can still be read.
#[derive(Clone, Debug)]
pub struct NotSaved {
    /// Where it would have been.
    pub place: String,
    /// What went wrong.
    pub source: Arc<io::Error>,
}

impl From<NotSaved> for Error {
    fn from(NotSaved { place, source }: NotSaved) -> Self {
        Self::StateUnwritable { place, source }
    }
}
