//! A store for tests and simulations, that fails when it is told to.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Loaded, NotSaved, Saving, Store};
use crate::state::journal::{Journal, codec};

/// Keeps the bytes of a journal in memory. Clones keep the same ones, so that they outlive a
/// controller that was ended.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    bytes: Option<Vec<u8>>,
    /// How many saves were begun.
    begun: u64,
    /// Which of them fail, counted from 1.
    fail: BTreeSet<u64>,
    /// Whether all of them fail.
    full: bool,
}

impl Memory {
    /// Lets the `n`th save fail, counted from 1 since the beginning.
    pub fn fail(&self, n: u64) {
        self.kept().fail.insert(n);
    }

    /// Lets every save fail from now on, as a full disk does, or none.
    pub fn set_full(&self, full: bool) {
        self.kept().full = full;
    }

    /// How many saves were begun so far.
    #[must_use]
    pub fn saves(&self) -> u64 {
        self.kept().begun
    }

    /// What a controller that starts now would find.
    #[must_use]
    pub fn journal(&self) -> Journal {
        self.load().journal
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn load(&self) -> Loaded {
        let kept = self.kept();
        match kept.bytes.as_deref().map(codec::decode) {
            None => Loaded::default(),
            Some(Ok(decoded)) => Loaded { journal: decoded.journal, notes: Vec::new() },
            Some(Err(error)) => Loaded { notes: vec![error.to_string()], ..Loaded::default() },
        }
    }

    fn save(&self, journal: Journal) -> Saving<'_> {
        Box::pin(async move {
            let failed =
                |error: io::Error| NotSaved { place: "memory".into(), source: error.into() };
            let bytes = codec::encode(&journal).map_err(failed)?;
            let mut kept = self.kept();
            kept.begun += 1;
            if kept.full || kept.fail.contains(&kept.begun) {
                return Err(failed(io::ErrorKind::StorageFull.into()));
            }
            kept.bytes = Some(bytes);
            Ok(())
        })
    }
}
