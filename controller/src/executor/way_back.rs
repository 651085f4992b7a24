//! The way back while a rollout is under way: `abort`, and `rollback` or `flip` to what served
//! before it. None of them needs the lock: they end the rollout that has it.

use std::time::Duration;

use cutover_api::{Aborted, Ending, Flipped, Kind, Line, Report, Target};
use cutover_proxy::table::ServiceName;
use cutover_rollout::{Event, Phase};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::prepare::{SOMEONE, now};
use super::request::Rollback;
use super::run::{Handle, Side, Standing};
use super::{Lines, Rollouts, begin_detached};
use crate::error::Error;
use crate::millis::millis;
use crate::registry::Logins;

impl Rollouts {
    /// Ends the rollout of a service: before its flip it is abandoned, after it the old color is
    /// made to serve again. Answers once the old color serves; draining and stopping what was new
    /// goes on.
    ///
    /// # Errors
    /// [`Error::NotFound`] where no rollout is under way or it has been reported already,
    /// [`Error::ProbeFailed`] where the old color has no container any more, and [`Error::Failed`]
    /// where it cannot be made to serve.
    ///
    /// # Cancel safety
    /// The rollout ends even if nobody waits for it.
    pub(crate) async fn abort(
        &self,
        service: &ServiceName,
        by: Option<&str>,
    ) -> Result<Aborted, Error> {
        self.begun().await;
        self.tools.known(service)?;
        let reason = format!("aborted by {}", by.unwrap_or(SOMEONE));
        if self.preparing.abort(service, &reason) {
            return Ok(self.aborted_unplanned(service));
        }
        let nothing = || Error::NotFound(format!("{service} has no rollout to abort"));
        let handle = self.under_way(service).ok_or_else(nothing)?;
        self.end(handle, service, &reason).await
    }

    /// Nothing of it had begun: what serves goes on.
    fn aborted_unplanned(&self, service: &ServiceName) -> Aborted {
        let controller = &self.tools.controller;
        let active = controller.state(|state| state.weights(service)).active();
        Aborted {
            service: service.clone(),
            revision: controller.service_state(service).members.last_revision() + 1,
            phase: Phase::Plan,
            result: Ending::Refused,
            serves: active,
            generation: controller.generation(),
        }
    }

    /// Makes a color serve by hand. Where that is the one which a rollout has just flipped away
    /// from, the rollout ends with it, as by [`Rollouts::abort`].
    ///
    /// # Errors
    /// As [`Rollouts::abort`], and those of a flip without a rollout.
    ///
    /// # Cancel safety
    /// Once begun it goes on to the end.
    pub(crate) async fn flip(
        &self,
        service: &ServiceName,
        to: Target,
        force: bool,
        by: Option<&str>,
    ) -> Result<Flipped, Error> {
        if self.tools.controller.state(|state| state.service(service).is_none()) {
            // Its containers have not been looked at yet, nor have rollouts been taken up.
            self.begun().await;
        }
        let handle = self.after_flip(service).filter(|(_, side)| Target::from(side.from) == to);
        let Some((handle, side)) = handle else {
            return self.tools.controller.flip(service, to, force).await;
        };
        let start = Instant::now();
        let reason = format!("flipped back by {}", by.unwrap_or(SOMEONE));
        let ended = self.end(handle, service, &reason).await?;
        let flip_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let (service, from) = (service.clone(), side.to.into());
        Ok(Flipped { service, from, to, generation: ended.generation, flip_us, probe_ms: 0 })
    }

    /// The rollout that a service's new color has been flipped to by and that can still be undone,
    /// with its colors.
    pub(super) fn after_flip(&self, service: &ServiceName) -> Option<(Handle, Side)> {
        let handle = self.under_way(service)?;
        let standing = handle.standing();
        let side = standing.side(service)?.clone();
        let flipped = matches!(standing.phase, Phase::Monitor | Phase::Drain);
        (flipped && !side.both).then_some((handle, side))
    }

