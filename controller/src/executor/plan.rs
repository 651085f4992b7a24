//! What a deploy would do, and what stands in its way. Looks, and changes nothing.

mod checks;

use std::collections::BTreeMap;

use cutover_proxy::table::{Color, ServiceName};
use serde::Serialize;

use super::Tools;
use super::record::{Part, Replica};
use super::request::Deploy;
use crate::config::ServiceConfig;
use crate::config::labels::{
    COMPOSE_NUMBER, COMPOSE_PROJECT, COMPOSE_SERVICE, INTERNAL_PREFIX, Labels,
};
use crate::discovery::classify;
use crate::engine::{Container, State, split_reference};
use crate::error::Error;
use crate::millis::millis;
use crate::registry::Logins;
use crate::serving::controller::Controller;
use crate::state::membership::Membership;
use crate::state::weights::{Target, Weights};

/// What would happen, for several services that flip together.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Plan {
    /// In order.
    pub steps: Vec<Step>,
    /// What must be changed first.
    pub blockers: Vec<Finding>,
    /// What is worth knowing.
    pub warnings: Vec<Finding>,
    /// What the rollout would be made of.
    #[serde(skip)]
    pub(crate) parts: Vec<(Part, ServiceConfig)>,
    /// The other color of those that both serve.
    #[serde(skip)]
    pub(crate) then: Vec<(Part, ServiceConfig)>,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    /// The service.
    pub service: ServiceName,
    /// The phase of the rollout.
    pub phase: &'static str,
    /// In words.
    pub message: String,
}

/// Something that stands in the way, or nearly.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// The service.
    pub service: ServiceName,
    /// A word for programs.
    pub code: &'static str,
    /// What it is.
    pub message: String,
    /// What to do about it.
    pub fix: String,
}

impl Plan {
    /// Whether each image is here or can be had: for what is pinned already, that very image.
    pub(super) async fn check_images(&mut self, tools: &Tools, logins: &Logins) {
        for (part, _) in &self.parts {
            self.blockers.extend(checks::image(part, tools, logins).await);
        }
    }
}

impl Finding {
    /// For a report.
    #[must_use]
    pub(super) fn reason(&self) -> String {
        format!("{} (fix: {})", self.message, self.fix)
    }
}

/// Draws the plan of a deploy, all but whether its images can be had.
///
/// # Errors
/// When Docker does not answer, or a service is not known or has no container.
pub(crate) async fn draw(
    tools: &Tools,
    services: &[ServiceName],
    deploy: &Deploy,
) -> Result<Plan, Error> {
    let containers = tools.discovery.look().await?;
    let mut plan = Plan::default();
    for service in services {
        let site = Site::find(&tools.controller, service, &containers)?;
        let (from, to) = site.turn();
        let part = site.part(deploy, from, to)?;
        plan.steps.extend(steps(&part, &site.config, deploy));
        if part.both.is_some() {
            let other = site.part(deploy, to, from)?;
            plan.steps.extend(steps(&other, &site.config, deploy));
            plan.then.push((other, site.config.clone()));
        }
        checks::check(&site, &part, deploy, tools, &mut plan);
        plan.parts.push((part, site.config));
    }
    Ok(plan)
}

/// One service's containers, sorted.
pub(crate) struct Site {
    pub(crate) service: ServiceName,
    pub(crate) config: ServiceConfig,
    pub(crate) members: Membership,
    pub(crate) weights: Weights,
    /// All of the service, whatever their state.
    pub(crate) containers: Vec<Container>,
    colors: BTreeMap<Color, Vec<Container>>,
    /// Whether containers name their color themselves.
    labelled: bool,
}

