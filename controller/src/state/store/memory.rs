//! A store for tests and simulations, that fails when it is told to.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Loaded, NotSaved, Saving, Store};
use crate::state::journal::{Journal, codec};
use crate::testing::crash_points::CrashPoints;

/// Keeps a journal in memory; what is read is what its bytes say. Clones keep the same one, so that it
/// outlives a controller that was ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    kept: Arc<Mutex<Kept>>,
    points: CrashPoints,
}

#[derive(Debug, Default)]
struct Kept {
    journal: Option<Journal>,
    /// How many saves were begun.
    begun: u64,
    /// Which of them fail, counted from 1.
    fail: BTreeSet<u64>,
    /// Whether all of them fail.
    full: bool,
}

impl Memory {
    /// Keeps nothing yet; the controller can be ended before and after each save.
    #[must_use]
    pub(crate) fn new(points: CrashPoints) -> Self {
        Self { kept: Arc::default(), points }
    }

    /// Lets the `n`th save fail, counted from 1 since the beginning.
    pub(crate) fn fail(&self, n: u64) {
        self.kept().fail.insert(n);
    }

    /// Lets every save fail from now on, as a full disk does, or none.
    pub(crate) fn set_full(&self, full: bool) {
        self.kept().full = full;
    }

    /// Lets every save succeed from now on.
    pub(crate) fn mend(&self) {
        let mut kept = self.kept();
        kept.full = false;
        kept.fail.clear();
    }

    /// How many saves were begun so far.
    #[must_use]
    pub(crate) fn saves(&self) -> u64 {
        self.kept().begun
    }

    /// What a controller that starts now would find.
    #[must_use]
    pub(crate) fn journal(&self) -> Journal {
        self.load().journal
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn keep(&mut self, journal: Journal) -> io::Result<()> {
        self.begun += 1;
        if self.full || self.fail.contains(&self.begun) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.journal = Some(journal);
        Ok(())
    }
}

impl Store for Memory {
    fn load(&self) -> Loaded {
        let kept = self.kept();
        let Some(journal) = &kept.journal else { return Loaded::default() };
        let bytes = codec::encode(journal).unwrap();
        match codec::decode(&bytes) {
            Ok(decoded) => Loaded { journal: decoded.journal, notes: Vec::new() },
            Err(error) => Loaded { notes: vec![error.to_string()], ..Loaded::default() },
        }
    }

    fn save(&self, journal: Journal) -> Saving<'_> {
        Box::pin(async move {
            let failed =
                |error: io::Error| NotSaved { place: "memory".into(), source: error.into() };
            self.points.point("before a save").await;
            let kept = self.kept().keep(journal).map_err(failed);
            self.points.point("after a save").await;
            kept
        })
    }
}

#[cfg(test)]
mod tests {
    use cutover_proxy::table::Generation;
    use futures_util::FutureExt;

    use super::*;

    fn journal(generation: u64) -> Journal {
        let mut journal = Journal::default();
        journal.generation = Generation(generation);
        journal
    }

    #[test]
    fn a_crash_before_a_save_keeps_the_old_journal_and_one_after_it_the_new() {
        for (place, kept) in [(3, 7), (4, 8)] {
            let points = CrashPoints::default();
            let memory = Memory::new(points.clone());
            memory.save(journal(7)).now_or_never().expect("memory does not wait").unwrap();
            points.stop_at(place);
            assert!(memory.save(journal(8)).now_or_never().is_none(), "{place}");
            assert_eq!(memory.journal(), journal(kept), "{place}");
        }
    }

    #[test]
    fn a_full_memory_keeps_the_old_journal_until_there_is_room() {
        let memory = Memory::default();
        memory.save(journal(7)).now_or_never().unwrap().unwrap();
        memory.set_full(true);
        assert!(memory.save(journal(8)).now_or_never().unwrap().is_err());
        assert_eq!(memory.journal(), journal(7));
        memory.set_full(false);
        memory.save(journal(8)).now_or_never().unwrap().unwrap();
        assert_eq!(memory.journal(), journal(8));
    }
}
