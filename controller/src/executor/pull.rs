//! Bringing an image here, or finding that it is here.

use std::time::Duration;

use cutover_api::RolloutEvent;
use tokio::time::Instant;
use tracing::warn;

use super::Tools;
use super::progress::Progress;
use super::steps::StepError;
use crate::engine::{EngineError, Image, PullPolicy, PullProgress};
use crate::registry::{self, Login, Logins};
use crate::state::rollout::Part;

impl Tools {
    /// Brings the image here, or finds that it is here.
    pub(super) async fn pull(
        &self,
        part: &Part,
        logins: &Logins,
        progress: &Progress,
    ) -> Result<Image, StepError> {
        // A release of the history is pinned already: its tag may be another image's by now.
        if let Some(id) = &part.image_id {
            if let Some(image) = self.containers.image(id).await? {
                return Ok(image);
            }
            let Some(digest) = part.registry_digest() else {
                return Err(StepError::lasting(part.lost()));
            };
            return self.fetch(part, digest, logins, progress).await;
        }
        let here = self.containers.image(&part.image).await?;
        match (part.pull, here) {
            (PullPolicy::Missing | PullPolicy::Never, Some(image)) => Ok(image),
            (PullPolicy::Never, None) => Err(StepError::lasting(format!(
                "the image {} is not on this host, and pull is never",
                part.image
            ))),
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
    ) -> Result<Image, StepError> {
        let say = |pull: PullProgress, digest| {
            progress.say(RolloutEvent::Pull {
                service: part.service.clone(),
                phase: cutover_api::Phase::Pull,
                bytes: pull.bytes,
                total: pull.total,
                digest,
            });
        };
        let mut said: Option<Instant> = None;
        let mut seen = PullProgress::default();
        let mut on_progress = |pull: PullProgress| {
            seen = pull;
            if said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
                said = Some(Instant::now());
                say(pull, None);
            }
        };
        let login = self.login(logins, reference).await;
        let pulled = self.containers.pull(reference, login, &mut on_progress);
        let unpulled = |error: EngineError| StepError {
            transient: error.is_transient(),
            reason: format!("{}: {reference} cannot be pulled", error.said()),
        };
        let image = pulled.await.map_err(unpulled)?;
        let whole = PullProgress { bytes: seen.total, ..seen };
        say(whole, Some(image.pin(reference)));
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
            mounted.inspect_err(|error| warn!(%error, "no logins from there")).ok()
        });
        mounted.await.ok()??.of(reference).cloned()
    }
}

const SAY_AGAIN: Duration = Duration::from_secs(1);
