//! Which color each container of a service is of, and which of them are what the color serves.

use std::collections::BTreeSet;
use std::time::SystemTime;

use cutover_api::Weights;
use cutover_proxy::table::Color;

use super::{Facts, Group, first};
use crate::config::labels::{INTERNAL_PREFIX, Labels};
use crate::engine::Container;
use crate::state::membership::Membership;
use crate::state::observed::Workload;

/// The label that says which rollout made a container.
#[must_use]
pub(crate) fn rollout_label() -> String {
    format!("{INTERNAL_PREFIX}rollout")
}

/// The label that says for which color a rollout made a container: what is left when the journal
/// is lost.
#[must_use]
pub(crate) fn color_label() -> String {
    format!("{INTERNAL_PREFIX}color")
}

/// What makes two containers the same release: their image, and what Compose made of their config.
/// Where containers name their color, the image alone: two compose services may be one color.
#[must_use]
pub(crate) fn release(container: &Container) -> String {
    let image = container.image_id.trim_start_matches("sha256:");
    let short = |text: &str| text.chars().take(16).collect::<String>();
    if container.label("cutover.color").is_some() {
        return short(image);
    }
    let config = container.label("com.docker.compose.config-hash").unwrap_or_default();
    format!("{}-{}", short(image), short(config))
}

/// A container with its place in its service.
#[derive(Debug)]
pub(super) struct Candidate<'f> {
    /// The container.
    pub workload: &'f Workload,
    /// Its color.
    pub color: Color,
    /// The key of its release.
    pub release: String,
    /// Why it is not what its color serves; `None` is a member.
    pub spare: Option<String>,
    /// Its probes pass, and Docker says nothing against it.
    pub ready: bool,
    /// A rollout has given it its color.
    assigned: bool,
    /// A rollout has put it out of its color.
    aside: bool,
    /// A rollout made it that the journal does not know.
    leftover: bool,
}

/// Gives every container of a service, oldest first, its color and its standing, and notes in
/// `members` what each color runs.
pub(super) fn sort<'f>(
    group: &Group<'f>,
    members: &mut Membership,
    serves: Weights,
    facts: &Facts<'_>,
) -> Vec<Candidate<'f>> {
    let before = Color::ALL.map(|color| members.release_of(color).map(str::to_owned));
    let releases: Vec<_> = group.iter().map(|(workload, _)| release(&workload.container)).collect();
    members.retain_releases(&releases.iter().map(String::as_str).collect());
    let place = |(workload, labels): &(&'f Workload, &'f Labels)| {
        place(workload, labels, members, first(serves), facts)
    };
    let mut candidates: Vec<_> = group.iter().map(place).collect();
    for (color, before) in Color::ALL.into_iter().zip(before) {
        let current = current(color, &candidates, before.as_deref());
        match current.last() {
            Some(release) => members.adopt(color, release),
            None => members.vacate(color),
        }
        for candidate in candidates.iter_mut().filter(|candidate| candidate.color == color) {
            candidate.spare = spare(candidate, &current);
        }
    }
    candidates
}

fn place<'f>(
    workload: &'f Workload,
    labels: &'f Labels,
    members: &mut Membership,
    active: Color,
    facts: &Facts<'_>,
) -> Candidate<'f> {
    let container = &workload.container;
    let id = container.id.as_str();
    let release = release(container);
    let assigned = members.assigned(id);
    let made = container.labels.contains_key(&rollout_label());
    let aside = members.is_aside(id);
    let said = || container.label(&color_label()).and_then(|color| color.parse().ok());
    let told = labels.color.or(assigned).or_else(said);
    let color = match told {
        Some(color) => {
            // Whatever Compose makes of the same release belongs beside it.
            if labels.color.is_none() && !aside {
                members.note_release(&release, color);
            }
            color
        }
        None if made || aside => members.placed(&release).unwrap_or_else(|| active.other()),
        None => members.place(&release, active),
    };
    Candidate {
        workload,
        color,
        release,
        spare: None,
        ready: facts.ready.contains(id)
            && container.unwell().is_none()
            && !facts.observed.is_doomed(&container.id),
        assigned: assigned.is_some() && !aside,
        aside,
        leftover: made && assigned.is_none() && !aside,
    }
}

/// The releases that a color serves, the newest last: what a rollout has made, else the one that it
/// had as long as a container of it is left, else the newest that is ready, else the newest.
fn current(color: Color, all: &[Candidate<'_>], before: Option<&str>) -> Vec<String> {
    let ours: Vec<_> = all.iter().filter(|c| c.color == color && !c.aside).collect();
    let assigned: Vec<_> = ours.iter().filter(|c| c.assigned).map(|c| c.release.clone()).collect();
    if !assigned.is_empty() {
        return assigned;
    }
    let keys: BTreeSet<_> = ours.iter().map(|c| c.release.as_str()).collect();
    let rank = |key: &&str| -> (bool, bool, bool, bool, Option<SystemTime>) {
        let of = || ours.iter().filter(|c| c.release == **key);
        let known = of().any(|c| !c.leftover);
        let newest = of().map(|c| c.workload.container.created).max();
        let ready = of().any(|c| c.ready);
        (known && before == Some(*key), ready, known, of().any(|c| c.workload.runs()), newest)
    };
    keys.into_iter().max_by_key(rank).map(str::to_owned).into_iter().collect()
}

fn spare(candidate: &Candidate<'_>, current: &[String]) -> Option<String> {
    if candidate.aside {
        return Some("a rollout has replaced it".into());
    }
    if candidate.assigned || current.contains(&candidate.release) {
        return None;
    }
    if candidate.leftover {
        return Some("it is left over from a rollout".into());
    }
    Some(format!("another release is {} now", candidate.color))
}
