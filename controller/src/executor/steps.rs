//! Carrying out what the state machine asks for, one function per action. Each can be done twice.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_proxy::table::ServiceName;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::Tools;
use super::actions::Rest;
use super::machine::Limits;
use super::plan::{base_name, image_of};
use super::progress::Progress;
use super::record::{Found, Part, Replica};
use crate::config::labels::{COMPOSE_NUMBER, COMPOSE_PROJECT, INTERNAL_PREFIX};
use crate::discovery::classify;
use crate::engine::drained::Drained;
use crate::engine::{EngineError, Image, PullPolicy, PullProgress, Spec, WorkloadId};
use crate::error::Error;
use crate::registry::{self, Login, Logins};
use crate::state::service::ServiceState;
use crate::state::weights::Weights;

/// Why a step failed, for people.
pub(super) type Failure = String;

impl Tools {
    /// Brings the image here, or finds that it is here.
    pub(super) async fn pull(
        &self,
        part: &Part,
        logins: &Logins,
        progress: &Progress,
    ) -> Result<Image, Failure> {
        // A release of the history is pinned already: its tag may be another image's by now.
        if let Some(id) = &part.image_id {
            if let Some(image) = self.containers.image(id).await.map_err(text)? {
                return Ok(image);
            }
            let Some(digest) = part.registry_digest() else {
                return Err(part.lost());
            };
            return self.fetch(part, digest, logins, progress).await;
        }
        let here = self.containers.image(&part.image).await.map_err(text)?;
        match (part.pull, here) {
            (PullPolicy::Missing | PullPolicy::Never, Some(image)) => Ok(image),
            (PullPolicy::Never, None) => {
                Err(format!("the image {} is not on this host, and pull is never", part.image))
            }
            (PullPolicy::Always | PullPolicy::Missing, _) => {
                self.fetch(part, &part.image, logins, progress).await
            }
        }
    }

