//! Releases that come by themselves: Compose starts one beside the other, and it is flipped to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover_api::{Kind, Target};
use cutover_proxy::table::{Color, ServiceName};
use cutover_rollout::{Event, Millis, Origin, Rollout, RolloutService, Strategy};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::Rollouts;
use super::plan::Inventory;
use super::prepare;
use super::request::{Deploy, limits_of};
use crate::config::OnFailure;
use crate::config::labels::COMPOSE_PROJECT;
use crate::engine::Container;
use crate::error::Error;
use crate::registry::Logins;
use crate::state::State;
use crate::state::lock_owner::LockOwner;
use crate::state::rollout::{Found, Part, Replica};

/// A color that does not serve and could.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Newcomer {
    service: ServiceName,
    from: Color,
    to: Color,
    ids: BTreeSet<String>,
}

/// A newcomer that is ready.
struct Candidate {
    ids: BTreeSet<String>,
    since: Instant,
    /// There is nothing more to be done about it.
    tried: bool,
}

impl Candidate {
    fn new(newcomer: &Newcomer) -> Self {
        Self { ids: newcomer.ids.clone(), since: Instant::now(), tried: false }
    }
}

impl Rollouts {
    /// Flips to what becomes ready, wherever `cutover.rollout.auto` is true. Looks when something has
    /// happened, or a candidate has been ready for long enough.
    pub(super) async fn watch_for_newcomers(self) {
        self.begun().await;
        let (_, mut events) = self.tools.controller.events().watch(0);
        let mut unlocked = self.tools.controller.locks().releases();
        let mut candidates: BTreeMap<ServiceName, Candidate> = BTreeMap::new();
        loop {
            unlocked.borrow_and_update();
            self.note_who_serves().await;
            let newcomers = self.tools.controller.state(newcomers);
            candidates.retain(|service, candidate| {
                newcomers.iter().any(|(n, _)| n.service == *service && n.ids == candidate.ids)
            });
            let next = self.take_in_the_due(newcomers, &mut candidates).await;
            let due = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // Those that came too fast to be read are changes, too.
                happened = events.recv() => if matches!(happened, Err(RecvError::Closed)) { return },
                released = unlocked.changed() => if released.is_err() { return },
                () = due => {}
            }
        }
    }

    /// Flips to the candidates that have been ready for long enough. Says when the next one will be.
    async fn take_in_the_due(
        &self,
        newcomers: Vec<(Newcomer, Duration)>,
        candidates: &mut BTreeMap<ServiceName, Candidate>,
    ) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for (newcomer, min_ready) in newcomers {
            let service = newcomer.service.clone();
            let seen = Candidate::new(&newcomer);
            let candidate = candidates.entry(service.clone()).or_insert(seen);
            let due = candidate.since + min_ready;
            if candidate.tried {
                continue;
            }
            if Instant::now() < due {
                next = Some(next.map_or(due, |next| next.min(due)));
                continue;
            }
            match self.take_in(newcomer).await {
                // Whoever has the lock knows better; it is looked at again when that is free.
                Ok(tried) => candidate.tried = tried,
                Err(error) => {
                    candidate.tried = !error.is_transient();
                    next = Some(Instant::now() + LOOK_AGAIN);
                    warn!(%service, %error, "a new release is ready and not flipped to");
                }
            }
        }
        next
    }

    /// What has served once is no newcomer: a flip back by hand is not undone.
    async fn note_who_serves(&self) {
        let serving = self.tools.controller.state(|state| {
            let mut serving: BTreeMap<ServiceName, BTreeSet<String>> = BTreeMap::new();
            for endpoint in
                state.discovered().endpoints.iter().filter(|e| is_auto(state, &e.service))
            {
                let kept = state.journal().services.get(&endpoint.service);
                let noted = kept.is_some_and(|s| s.members.has_served(&endpoint.container));
                if !noted && state.weights(&endpoint.service).serves(endpoint.color) {
                    let ids = serving.entry(endpoint.service.clone()).or_default();
                    ids.insert(endpoint.container.clone());
                }
            }
            serving
        });
        for (service, ids) in serving {
            let kept = self.tools.controller.remember(&service, |state| {
                state.members.note_served(ids);
            });
            if let Err(error) = kept.await {
                warn!(%service, %error, "who serves is not in the journal");
            }
        }
    }

    /// A rollout of containers that run already. Says whether it was tried, or is none to be tried.
    async fn take_in(&self, newcomer: Newcomer) -> Result<bool, Error> {
        let Newcomer { service, from, to, ids } = newcomer;
        let services = [service.clone()];
        let containers = self.tools.discovery.look().await?;
        let inventory = Inventory::find(&self.tools.controller, &service, &containers)?;
        let new: Vec<&Container> =
            inventory.running(to).into_iter().filter(|c| ids.contains(c.id.as_str())).collect();
        let newest = inventory.running(from).iter().map(|c| c.created).max();
        let Some(first) = new.first() else { return Ok(true) };
        // The colors of a pair come and go by command only.
        if inventory.labelled() || new.iter().any(|c| Some(c.created) <= newest) {
            return Ok(true);
        }
        let owner = LockOwner::new(Kind::Auto.as_str(), Some(BY));
        let Ok(lock) = self.tools.controller.locks().take(&services, &owner) else {
            return Ok(false);
        };
        self.make_room(&services).await;
        let mut replicas = Vec::new();
        for container in &new {
            let blueprint = self.tools.containers.blueprint(container.id.as_str()).await?;
            replicas.push(Replica {
                template: container.id.as_str().to_owned(),
                name: container.name.clone(),
                number: None,
                candidate: container.name.clone(),
                id: Some(container.id.as_str().to_owned()),
                spec: Some(blueprint.copy(&container.image, &BTreeMap::new())),
            });
        }
        let deploy = Deploy::default();
        let part = Part { replicas, displaced: Vec::new(), ..inventory.part(&deploy, from, to).0 };
        let on_failure = self.on_failure(first).unwrap_or(inventory.config.rollout.on_failure);
        let part = Part {
            keep_failed: Part::keeps_failed(on_failure, first.labels.contains_key(COMPOSE_PROJECT)),
            found: Some(match on_failure {
                OnFailure::KeepUnlessCompose => Found::Left,
                OnFailure::Keep | OnFailure::Remove => Found::Stopped,
            }),
            image: first.image.clone(),
            digest: self.tools.pin(&first.image_id, &first.image).await,
            image_id: Some(first.image_id.clone()),
            ..part
        };
        self.tools.remember_found(&part).await?;
        let tried = self.tools.controller.remember(&service, |state| {
            state.members.note_served(part.new_ids());
        });
        tried.await?;
        info!(%service, %to, image = part.image, "a new release is ready by itself");
        let limits = limits_of(&deploy, &inventory.config);
        let services =
            vec![RolloutService { name: service, strategy: Strategy::BlueGreen, limits }];
        let machine = Rollout::new(services, Origin::Running, Millis(1));
        let record = prepare::record(Kind::Auto, Some(BY.to_owned()), machine, vec![part]);
        // Nobody reads along; the history and the events have it.
        let (client, _) = mpsc::unbounded_channel();
        self.run(record, lock, Logins::default(), Event::Begin, client);
        Ok(true)
    }
}