    /// Ends a rollout and waits until what served before serves; one that has nothing left to go back
    /// to goes on.
    pub(super) async fn end(
        &self,
        mut handle: Handle,
        service: &ServiceName,
        reason: &str,
    ) -> Result<Aborted, Error> {
        let before = handle.standing();
        let side = before.side(service).cloned();
        let side = side.ok_or_else(|| Error::NotFound(format!("{service} has no rollout")))?;
        let flipped = matches!(before.phase, Phase::Monitor | Phase::Drain);
        if flipped && self.tools.is_empty(service, side.from) {
            let answer = "it has no container left to go back to".into();
            return Err(Error::ProbeFailed { service: service.clone(), color: side.from, answer });
        }
        handle.send(Event::Abort { reason: reason.to_owned() });
        let settled = timeout(SETTLED, handle.until(Standing::is_settled)).await;
        let standing = settled.ok().flatten().unwrap_or_else(|| handle.standing());
        if standing.is_past_return() {
            let message = format!("the rollout of {service} was done before it could be aborted");
            return Err(Error::NotFound(message));
        }
        let weights = self.tools.controller.state(|state| state.weights(service));
        if !weights.serves(side.from) {
            let why = format!("{service}: {} could not be made to serve again", side.from);
            return Err(Error::Failed(why));
        }
        Ok(Aborted {
            service: service.clone(),
            revision: side.revision,
            phase: before.phase,
            result: if standing.reverted { Ending::RolledBack } else { Ending::Refused },
            serves: weights.active(),
            generation: self.tools.controller.generation(),
        })
    }

    /// A rollback while a rollout can still be undone: that rollout ends, and with it what is asked
    /// for is done, but for a release other than the one that served before it.
    pub(super) fn roll_back_from(
        &self,
        handle: Handle,
        side: Side,
        asked: Rollback,
        logins: Logins,
    ) -> Lines {
        let (client, lines) = mpsc::unbounded_channel();
        let this = self.clone();
        begin_detached(client.clone(), async move {
            this.back_or_further(handle, side, asked, logins, client).await
        });
        lines
    }

    async fn back_or_further(
        &self,
        mut handle: Handle,
        side: Side,
        asked: Rollback,
        logins: Logins,
        client: mpsc::UnboundedSender<Line>,
    ) -> Result<(), Error> {
        let start = Instant::now();
        let service = side.service;
        let reason = format!("rolled back by {}", asked.by.as_deref().unwrap_or(SOMEONE));
        self.end(handle.clone(), &service, &reason).await?;
        let state = self.tools.controller.service_state(&service);
        let before = state.members.revision(side.from);
        if asked.revision.is_none_or(|wanted| before == Some(wanted)) {
            let revision = before.unwrap_or_default();
            let release = state.history().release(revision).cloned().unwrap_or_default();
            let colors = (side.to, side.from);
            let report = Report {
                image: release.image,
                digest: release.digest,
                at: now(),
                by: asked.by.unwrap_or_else(|| SOMEONE.into()),
                duration_ms: millis(start.elapsed()),
                ..Report::new(&service, revision, colors, Kind::Rollback, Ending::Done)
            };
            client.send(Line::Report(report)).ok();
            return Ok(());
        }
        handle.ended().await;
        let further = Box::pin(self.rollback(&service, asked, logins)).await;
        let mut lines = further?;
        while let Some(line) = lines.recv().await {
            client.send(line).ok();
        }
        Ok(())
    }

    /// The newest rollout of a service that can still be undone. One before it may still drain, for
    /// itself alone.
    pub(super) fn under_way(&self, service: &ServiceName) -> Option<Handle> {
        let handles = self.of(service).into_iter();
        let open = handles.filter_map(|handle| {
            let standing = handle.standing();
            let revision = standing.side(service)?.revision;
            (!standing.is_past_return() && !standing.yielded).then_some((revision, handle))
        });
        open.max_by_key(|(revision, _)| *revision).map(|(_, handle)| handle)
    }
}

impl Standing {
    /// Whether a service is one of its.
    pub(super) fn has(&self, service: &ServiceName) -> bool {
        self.side(service).is_some()
    }

    /// Whether the rollout has been reported as done: what remains is tidying.
    fn is_past_return(&self) -> bool {
        !self.reverted && matches!(self.phase, Phase::KeepWarm | Phase::Stop | Phase::Clean)
    }

    /// Whether it is known who serves in the end.
    fn is_settled(&self) -> bool {
        self.is_past_return()
            || matches!(self.phase, Phase::RevertDrain | Phase::Abandon | Phase::Ended)
    }
}

/// For the table that brings the old color back: the link's own deadline, a few times.
const SETTLED: Duration = Duration::from_secs(30);