    async fn fetch(
        &self,
        part: &Part,
        reference: &str,
        logins: &Logins,
        progress: &Progress,
    ) -> Result<Image, Failure> {
        let say = |detail| progress.say(&part.service, "pull", detail);
        let mut said: Option<Instant> = None;
        let mut seen = PullProgress::default();
        let mut note = |pull: PullProgress| {
            seen = pull;
            if said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
                said = Some(Instant::now());
                say(json!({"phase": "pull", "bytes": pull.bytes, "total": pull.total}));
            }
        };
        let login = self.login(logins, reference).await;
        let pulled = self.containers.pull(reference, login, &mut note);
        let unpulled =
            |error: EngineError| format!("{}: {reference} cannot be pulled", error.said());
        let image = pulled.await.map_err(unpulled)?;
        say(json!({
            "phase": "pull", "bytes": seen.total, "total": seen.total, "digest": image.pin(reference)
        }));
        Ok(image)
    }

    /// The caller's login for an image's registry, or that of a Docker config which is mounted.
    pub(super) async fn login(&self, callers: &Logins, reference: &str) -> Option<Login> {
        if let Some(login) = callers.of(reference) {
            return Some(login.clone());
        }
        let image = reference.to_owned();
        // A credential helper takes its time.
        let mounted = tokio::task::spawn_blocking(move || {
            let mounted = Logins::from_dir(&registry::config_dir(), Some(&image));
            mounted.inspect_err(|error| warn!(error, "no logins from there")).ok()
        });
        mounted.await.ok()??.of(reference).cloned()
    }

    /// Where both serve: lets the color finish, with the other serving alone meanwhile.
    pub(super) async fn take_out(&self, part: &Part, limits: Limits) -> Result<(), Failure> {
        if part.both.is_none() {
            return Ok(());
        }
        self.can_serve(&[(part.service.clone(), part.from)])?;
        let alone = [(part.service.clone(), Weights::of(part.from.into()))];
        let applied = self.controller.set_weights(&alone, Some(limits.drain())).await;
        let generation = applied.map_err(text)?.generation;
        match self.controller.drained(&part.service, part.to, generation).await {
            Some(_) => Ok(()),
            None => Err(format!("{} was made to serve by somebody else", part.to)),
        }
    }

    /// Where both serve: gives the colors the shares that they had, once what was there before the
    /// rollout is up again, or does not come up.
    async fn put_back(&self, part: &Part) -> Result<(), Failure> {
        let Some(weights) = part.both else {
            return Ok(());
        };
        let end = Instant::now() + BACK;
        while self.can_serve(&[(part.service.clone(), part.to)]).is_err() && Instant::now() < end {
            sleep(POLL).await;
        }
        let shares = [(part.service.clone(), weights)];
        self.controller.set_weights(&shares, None).await.map_err(text).map(drop)
    }

    /// Creates one replica, or finds that it is there.
    pub(super) async fn create(
        &self,
        part: &Part,
        replica: &Replica,
        rollout: &str,
    ) -> Result<(WorkloadId, Spec), Failure> {
        let spec = self.spec(part, replica, rollout).await?;
        let id = self.containers.create(&replica.candidate, spec.clone()).await.map_err(text)?;
        let created = self.containers.inspect(id.as_str()).await.map_err(text)?;
        let image_id = created.map(|c| c.image_id).unwrap_or_default();
        // The tag has moved since it was pinned: what was judged is what is to run.
        if let Some(pinned) = part.image_id.as_ref().filter(|pinned| **pinned != image_id) {
            self.containers.remove(id.as_str()).await.map_err(text)?;
            let mut spec = spec;
            spec.body.image = Some(pinned.clone());
            let id = self.containers.create(&replica.candidate, spec.clone()).await;
            return Ok((id.map_err(text)?, spec));
        }
        Ok((id, spec))
    }

    async fn spec(&self, part: &Part, replica: &Replica, rollout: &str) -> Result<Spec, Failure> {
        let template = self.containers.inspect(&replica.template).await.map_err(text)?;
        let mut labels = BTreeMap::from([
            (classify::rollout_label(), rollout.to_owned()),
            (classify::color_label(), part.to.as_str().to_owned()),
            (edge_label(), self.controller.state(|state| state.journal.edge.clone())),
            (format!("{INTERNAL_PREFIX}revision"), part.revision.to_string()),
            (format!("{INTERNAL_PREFIX}image"), part.image.clone()),
        ]);
        if let Some(number) = replica.number {
            labels.insert(COMPOSE_NUMBER.into(), number.to_string());
        }
        let Some(template) = template else {
            // A release of the history, whose container has been removed since.
            let mut spec = replica.spec.clone().ok_or("the container to copy has gone")?;
            spec.body.image = Some(part.image_id.clone().unwrap_or_else(|| part.image.clone()));
            spec.body.labels.get_or_insert_default().extend(labels);
            return Ok(spec);
        };
        if template.labels.contains_key(COLOR) {
            labels.insert(COLOR.into(), part.to.as_str().into());
        }
        // Compose compares the image of the file with this: where the reference is that of the
        // file, the new image is what it expects; elsewhere the old one, or it would undo us.
        let file = format!("{INTERNAL_PREFIX}compose-image");
        let of_file = template.label(&file).map_or_else(|| image_of(&template), str::to_owned);
        if let (Some(id), true) = (&part.image_id, template.labels.contains_key(COMPOSE_IMAGE))
            && of_file == part.image
        {
            labels.insert(COMPOSE_IMAGE.into(), id.clone());
        }
        labels.insert(file, of_file);
        let blueprint = self.containers.blueprint(&replica.template).await.map_err(text)?;
        let copy = blueprint.copy(&part.image, &labels);
        let Some(mut recorded) = replica.spec.clone() else {
            return Ok(copy);
        };
        recorded.check_against(&copy).map_err(|error| error.to_string())?;
        recorded.take_the_place_of(&copy);
        recorded.body.labels.get_or_insert_default().extend(labels);
        Ok(recorded)
    }

    /// Takes the new containers for ours, or forgets them.
    pub(super) async fn enroll(&self, part: &Part, ours: bool) -> Result<(), Failure> {
        // What a rollback has found running is what it was before.
        if part.replicas.iter().all(|replica| replica.candidate.is_empty()) {
            return Ok(());
        }
        let enroll = |state: &mut ServiceState| {
            if ours {
                state.members.enroll(&part.new_ids(), part.to, &part.displaced);
            } else {
                state.members.dismiss(&part.new_ids(), &part.displaced);
            }
        };
        if ours {
            return self.controller.remember(&part.service, enroll).await.map_err(text);
        }
        self.note(&part.service, enroll).await;
        Ok(())
    }

    /// Starts the new containers and shows them to the controller, which begins to probe them.
    pub(super) async fn start(&self, part: &Part) -> Result<(), Failure> {
        for id in part.new_ids() {
            self.containers.start(&id).await.map_err(text)?;
        }
        self.discovery.look().await.map_err(text)?;
        Ok(())
    }

    /// Stops and removes or keeps what failed; gives its last words.
    pub(super) async fn abandon(&self, part: &Part, rest: Rest) -> Result<Vec<String>, Failure> {
        let mut words = Vec::new();
        for replica in &part.replicas {
            let id = replica.id.as_deref().unwrap_or(&replica.candidate);
            let Some(container) = self.containers.inspect(id).await.map_err(text)? else {
                continue;
            };
            // Its name may be another's by now; what we made says so.
            let made = container.labels.contains_key(&classify::rollout_label());
            if !made && part.found != Some(Found::Stopped) {
                continue;
            }
            let id = container.id.as_str();
            if words.is_empty() {
                words = self.containers.last_words(id).await.unwrap_or_default();
            }
            self.containers.stop(id, &Drained::new(rest)).await.map_err(text)?;
            if !part.keep_failed {
                self.containers.remove(id).await.map_err(text)?;
            }
        }
        self.enroll(part, false).await?;
        self.discovery.look().await.map_err(text)?;
        self.put_back(part).await?;
        Ok(words)
    }

    /// Stops containers that have drained.
    pub(super) async fn stop(
        &self,
        service: &ServiceName,
        ids: &[String],
        rest: Rest,
    ) -> Result<(), Failure> {
        for id in ids {
            self.containers.stop(id, &Drained::new(rest)).await.map_err(text)?;
        }
        self.note(service, |state| state.members.park(ids)).await;
        Ok(())
    }

    /// Removes what is not retained, and gives the new containers their lasting names.
    pub(super) async fn clean(&self, part: &Part) -> Result<(), Failure> {
        let mut gone = part.displaced.clone();
        if !part.labelled && part.both.is_none() {
            gone.extend(part.old.iter().cloned());
        }
        // What serves elsewhere now (a flip by hand) is nobody's to remove.
        gone.retain(|id| !part.new_ids().contains(id));
        // Compose would take a stopped container for one of its own, and an older one for the right
        // one: where it has a say, the history is what is retained.
        let mut keep = Vec::new();
        if !part.labelled && part.both.is_none() && part.retain > 0 {
            for id in &part.old {
                let found = self.containers.inspect(id).await.map_err(text)?;
                if found.is_some_and(|c| !c.labels.contains_key(COMPOSE_PROJECT)) {
                    keep.push(id.clone());
                }
            }
        }
        for id in gone {
            if keep.contains(&id) {
                self.retire_name(&id, part).await?;
                continue;
            }
            self.containers.stop(&id, &Drained::new(Rest::Idle)).await.map_err(text)?;
            self.containers.remove(&id).await.map_err(text)?;
        }
        for id in part.new_ids() {
            self.settle_name(&id).await?;
        }
        // What a rollback leaves is what the next release is copied from, under its lasting name.
        for id in part.old.iter().filter(|_| part.labelled) {
            self.settle_name(id).await?;
        }
        self.note(&part.service, |state| {
            state.members.displace(&keep);
        })
        .await;
        self.discovery.look().await.map_err(text)?;
        Ok(())
    }

    /// Gives a container its name without a revision, where that is free.
    async fn settle_name(&self, id: &str) -> Result<(), Failure> {
        let Some(container) = self.containers.inspect(id).await.map_err(text)? else {
            return Ok(());
        };
        let name = base_name(&container.name);
        if name == container.name || self.containers.inspect(name).await.map_err(text)?.is_some() {
            return Ok(());
        }
        let renamed = self.containers.rename(id, name).await;
        renamed.or_else(EngineError::unless_missing).map_err(text)
    }

    /// A container that is kept makes room for the name of the one that follows it.
    async fn retire_name(&self, id: &str, part: &Part) -> Result<(), Failure> {
        let Some(container) = self.containers.inspect(id).await.map_err(text)? else {
            return Ok(());
        };
        let name = format!("{}-before-r{}", base_name(&container.name), part.revision);
        if container.name.contains("-before-r") {
            return Ok(());
        }
        self.containers.rename(id, &name).await.map_err(text)
    }

    /// Waits until nothing is left from when the color served before.
    pub(super) async fn await_idle(&self, part: &Part) {
        let generation = self.controller.generation();
        let drained = self.controller.drained(&part.service, part.to, generation);
        timeout(IDLE, drained).await.ok();
    }
}

/// The label that says which edge has made a container: others leave it alone.
pub(super) fn edge_label() -> String {
    format!("{INTERNAL_PREFIX}edge")
}

pub(super) fn text(error: impl Into<Error>) -> Failure {
    error.into().to_string()
}

const COLOR: &str = "cutover.color";
const COMPOSE_IMAGE: &str = "com.docker.compose.image";
/// For what was there before to be probed again.
const BACK: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);
const SAY_AGAIN: Duration = Duration::from_secs(1);
/// The deadlines of that drain are kept elsewhere; this is only against waiting for ever.
const IDLE: Duration = Duration::from_secs(600);
