//! What a new container is made like: the newest of its color, else what the history has of that
//! color, else one of the other color without what Compose knows it by.

use cutover_proxy::table::Color;

use super::{Inventory, image_of};
use crate::config::labels::{COMPOSE_NUMBER, COMPOSE_PROJECT, COMPOSE_SERVICE, INTERNAL_PREFIX};
use crate::discovery::classify;
use crate::engine::{Container, Spec, base_name};
use crate::state::history::Release;

/// One container to make another like.
#[derive(Clone, Debug)]
pub(in crate::executor) enum Template {
    /// Of the same color, or of a service whose containers name none: the copy takes its place in
    /// Compose, too.
    Own(Container),
    /// Of the other color of a pair: Compose must not take the copy for that one.
    OtherHalf(Container),
    /// It is gone; the history has what it was made of.
    Recorded(Box<Spec>),
}

impl Template {
    /// The container, where there is one.
    #[must_use]
    pub(in crate::executor) fn container(&self) -> Option<&Container> {
        match self {
            Self::Own(container) | Self::OtherHalf(container) => Some(container),
            Self::Recorded(_) => None,
        }
    }

    /// The reference of the image it was made from.
    #[must_use]
    pub(super) fn image(&self) -> String {
        match self {
            Self::Own(container) | Self::OtherHalf(container) => image_of(container),
            Self::Recorded(spec) => {
                let asked = spec.label(&format!("{INTERNAL_PREFIX}image")).map(str::to_owned);
                asked.or_else(|| spec.body.image.clone()).unwrap_or_default()
            }
        }
    }

    /// Whether Compose has made it, or what it is a copy of.
    #[must_use]
    pub(super) fn of_compose(&self) -> bool {
        match self {
            Self::Own(container) | Self::OtherHalf(container) => {
                container.labels.contains_key(COMPOSE_PROJECT)
            }
            Self::Recorded(spec) => spec.label(COMPOSE_PROJECT).is_some(),
        }
    }

    /// The name that the copy comes to in the end.
    #[must_use]
    pub(super) fn name(&self, service: &str, to: Color, n: usize) -> String {
        match self {
            Self::Own(container) => base_name(&container.name).to_owned(),
            Self::OtherHalf(container) => {
                let name = base_name(&container.name);
                // A copy of such a copy is called like the first one.
                let name = name.strip_suffix(&format!("-{}", to.other())).unwrap_or(name);
                format!("{name}-{to}")
            }
            Self::Recorded(spec) => recorded_name(spec, service, to, n),
        }
    }
}

/// As Compose would call it: with underscores before its version 2.
fn recorded_name(spec: &Spec, service: &str, to: Color, n: usize) -> String {
    let number = n + 1;
    match (spec.label(COMPOSE_PROJECT), spec.label(COMPOSE_SERVICE)) {
        (Some(project), Some(of_project)) => {
            let old = spec.label(COMPOSE_VERSION).is_some_and(|version| version.starts_with("1."));
            let between = if old { '_' } else { '-' };
            format!("{project}{between}{of_project}{between}{number}")
        }
        _ => format!("{service}-{to}-{number}"),
    }
}

impl Inventory {
    /// What the new containers of a color are made like, one per container at most, the first to be
    /// taken first. Empty where nothing is left and nothing was recorded.
    pub(super) fn templates(&self, from: Color, to: Color) -> Vec<Template> {
        let own = |found: Vec<&Container>| found.into_iter().cloned().map(Template::Own).collect();
        let both = self.is_both() && !self.running(to).is_empty();
        // Colors that have labels and mounts of their own keep them.
        let ways: [&dyn Fn() -> Vec<Template>; 4] = match self.labelled() || both {
            true => [
                &|| own(self.newest(to)),
                &|| self.recorded(to),
                &|| self.newest(from).into_iter().cloned().map(Template::OtherHalf).collect(),
                &Vec::new,
            ],
            false => [
                &|| own(self.newest(from)),
                &|| own(self.newest(to)),
                &|| own(newest_release(self.containers.iter().collect())),
                &|| self.recorded(from),
            ],
        };
        ways.iter().map(|way| way()).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// The containers of a color's newest release, those that run before all others.
    fn newest(&self, color: Color) -> Vec<&Container> {
        let running = newest_release(self.running(color));
        match running.is_empty() {
            true => newest_release(self.color(color)),
            false => running,
        }
    }

    /// What the history has of a color: of the last release of its that was done.
    fn recorded(&self, color: Color) -> Vec<Template> {
        let specs = |release: Release| release.specs_of(color);
        let specs = self.last_release(color).map(specs).unwrap_or_default();
        specs.into_iter().map(|spec| Template::Recorded(Box::new(spec))).collect()
    }

    /// The number of a copy in its compose service. Of two with one number Compose removes the
    /// younger, and of too many those with the highest: whatever `up` finds, it is to leave ours.
    pub(super) fn number(&self, like: &Template, n: usize, wanted: usize) -> Option<i64> {
        let place = |from_end: usize| i64::try_from(from_end).unwrap_or(1);
        match like {
            Template::Own(like) => {
                let service = like.label(COMPOSE_SERVICE)?;
                let ours = |c: &&Container| c.label(COMPOSE_SERVICE) == Some(service);
                let siblings = self.containers.iter().filter(ours);
                let numbers = siblings.filter_map(|c| c.label(COMPOSE_NUMBER)?.parse::<i64>().ok());
                Some(numbers.min()? - place(wanted - n))
            }
            Template::OtherHalf(_) => None,
            // Nothing of its compose service is left to be preferred to.
            Template::Recorded(spec) => spec.label(COMPOSE_NUMBER).map(|_| place(n + 1)),
        }
    }
}

/// Of containers of one color only those of the release that the newest is of, oldest first.
fn newest_release(mut containers: Vec<&Container>) -> Vec<&Container> {
    containers.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    let release = containers.last().map(|newest| classify::release(newest));
    containers.retain(|container| Some(classify::release(container)) == release);
    containers
}

const COMPOSE_VERSION: &str = "com.docker.compose.version";

#[cfg(test)]
mod tests;
