//! Carrying actions out: each is a task that answers with a note.

use std::time::Duration;

use cutover_api::Weights;
use cutover_proxy::table::ServiceName;
use cutover_rollout::{Action, Event, Phase, Set, Side};
use tokio::sync::mpsc;

use super::{Execution, Message};
use crate::executor::steps::StepError;
use crate::state::rollout::Part;

/// The shares of some services, as one table is to have them.
type Shares = Vec<(ServiceName, Weights)>;

impl Execution {
    pub(super) async fn carry_out(&mut self, action: Action) {
        match action {
            Action::Pull(service) => self.pull(service),
            Action::TakeOut(set) => self.take_out(set),
            Action::Create(set) => self.create(set).await,
            Action::Start(set) => self.start(set).await,
            Action::AwaitReady(set) => self.await_ready(set),
            Action::Flip { batch } => self.apply(&action, Phase::Flip, batch),
            Action::Revert { batch } => self.apply(&action, Phase::Revert, batch),
            Action::PutBack { batch } => self.apply(&action, Phase::PutBack, batch),
            Action::Watch(set) => self.watch(set),
            Action::AwaitDrained(set) => self.await_drained(set),
            Action::Stop { set, reason } => {
                self.ask(Phase::Stop, set, move |tools, part| async move {
                    tools.stop(&part.service, part.replaced(), reason).await
                })
            }
            Action::Clean(set) => {
                self.ask(Phase::Clean, set, |tools, part| async move { tools.clean(&part).await })
            }
            Action::Abandon { set, reason } => {
                let (send, service) = (self.send.clone(), set.service.clone());
                // What did not fail, where both colors are replaced, is not kept to be looked at.
                let failed = self.record.machine.undone_from() == Some(set.batch);
                self.ask(Phase::Abandon, set, move |tools, mut part| async move {
                    part.keep_failed &= failed;
                    let lines = tools.abandon(&part, reason).await?;
                    send.send(Message::Log(service, lines)).ok();
                    Ok(())
                });
            }
            Action::Report(verdict) => self.report(verdict).await,
        }
    }

    /// Has something done for the part of a set, and answers for it.
    fn ask<W>(
        &mut self,
        phase: Phase,
        set: Set,
        work: impl FnOnce(crate::executor::Tools, Part) -> W + Send + 'static,
    ) where
        W: Future<Output = Result<(), StepError>> + Send,
    {
        let Some(part) = self.record.part(&set).cloned() else { return };
        let (tools, send) = (self.tools.clone(), self.send.clone());
        self.tasks.spawn(async move {
            let done = Box::pin(work(tools, part)).await;
            answer(&send, phase, set, done);
        });
    }

    fn pull(&mut self, service: ServiceName) {
        let Some(part) = self.record.parts.iter().find(|part| part.service == service) else {
            return;
        };
        let set = part.set(Side::New);
        let (logins, progress, send) =
            (self.logins.clone(), self.progress.clone(), self.send.clone());
        self.ask(Phase::Pull, set, move |tools, part| async move {
            let image = tools.pull(&part, &logins, &progress).await?;
            send.send(Message::Pulled(service, image)).ok();
            Ok(())
        });
    }

    async fn create(&mut self, set: Set) {
        let Some(part) = self.record.part(&set).cloned() else { return };
        // What the color had steps aside before there is anything beside it.
        let aside = self.tools.enroll(&part, true).await;
        let (send, rollout) = (self.send.clone(), self.record.id.clone());
        self.ask(Phase::Create, set.clone(), move |tools, part| async move {
            aside?;
            for (replica, wanted) in part.replicas.iter().enumerate() {
                let (id, spec) = Box::pin(tools.create(&part, wanted, &rollout)).await?;
                let (set, id, spec) = (set.clone(), id.to_string(), Box::new(spec));
                send.send(Message::Created { set, replica, id, spec }).ok();
            }
            Ok(())
        });
    }

    async fn start(&mut self, set: Set) {
        let Some(part) = self.record.part(&set).cloned() else { return };
        let enrolled = self.tools.enroll(&part, true).await;
        self.ask(Phase::Start, set, |tools, part| async move {
            enrolled?;
            tools.start(&part).await
        });
    }

    fn await_ready(&mut self, set: Set) {
        let limit = Duration::from_millis(self.limits(&set.service).deploy_ms);
        let (progress, send) = (self.progress.clone(), self.send.clone());
        self.ask(Phase::Ready, set.clone(), move |tools, part| async move {
            let ready = tools.await_ready(&part, limit, &progress).await?;
            send.send(Message::Ready(set, ready)).ok();
            Ok(())
        });
    }

    /// The shares that an action makes live, where it is one that does.
    pub(super) fn shares_of(&self, action: &Action) -> Option<Shares> {
        let of_batch = |batch: usize, shares: fn(&Part) -> Option<Weights>| {
            let parts = self.record.batch(batch);
            let shares = parts.filter_map(|part| Some((part.service.clone(), shares(part)?)));
            Some(shares.collect())
        };
        match action {
            Action::Flip { batch } => of_batch(*batch, |part| {
                Some(part.both.unwrap_or_else(|| Weights::of(part.to.into())))
            }),
            Action::Revert { batch } => {
                of_batch(*batch, |part| Some(Weights::of(part.from.into())))
            }
            Action::PutBack { batch } => of_batch(*batch, |part| part.both),
            _ => None,
        }
    }

    /// Applies one table for all services of a batch.
    fn apply(&mut self, action: &Action, phase: Phase, batch: usize) {
        let Some(shares) = self.shares_of(action) else { return };
        let parts: Vec<Part> = self.record.batch(batch).cloned().collect();
        let drain = parts.first().map(|part| self.limits(&part.service).into());
        let sets: Vec<_> = parts.iter().map(|part| part.set(Side::New)).collect();
        let ready = sets.iter().filter_map(|set| self.ready.remove(set)).collect();
        let (tools, send) = (self.tools.clone(), self.send.clone());
        self.tasks.spawn(async move {
            #[cfg(test)]
            crate::panics::point(&tools.controller.point("a rollout"));
            let applied = match phase {
                Phase::Flip => tools.flip(&parts, ready, &shares, drain).await,
                _ => tools.bring_back(phase, &parts, &shares, drain).await,
            };
            let event = match applied {
                Ok(applied) => Event::Applied { phase, batch, generation: applied.generation },
                Err(error) => {
                    tools.controller.forget_intent(&shares);
                    let (reason, transient) = (error.reason, error.transient);
                    Event::NotApplied { phase, batch, reason, transient }
                }
            };
            send.send(Message::Event(event)).ok();
        });
    }
}

/// Tells the execution what became of an action; one that has ended needs no answer.
pub(super) fn answer(
    send: &mpsc::UnboundedSender<Message>,
    phase: Phase,
    set: Set,
    outcome: Result<(), StepError>,
) {
    let event = match outcome {
        Ok(()) => Event::Done { phase, set },
        Err(error) => {
            let (reason, transient) = (error.reason, error.transient);
            Event::Failed { phase, set, reason, transient }
        }
    };
    send.send(Message::Event(event)).ok();
}
