//! One writer of the journal: many changes, one write.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::error::Error;
use crate::state::journal::Journal;
use crate::state::store::{NotSaved, Store};

/// Has the journal written. Whoever asks while a write is under way waits for the next one, which
/// has the changes of all who asked until it began.
#[derive(Debug)]
pub(crate) struct Writer {
    store: Arc<dyn Store>,
    /// How many times somebody has asked.
    asked: watch::Sender<u64>,
    /// Up to which of them has been tried, and how that went.
    tried: watch::Sender<Tried>,
}

#[derive(Clone, Debug)]
struct Tried {
    asked: u64,
    outcome: Result<(), NotSaved>,
}

impl Writer {
    /// Writes to a store, once [`Writer::run`] runs.
    #[must_use]
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        let tried = Tried { asked: 0, outcome: Ok(()) };
        Self { store, asked: watch::Sender::new(0), tried: watch::Sender::new(tried) }
    }

    /// Has the journal written as it is now or later, and waits for nothing.
    pub(crate) fn save_soon(&self) {
        self.ask();
    }

    /// Has the journal written as it is now or later, and waits for it.
    ///
    /// # Errors
    /// [`Error::StateUnwritable`]; it is tried again by itself.
    ///
    /// # Cancel safety
    /// The write takes place even if nobody waits for it any more.
    pub(crate) async fn save(&self) -> Result<(), Error> {
        let asked = self.ask();
        let mut tried = self.tried.subscribe();
        match tried.wait_for(|tried| tried.asked >= asked).await {
            Ok(tried) => tried.outcome.clone().map_err(Error::from),
            Err(_) => Err(Error::Failed("the journal has no writer any more".into())),
        }
    }

    /// Writes whenever somebody has asked, and again after a failure. `journal` is what to write,
    /// `note` hears how each write went. Ends never.
    pub(crate) async fn run(
        &self,
        journal: impl Fn() -> Journal,
        note: impl Fn(Option<&NotSaved>),
    ) {
        let mut asked = self.asked.subscribe();
        loop {
            let (done, failed) = {
                let tried = self.tried.borrow();
                (tried.asked, tried.outcome.is_err())
            };
            let more = asked.wait_for(|asked| *asked > done);
            if failed {
                // Offered again by itself, for what is in memory alone must not stay there.
                timeout(AGAIN, more).await.map(drop).ok();
            } else if more.await.is_err() {
                return;
            }
            // Whoever has asked until here has made its change before.
            let asked = *self.asked.borrow();
            let outcome = self.store.save(journal()).await;
            note(outcome.as_ref().err());
            self.tried.send_replace(Tried { asked, outcome });
        }
    }

    fn ask(&self) -> u64 {
        let mut now = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            now = *asked;
        });
        now
    }
}

/// Before a write that failed is tried again, unless somebody asks.
const AGAIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use cutover_proxy::table::Generation;
    use futures_util::future::join_all;

    use super::*;
    use crate::state::store::Memory;

    struct Rig {
        writer: Arc<Writer>,
        memory: Memory,
        generation: Arc<AtomicU64>,
        notes: Arc<Mutex<Vec<bool>>>,
    }

    async fn until(met: impl Fn() -> bool) {
        let waiting = async {
            while !met() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), waiting).await.expect("it never came to be");
    }

    fn rig() -> Rig {
        let memory = Memory::default();
        let writer = Arc::new(Writer::new(Arc::new(memory.clone())));
        let generation = Arc::new(AtomicU64::new(0));
        let notes = Arc::new(Mutex::new(Vec::new()));
        let (running, now, heard) =
            (Arc::clone(&writer), Arc::clone(&generation), Arc::clone(&notes));
        tokio::spawn(async move {
            let journal = || {
                let mut journal = Journal::default();
                journal.generation = Generation(now.load(Ordering::Relaxed));
                journal
            };
            running.run(journal, |error| heard.lock().unwrap().push(error.is_none())).await;
        });
        Rig { writer, memory, generation, notes }
    }

    #[tokio::test]
    async fn many_changes_at_once_are_one_write_or_two() {
        let Rig { writer, memory, generation, .. } = rig();
        let saves = (0..100).map(|_| async {
            generation.fetch_add(1, Ordering::Relaxed);
            let now = generation.load(Ordering::Relaxed);
            writer.save().await.unwrap();
            assert!(memory.journal().generation.0 >= now, "answered before it was written");
        });
        join_all(saves).await;
        assert!(memory.saves() <= 2, "{} writes", memory.saves());
    }

    #[tokio::test]
    async fn a_write_that_failed_is_told_and_tried_again_by_itself() {
        let Rig { writer, memory, generation, notes } = rig();
        memory.fail(1);
        generation.store(7, Ordering::Relaxed);
        assert!(matches!(writer.save().await, Err(Error::StateUnwritable { .. })));
        assert_eq!(memory.journal().generation, Generation(0));
        until(|| memory.journal().generation == Generation(7)).await;
        until(|| *notes.lock().unwrap() == [false, true]).await;
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_written_all_the_same() {
        let Rig { writer, memory, generation, .. } = rig();
        generation.store(3, Ordering::Relaxed);
        writer.save_soon();
        until(|| memory.journal().generation == Generation(3)).await;
    }
}