impl Site {
    /// Finds a service's containers among all.
    ///
    /// # Errors
    /// [`Error::UnknownService`], and [`Error::BadRequest`] where it has no container.
    pub(crate) fn find(
        controller: &Controller,
        service: &ServiceName,
        all: &[Container],
    ) -> Result<Self, Error> {
        let config = controller.state(|state| state.service(service).cloned());
        let members = controller.service_state(service).members;
        let ours =
            |labels: Labels| labels.service == *service && members.takes(labels.project.as_deref());
        let all = all.iter().filter(|container| belongs(container).is_some_and(ours));
        let containers: Vec<_> = all.cloned().collect();
        let config = match config {
            Some(config) => config,
            // All of it is stopped, perhaps.
            None => match containers.first().and_then(belongs) {
                Some(labels) => labels.over(&ServiceConfig::default()),
                None => {
                    return Err(Error::UnknownService {
                        name: service.to_string(),
                        known: controller.state(crate::state::State::known),
                    });
                }
            },
        };
        let mut colors: BTreeMap<Color, Vec<Container>> = BTreeMap::new();
        let mut labelled = false;
        for container in &containers {
            let own = belongs(container).and_then(|labels| labels.color);
            labelled |= own.is_some();
            if let Some(color) = color(container, own, &members) {
                colors.entry(color).or_default().push(container.clone());
            }
        }
        let weights = controller.state(|state| state.weights(service));
        Ok(Self {
            service: service.clone(),
            config,
            members,
            weights,
            containers,
            colors,
            labelled,
        })
    }

    /// The containers of a color, oldest first.
    pub(crate) fn color(&self, color: Color) -> &[Container] {
        self.colors.get(&color).map(Vec::as_slice).unwrap_or_default()
    }

    /// Those of a color that run.
    pub(crate) fn running(&self, color: Color) -> Vec<&Container> {
        let runs = |c: &&Container| matches!(c.state, State::Running | State::Paused);
        self.color(color).iter().filter(runs).collect()
    }

    /// Whether containers name their color themselves.
    pub(crate) fn labelled(&self) -> bool {
        self.labelled
    }

    /// The color that serves, and the one that is to serve.
    pub(crate) fn turn(&self) -> (Color, Color) {
        match self.weights.active() {
            Target::Green => (Color::Green, Color::Blue),
            Target::Blue | Target::Both => (Color::Blue, Color::Green),
        }
    }

    /// The lowest number in a container's compose service. Of two with one number Compose removes the
    /// younger, and of too many those with the highest: whatever `up` finds, it is to leave ours.
    fn lowest_number(&self, like: &Container) -> Option<i64> {
        let service = like.label(COMPOSE_SERVICE)?;
        let siblings = self.containers.iter().filter(|c| c.label(COMPOSE_SERVICE) == Some(service));
        siblings.filter_map(|c| c.label(COMPOSE_NUMBER)?.parse().ok()).min()
    }

    /// What a deploy of this service is made of.
    pub(super) fn part(&self, deploy: &Deploy, from: Color, to: Color) -> Result<Part, Error> {
        let both = (self.weights.active() == Target::Both).then_some(self.weights);
        let old = self.running(from);
        // What the color has now is what it is to have, but for the image.
        let own = self.running(to);
        let templates: Vec<&Container> = match (self.labelled, self.color(to)) {
            _ if both.is_some() && !own.is_empty() => own.clone(),
            (true, [_, ..]) => self.color(to).iter().collect(),
            _ if !old.is_empty() => old.clone(),
            _ => self.color(from).iter().collect(),
        };
        let Some(first) = templates.first() else {
            let message =
                format!("{} has no container to make another like: start it once", self.service);
            return Err(Error::BadRequest(message));
        };
        let compose = first.labels.contains_key(COMPOSE_PROJECT);
        let revision = self.members.last_revision().max(1) + 1;
        let today = image_of(first);
        let image = match (&deploy.image, &deploy.tag) {
            (Some(image), _) => image.clone(),
            (None, Some(tag)) => format!("{}:{tag}", split_reference(&today).0),
            (None, None) => today,
        };
        let wanted = match both {
            Some(_) if !own.is_empty() => own.len(),
            _ => old.len().max(1),
        };
        let lowest = self.lowest_number(first);
        let replicas = (0..wanted).filter_map(|n| {
            let template = templates.get(n).or_else(|| templates.last())?;
            let name = base_name(&template.name);
            // A copy beyond the last template has no name of its own to come to.
            let name = match n < templates.len() {
                true => name.to_owned(),
                false => format!("{name}-{}", n + 1),
            };
            Some(Replica {
                template: template.id.as_str().to_owned(),
                number: lowest.map(|lowest| lowest - i64::try_from(wanted - n).unwrap_or(1)),
                candidate: format!("{name}-r{revision}"),
                name,
                id: None,
                spec: None,
            })
        });
        Ok(Part {
            service: self.service.clone(),
            revision,
            from,
            to,
            image,
            digest: None,
            image_id: None,
            pull: deploy.pull.unwrap_or_default(),
            replicas: replicas.collect(),
            old: old.iter().map(|c| c.id.as_str().to_owned()).collect(),
            displaced: self.color(to).iter().map(|c| c.id.as_str().to_owned()).collect(),
            labelled: self.labelled,
            retain: self.config.rollout.retain,
            keep_failed: Part::keeps_failed(self.config.rollout.on_failure, compose),
            both,
            found: None,
            min_ready_ms: millis(self.config.rollout.min_ready),
        })
    }
}

