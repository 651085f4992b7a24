//! Requests held on purpose.

use cutover_proxy::table::{Generation, Pause, ServiceName};

use crate::error::Error;
use crate::panics::detached;
use crate::serving::controller::Controller;
use crate::state::events::EventKind;

impl Controller {
    /// Holds the requests of a service until [`Controller::resume`].
    ///
    /// # Errors
    /// [`Error::UnknownService`], or when no proxy takes the table; then nothing has changed.
    pub async fn pause(&self, service: &ServiceName, pause: Pause) -> Result<Generation, Error> {
        let generation = self.set_pause(service, Some(pause)).await?;
        let (service, writes_only) = (service.clone(), pause.writes_only);
        self.0.events.send(EventKind::Paused { service, writes_only });
        Ok(generation)
    }

    /// Lets held requests go on.
    ///
    /// # Errors
    /// As [`Controller::pause`].
    pub async fn resume(&self, service: &ServiceName) -> Result<Generation, Error> {
        let generation = self.set_pause(service, None).await?;
        self.0.events.send(EventKind::Resumed { service: service.clone() });
        Ok(generation)
    }

    async fn set_pause(
        &self,
        service: &ServiceName,
        pause: Option<Pause>,
    ) -> Result<Generation, Error> {
        self.until_known(service).await;
        let (this, service) = (self.clone(), service.clone());
        detached(async move {
            let turn = this.0.turn.lock().await;
            this.shares(&service)?;
            let set = |pause| {
                this.change_quietly(|state| {
                    let state = state.journal_mut().service_mut(&service);
                    std::mem::replace(&mut state.pause, pause)
                })
            };
            let before = set(pause);
            match this.publish(None).await {
                Ok(applied) => {
                    drop(turn);
                    // A disk that does not take it says so in `status`, and is offered it again.
                    this.save().await.ok();
                    Ok(applied.generation)
                }
                Err(error) => {
                    set(before);
                    this.withdraw().await;
                    Err(error)
                }
            }
        })
        .await
    }
}
