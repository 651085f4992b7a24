//! Whose settings a service has.

use std::collections::BTreeMap;

use cutover_api::Weights;

use super::colors::Candidate;
use super::{Facts, Group};
use crate::config::ServiceConfig;
use crate::config::labels::{COMPOSE_PROJECT, COMPOSE_SERVICE, INTERNAL_PREFIX, Labels, PREFIX};
use crate::engine::Container;
use crate::state::membership::Membership;

/// The settings of a service.
#[derive(Debug)]
pub(super) struct Live {
    pub settings: ServiceConfig,
    /// For the journal, where they are those of a container that serves.
    pub labels: Option<BTreeMap<String, String>>,
}

/// Those of the newest ready container that serves; where none is ready the last that were, and where
/// none has ever been, the best guess.
pub(super) fn choose(
    candidates: &[Candidate<'_>],
    serves: Weights,
    members: &Membership,
    facts: &Facts<'_>,
) -> Option<Live> {
    let serving = |c: &&Candidate<'_>| c.spare.is_none() && serves.serves(c.color);
    if let Some(ready) = candidates.iter().filter(serving).rfind(|c| c.ready) {
        let labels = live_labels(&ready.workload.container);
        return Some(Live {
            settings: ready.workload.settings.as_ref().clone(),
            labels: Some(labels),
        });
    }
    candidates.first()?;
    let kept = members.live_labels().iter().map(|(k, v)| (k.as_str(), v.as_str()));
    if let Ok(Some(kept)) = Labels::parse(kept) {
        let unconfigured = ServiceConfig::default();
        let settings = kept.over(facts.services.get(&kept.service).unwrap_or(&unconfigured));
        return Some(Live { settings, labels: None });
    }
    let runs = |c: &&Candidate<'_>| c.workload.runs();
    let guess = candidates.iter().filter(runs).rfind(serving);
    let guess = guess.or_else(|| candidates.iter().rfind(serving));
    let guess = guess.or_else(|| candidates.iter().rfind(runs)).or_else(|| candidates.last())?;
    Some(Live { settings: guess.workload.settings.as_ref().clone(), labels: None })
}

/// The settings of the newest container.
pub(super) fn newest<'f>(group: &Group<'f>) -> Option<&'f ServiceConfig> {
    group.last().map(|(workload, _)| workload.settings.as_ref())
}

/// What of a container's labels makes its settings.
pub(super) fn live_labels(container: &Container) -> BTreeMap<String, String> {
    let ours = |key: &str| {
        key.starts_with(PREFIX) && !key.starts_with(INTERNAL_PREFIX)
            || key == COMPOSE_SERVICE
            || key == COMPOSE_PROJECT
    };
    let labels = container.labels.iter().filter(|(key, _)| ours(key));
    labels.map(|(key, value)| (key.clone(), value.clone())).collect()
}