fn belongs(container: &Container) -> Option<Labels> {
    let labels = container.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    Labels::parse(labels).ok().flatten()
}

fn color(container: &Container, own: Option<Color>, members: &Membership) -> Option<Color> {
    let id = container.id.as_str();
    if members.is_aside(id) {
        return None;
    }
    if container.labels.contains_key(&classify::rollout_label()) {
        return members.assigned(id);
    }
    own.or_else(|| members.placed(&classify::release(container)))
}

/// The reference that a container was made from: what we were asked for, where we made it.
pub(crate) fn image_of(container: &Container) -> String {
    let asked = container.label(&format!("{INTERNAL_PREFIX}image"));
    asked.unwrap_or(&container.image).to_owned()
}

/// A name without what a rollout puts behind it.
pub(crate) fn base_name(name: &str) -> &str {
    match name.rsplit_once("-r") {
        Some((base, revision))
            if !revision.is_empty() && revision.bytes().all(|b| b.is_ascii_digit()) =>
        {
            base
        }
        _ => name,
    }
}

fn steps(part: &Part, config: &ServiceConfig, deploy: &Deploy) -> Vec<Step> {
    let limits = deploy.limits(config);
    let seconds = |ms: u64| humantime::format_duration(std::time::Duration::from_millis(ms));
    let Part { from, to, image, .. } = part;
    let names: Vec<_> = part.replicas.iter().map(|r| r.candidate.as_str()).collect();
    let mut steps = Vec::new();
    if part.both.is_some() {
        let text = format!("take {to} out: {from} serves alone, {to} finishes what it has");
        steps.push(("pull", text));
    }
    steps.extend([
        ("pull", format!("bring {image} here ({:?})", part.pull).to_lowercase()),
        ("create", format!("create {} as {to}, like what {to} has now", names.join(", "))),
        ("start", "start it; no request goes there yet".to_owned()),
        ("ready", format!("probe it until ready, for at most {}", seconds(limits.deploy_ms))),
        match part.both {
            Some(Weights { blue, green }) => {
                ("flip", format!("bring {to} back: blue={blue} green={green}, in one table"))
            }
            None => ("flip", format!("{from} -> {to} for every new request, in one table")),
        },
    ]);
    if limits.monitor_ms > 0 {
        let text = format!("compare it with {from} for {}", seconds(limits.monitor_ms));
        steps.push(("monitor", text));
    }
    if part.both.is_some() {
        let text = format!("stop and remove {} of {to}'s former ones", part.displaced.len());
        steps.push(("clean", text));
        return numbered(&part.service, steps);
    }
    steps.push((
        "drain",
        format!(
            "let {from} finish: requests for {}, streams for {}",
            seconds(limits.drain_ms),
            seconds(limits.streams_ms)
        ),
    ));
    if limits.keep_warm_ms > 0 {
        let text = format!("keep {from} running, idle, for {}", seconds(limits.keep_warm_ms));
        steps.push(("keep_warm", text));
    }
    steps.push(("stop", format!("stop {} of {from}", part.old.len())));
    steps.push(("clean", "remove what is not retained, and give the new ones their names".into()));
    numbered(&part.service, steps)
}

fn numbered(service: &ServiceName, steps: Vec<(&'static str, String)>) -> Vec<Step> {
    let step = |(phase, message)| Step { service: service.clone(), phase, message };
    steps.into_iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_loses_only_its_revision() {
        assert_eq!(base_name("p_web_1-r12"), "p_web_1");
        assert_eq!(base_name("my-rails"), "my-rails");
        assert_eq!(base_name("app-r"), "app-r");
        assert_eq!(base_name("web-r1-r2"), "web-r1");
    }
}
