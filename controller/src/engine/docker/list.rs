//! Looking at all containers: side by side, and none waits for one that hangs.

use std::collections::HashMap;
use std::time::Duration;

use bollard::query_parameters::ListContainersOptionsBuilder;
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};

use super::{CALL, Docker, read, within};
use crate::config::labels;
use crate::engine::{Container, EngineError, Listing, WorkloadId};

/// What became of one question.
enum Answer {
    Found(Box<Container>),
    /// It went in between.
    Gone,
    Unanswered(WorkloadId),
    Failed(EngineError),
}

impl Docker {
    pub(super) async fn look(&self) -> Result<Listing, EngineError> {
        let client = self.client().await?;
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let listed = within("list", CALL, client.list_containers(Some(options))).await?;
        let ours = listed.into_iter().filter(|container| {
            let mut keys = container.labels.iter().flat_map(HashMap::keys);
            keys.any(|key| key.starts_with(labels::PREFIX))
        });
        let end = Instant::now() + CALL;
        let asked = ours.filter_map(|container| container.id).map(|id| {
            let client = &client;
            async move {
                let limit = end.min(Instant::now() + EACH);
                match timeout_at(limit, client.inspect_container(&id, None)).await {
                    Err(_) => Answer::Unanswered(WorkloadId::local(id)),
                    Ok(Ok(inspected)) => match read::container(inspected) {
                        Some(container) => Answer::Found(Box::new(container)),
                        None => Answer::Gone,
                    },
                    Ok(Err(error)) => match super::refused("inspect", error) {
                        error if error.is_not_found() => Answer::Gone,
                        // One that the engine cannot describe is no reason to know nothing.
                        EngineError::Refused { .. } => Answer::Unanswered(WorkloadId::local(id)),
                        error => Answer::Failed(error),
                    },
                }
            }
        });
        let mut answers = stream::iter(asked).buffer_unordered(AT_ONCE);
        let mut listing = Listing::default();
        while let Some(answer) = answers.next().await {
            match answer {
                Answer::Found(container) => listing.containers.push(*container),
                Answer::Gone => {}
                Answer::Unanswered(id) => listing.unanswered.push(id),
                Answer::Failed(error) => return Err(error),
            }
        }
        Ok(listing)
    }
}

/// How many containers are inspected at a time.
const AT_ONCE: usize = 8;
/// How long one of them may take; a look as a whole takes no longer than one call.
const EACH: Duration = Duration::from_secs(3);
