//! The inventory of one service: its containers by color, its settings and who serves.

use std::collections::BTreeMap;

use cutover_api::{Target, Weights};
use cutover_proxy::table::{Color, ServiceName};

use crate::config::ServiceConfig;
use crate::config::labels::Labels;
use crate::engine::{Container, State};
use crate::error::Error;
use crate::serving::controller::Controller;
use crate::state::history::Release;
use crate::state::service::ServiceState;

/// What there is of one service, as a plan needs it.
pub(in crate::executor) struct Inventory {
    pub(in crate::executor) service: ServiceName,
    pub(in crate::executor) config: ServiceConfig,
    /// What the journal has of it.
    pub(super) journaled: ServiceState,
    pub(super) weights: Weights,
    /// All of the service, whatever their state.
    pub(super) containers: Vec<Container>,
    colors: BTreeMap<Color, Vec<Slotted>>,
    /// Whether containers name their color themselves.
    labelled: bool,
}

/// A container in its color.
struct Slotted {
    container: Container,
    /// Whether it is of the release that the color serves.
    member: bool,
}

impl Inventory {
    /// Finds a service's containers among all.
    ///
    /// # Errors
    /// [`Error::UnknownService`] where it has no container, no config and no history.
    pub(in crate::executor) fn find(
        controller: &Controller,
        service: &ServiceName,
        all: &[Container],
    ) -> Result<Self, Error> {
        let config = controller.state(|state| state.service(service).cloned());
        let journaled = controller.service_state(service);
        let placed = controller.state(|state| state.discovered().placed.clone());
        let place = |c: &Container| placed.get(c.id.as_str()).filter(|p| p.service == *service);
        let mut containers: Vec<_> = all.iter().filter(|c| place(c).is_some()).cloned().collect();
        containers.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        let last = || containers.last().and_then(labels_of).or_else(|| recorded(&journaled));
        let config = match config {
            Some(config) => config,
            // All of it is stopped, or gone.
            None => match last() {
                Some(labels) => labels.over(&ServiceConfig::default()),
                None => {
                    return Err(Error::UnknownService {
                        name: service.to_string(),
                        known: controller.state(crate::state::State::known),
                    });
                }
            },
        };
        let mut colors: BTreeMap<Color, Vec<Slotted>> = BTreeMap::new();
        for container in &containers {
            let Some(place) = place(container) else { continue };
            // What a former rollout has put out of its color is that one's, or retained.
            if !journaled.members.is_aside(container.id.as_str()) {
                let slotted = Slotted { container: container.clone(), member: place.member };
                colors.entry(place.color).or_default().push(slotted);
            }
        }
        let named = |container: &Container| labels_of(container).and_then(|labels| labels.color);
        let labelled = match containers.is_empty() {
            true => recorded(&journaled).is_some_and(|labels| labels.color.is_some()),
            false => containers.iter().any(|container| named(container).is_some()),
        };
        let weights = controller.state(|state| state.weights(service));
        let service = service.clone();
        Ok(Self { service, config, journaled, weights, containers, colors, labelled })
    }

    /// The containers of a color, oldest first: those that it serves, and others that came to it.
    pub(super) fn color(&self, color: Color) -> Vec<&Container> {
        self.slot(color).iter().map(|slotted| &slotted.container).collect()
    }

    /// Those of a color that get requests when it serves, and run.
    pub(in crate::executor) fn running(&self, color: Color) -> Vec<&Container> {
        let runs =
            |c: &&Container| matches!(c.state, State::Running | State::Paused | State::Restarting);
        let members = self.slot(color).iter().filter(|slotted| slotted.member);
        members.map(|slotted| &slotted.container).filter(runs).collect()
    }

    fn slot(&self, color: Color) -> &[Slotted] {
        self.colors.get(&color).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether containers name their color themselves.
    pub(in crate::executor) fn labelled(&self) -> bool {
        self.labelled
    }

    /// Whether both colors serve: one that has nothing that runs does not, whatever its share.
    pub(super) fn is_both(&self) -> bool {
        self.weights.active() == Target::Both
            && Color::ALL.into_iter().all(|color| !self.running(color).is_empty())
    }

    /// The color that serves, and the one that is to serve.
    pub(super) fn direction(&self) -> (Color, Color) {
        let from = match self.weights.active() {
            Target::Green => Color::Green,
            Target::Blue => Color::Blue,
            Target::Both if self.running(Color::Blue).is_empty() => Color::Green,
            Target::Both => Color::Blue,
        };
        (from, from.other())
    }

    /// The last release of a color that was done, as the history has it.
    pub(super) fn last_release(&self, color: Color) -> Option<Release> {
        let ways = self.journaled.ways_back();
        let mut done = ways.iter().rev().filter(|entry| entry.is_done());
        done.find(|entry| entry.to() == color)?.release().cloned()
    }
}

/// The labels of the last release that was done, of a service that has no container.
fn recorded(journaled: &ServiceState) -> Option<Labels> {
    let ways = journaled.ways_back();
    let mut done = ways.iter().rev().filter(|entry| entry.is_done());
    let spec = done.find_map(|entry| entry.release()?.specs.first())?;
    let labels = spec.body.labels.iter().flatten().map(|(k, v)| (k.as_str(), v.as_str()));
    Labels::parse(labels).ok().flatten()
}

fn labels_of(container: &Container) -> Option<Labels> {
    let labels = container.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    Labels::parse(labels).ok().flatten()
}

#[cfg(test)]
impl Inventory {
    /// A service of these containers, by color.
    pub(super) fn of(
        service: ServiceName,
        weights: Weights,
        all: &[(Option<Color>, Container)],
        journaled: ServiceState,
    ) -> Self {
        let mut colors: BTreeMap<Color, Vec<Slotted>> = BTreeMap::new();
        for (color, container) in all {
            if let Some(color) = color {
                let slotted = Slotted { container: container.clone(), member: true };
                colors.entry(*color).or_default().push(slotted);
            }
        }
        let containers: Vec<_> = all.iter().map(|(_, container)| container.clone()).collect();
        let named = |c: &Container| labels_of(c).is_some_and(|labels| labels.color.is_some());
        let recorded = recorded(&journaled).is_some_and(|labels| labels.color.is_some());
        let labelled = recorded || containers.iter().any(named);
        let config = ServiceConfig::default();
        Self { service, config, journaled, weights, containers, colors, labelled }
    }
}