impl Rollouts {
    /// What becomes of a release that fails is its own to say: its labels are not live before.
    fn on_failure(&self, container: &Container) -> Option<OnFailure> {
        self.tools.controller.state(|state| {
            let mut endpoints = state.discovered().endpoints.iter();
            let own = endpoints.find(|e| container.id.as_str() == e.container)?;
            Some(own.settings.rollout.on_failure)
        })
    }
}

/// Colors that do not serve, all of whose containers are up and none has served before; and how long
/// they must have been so.
fn newcomers(state: &State) -> Vec<(Newcomer, Duration)> {
    let names = state.discovered().services.keys().filter(|service| is_auto(state, service));
    let found = names.filter_map(|service| {
        let from = match state.weights(service).active() {
            Target::Blue => Color::Blue,
            Target::Green => Color::Green,
            Target::Both => return None,
        };
        let to = from.other();
        let endpoints = state.endpoints(service, to);
        let up = endpoints.iter().all(|endpoint| state.up(service, to, endpoint));
        let ours = state.discovered().endpoints.iter();
        let ids: BTreeSet<_> = ours
            .filter(|e| e.service == *service && e.color == to)
            .map(|e| e.container.clone())
            .collect();
        let members = &state.journal().services.get(service)?.members;
        let new = !ids.is_empty()
            && !ids.iter().any(|id| members.has_served(id))
            && !state.locks().is_taken(service);
        let min_ready = state.service(service)?.rollout.min_ready;
        let newcomer = Newcomer { service: service.clone(), from, to, ids };
        (new && up).then_some((newcomer, min_ready))
    });
    found.collect()
}

fn is_auto(state: &State, service: &ServiceName) -> bool {
    state.service(service).is_some_and(|config| config.rollout.auto)
}

const BY: &str = "rollout.auto";
/// After an engine that did not answer.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
