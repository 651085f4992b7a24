//! From a request to a rollout that runs: everything is checked before anything is changed.

use std::time::Duration;

use cutover_api::{Ending, Kind, Line, Report, RolloutEvent, Target, Weights};
use cutover_proxy::table::{Color, ServiceName};
use cutover_rollout::{Event, Phase};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::warn;

use super::plan::{self, Plan};
use super::prepare::{SOMEONE, now};
use super::progress::Progress;
use super::request::{Deploy, Rollback};
use super::run::Standing;
use super::{Rollouts, Tools};
use crate::error::Error;
use crate::registry::Logins;
use crate::state::history::Release;
use crate::state::locks::RolloutLock;
use crate::state::rollout::{Part, Record};

/// What a rollout begins with, beside its plan.
pub(super) struct Beginning {
    /// Of all its services.
    pub lock: RolloutLock,
    /// The caller's.
    pub logins: Logins,
    /// Who reads along.
    pub client: mpsc::UnboundedSender<Line>,
}

/// What is to be rolled out.
struct Wanted {
    services: Vec<ServiceName>,
    deploy: Deploy,
    /// The release of the history that it is.
    release: Option<Release>,
}

impl Wanted {
    fn kind(&self) -> Kind {
        match self.release {
            Some(_) => Kind::Rollback,
            None => Kind::Deploy,
        }
    }

    /// The whole plan, its images looked for. Changes nothing.
    async fn draw(&self, tools: &Tools, logins: &Logins) -> Result<Plan, Error> {
        let mut plan = plan::draw(tools, &self.services, &self.deploy).await?;
        if let Some(release) = &self.release {
            plan.recall(release);
        }
        plan.check_images(tools, logins).await?;
        Ok(plan)
    }
}

impl Rollouts {
    /// Begins a deploy, or reports why not.
    pub(super) async fn begin(
        &self,
        services: Vec<ServiceName>,
        deploy: Deploy,
        with: Beginning,
    ) -> Result<(), Error> {
        self.begin_as(Wanted { services, deploy, release: None }, with).await
    }

    /// Begins a rollback to a release of the history, or reports why not.
    pub(super) async fn begin_again(
        &self,
        service: ServiceName,
        release: Release,
        asked: Rollback,
        with: Beginning,
    ) -> Result<(), Error> {
        let deploy = Deploy {
            image: Some(release.image.clone()),
            by: asked.by,
            monitor_ms: Some(asked.monitor_ms),
            ..Deploy::default()
        };
        self.begin_as(Wanted { services: vec![service], deploy, release: Some(release) }, with)
            .await
    }

    async fn begin_as(&self, wanted: Wanted, with: Beginning) -> Result<(), Error> {
        let progress = Progress::new(self.tools.controller.clone(), Some(with.client.clone()));
        for service in &wanted.services {
            let (service, phase) = (service.clone(), Phase::Plan);
            progress.say(RolloutEvent::Phase { service, phase });
        }
        let mut preparation = self.preparing.enter(&wanted.services);
        self.tools.can_begin().await?;
        let plan = tokio::select! {
            biased;
            reason = preparation.aborted() => {
                self.tools.refuse_unplanned(&wanted, &reason, &progress);
                return Ok(());
            }
            plan = self.cleared(&wanted, &with.logins, &progress) => plan?,
        };
        let Some(plan) = plan else { return Ok(()) };
        for (part, _) in &plan.parts {
            self.tools.take_share_of_nothing(part).await?;
            self.tools.remember_found(part).await?;
        }
        let record = Tools::record(plan, &wanted.deploy, wanted.kind());
        self.run_with(record, with);
        let late = preparation.aborted_late();
        if let (Some(reason), Some(service)) = (late, wanted.services.first())
            && let Some(handle) = self.under_way(service)
        {
            handle.send(Event::Abort { reason });
        }
        Ok(())
    }

    /// A plan that can be carried out, with the warm colors out of its way. `None` was refused and
    /// reported, and nothing has been changed.
    async fn cleared(
        &self,
        wanted: &Wanted,
        logins: &Logins,
        progress: &Progress,
    ) -> Result<Option<Plan>, Error> {
        let refuse = |plan: &Plan, reason: &str| {
            self.tools.refuse(plan, &wanted.deploy, wanted.kind(), reason, progress);
            Ok(None)
        };
        for _ in 1..TRIES {
            let plan = wanted.draw(&self.tools, logins).await?;
            if let Some(blocker) = plan.blockers.first() {
                return refuse(&plan, &blocker.reason());
            }
            self.make_room(&wanted.services).await;
            if plan.still_holds(&self.tools).await? {
                return Ok(Some(plan));
            }
        }
        let plan = wanted.draw(&self.tools, logins).await?;
        refuse(&plan, "its containers, or which of them serve, change all the time: try again")
    }

    fn run_with(&self, record: Record, with: Beginning) {
        self.run(record, with.lock, with.logins, Event::Begin, with.client);
    }

    /// Has warm colors stopped that are in the way. What still drains goes on beside.
    pub(super) async fn make_room(&self, services: &[ServiceName]) {
        for service in services {
            for mut handle in self.of(service) {
                handle.send(Event::Supersede);
                let gone = |standing: &Standing| standing.yielded || standing.phase == Phase::Ended;
                if timeout(ROOM, handle.until(gone)).await.is_err() {
                    warn!(%service, "the warm color is still there");
                }
            }
            self.tools.remove_abandoned(service).await;
        }
    }
}

impl Tools {
    /// Of two colors with a share one may have nothing that runs, and is taken for idle then: a
    /// candidate of it must not get requests before its flip.
    async fn take_share_of_nothing(&self, part: &Part) -> Result<(), Error> {
        let active = self.controller.state(|state| state.weights(&part.service)).active();
        if active == Target::Both && part.both.is_none() {
            let alone = [(part.service.clone(), Weights::of(part.from.into()))];
            self.controller.set_weights(&alone, None).await?;
        }
        Ok(())
    }

    /// Reports what was ended before there was a plan.
    fn refuse_unplanned(&self, wanted: &Wanted, reason: &str, progress: &Progress) {
        for service in &wanted.services {
            let active = self.controller.state(|state| state.weights(service)).active();
            let from = active.colors().first().copied().unwrap_or(Color::Blue);
            let revision = self.controller.service_state(service).members.last_revision() + 1;
            let colors = (from, from.other());
            let report = Report {
                reason: Some(reason.to_owned()),
                image: wanted.deploy.image.clone().unwrap_or_default(),
                at: now(),
                by: wanted.deploy.by.clone().unwrap_or_else(|| SOMEONE.into()),
                ..Report::new(service, revision, colors, wanted.kind(), Ending::Refused)
            };
            self.controller.count_rollout(service, report.result);
            progress.send(Line::Report(report));
        }
    }
}

/// For a warm color to be stopped: its own grace and Docker's time.
const ROOM: Duration = Duration::from_secs(90);
/// How often a plan is drawn while its services change.
const TRIES: u8 = 4;
