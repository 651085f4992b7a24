//! How the controller remembers: changes of the journal, and when they are on the disk.

use cutover_proxy::table::ServiceName;
use tracing::warn;

use crate::error::Error;
use crate::serving::controller::Controller;
use crate::state::events::EventKind;
use crate::state::journal::Journal;
use crate::state::service::ServiceState;

impl Controller {
    /// What the journal holds of a service: shares, pause, containers, history.
    #[must_use]
    pub fn service_state(&self, service: &ServiceName) -> ServiceState {
        self.state(|state| state.journal().services.get(service).cloned().unwrap_or_default())
    }

    /// Changes what the journal holds of a service, and waits until it is on the disk.
    ///
    /// For rollouts and their history. Shares and pauses are changed by flips.
    ///
    /// # Errors
    /// [`Error::StateUnwritable`]; the change holds in memory and goes out with the next write.
    pub async fn remember(
        &self,
        service: &ServiceName,
        change: impl FnOnce(&mut ServiceState),
    ) -> Result<(), Error> {
        self.remember_all(|journal| change(journal.service_mut(service)));
        self.save().await
    }

    /// Changes what the journal holds. It goes out with the next write, which the caller asks for:
    /// however many services a step changes, it is one.
    pub fn remember_all<T>(&self, change: impl FnOnce(&mut Journal) -> T) -> T {
        self.change_quietly(|state| change(state.journal_mut()))
    }

    /// Has the journal written, and waits for it. Many who ask at once share a write.
    ///
    /// # Errors
    /// [`Error::StateUnwritable`]; it is tried again by itself.
    ///
    /// # Cancel safety
    /// The write takes place even if nobody waits for it any more.
    pub(crate) async fn save(&self) -> Result<(), Error> {
        self.0.writer.save().await
    }

    /// Has the journal written in the background: for facts that a restart can find out again.
    pub(crate) fn save_soon(&self) {
        self.0.writer.save_soon();
    }

    /// Writes the journal whenever somebody asks.
    pub(super) async fn keep_journal(self) {
        let journal = || self.state(|state| state.journal().clone());
        let note = |error: Option<&crate::state::store::NotSaved>| {
            let error = error.cloned().map(|error| Error::from(error).to_string());
            let before = self.change_quietly(|state| state.journal_written(error.clone()));
            match error {
                Some(error) if before.is_none() => {
                    warn!(%error, "serving goes on, a restart will not know what is live");
                }
                _ => {}
            }
        };
        self.0.writer.run(journal, note).await;
    }

    /// Tells watchers what was found of the journal at the start.
    pub(super) fn tell_journal_notes(&self) {
        for message in self.state(|state| state.journal_notes().to_vec()) {
            self.0.events.send(EventKind::JournalSetAside { message });
        }
    }
}
