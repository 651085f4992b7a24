//! From containers to endpoints, without I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use cutover_proxy::table::{Color, HostPattern, ServiceName};

use super::Home;
use crate::config::labels::{INTERNAL_PREFIX, Labels};
use crate::config::{Active, ServiceConfig};
use crate::engine::{Container, State, WorkloadId};
use crate::state::membership::Membership;
use crate::state::status::LeftOut;
use crate::state::weights::Target;
use crate::state::{ContainerEndpoint, Discovery};

/// What else has a say.
pub(crate) struct Known<'k> {
    /// The services of the config file.
    pub services: &'k BTreeMap<ServiceName, ServiceConfig>,
    /// Where we are.
    pub home: &'k Home,
    /// The compose project that we are in, if any.
    pub project: Option<&'k str>,
    /// Containers that have been told to end.
    pub doomed: BTreeSet<&'k WorkloadId>,
    /// What the journal knows of a service: its containers, and what serves.
    pub of: &'k (dyn Fn(&ServiceName) -> (Membership, Option<Target>) + Sync),
}

impl std::fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("home", self.home).finish_non_exhaustive()
    }
}

/// What was made of it.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// For the controller.
    pub discovery: Discovery,
    /// Rosters that have changed.
    pub rosters: BTreeMap<ServiceName, Membership>,
}

/// The label that says which rollout made a container.
#[must_use]
pub(crate) fn rollout_label() -> String {
    format!("{INTERNAL_PREFIX}rollout")
}

/// What makes two containers the same release: their image, and what Compose made of their config.
#[must_use]
pub(crate) fn release(container: &Container) -> String {
    let image = container.image_id.trim_start_matches("sha256:");
    let config = container.label("com.docker.compose.config-hash").unwrap_or_default();
    let short = |text: &str| text.chars().take(16).collect::<String>();
    format!("{}-{}", short(image), short(config))
}

/// Sorts containers into services, colors and endpoints, and says why where it cannot.
#[must_use]
pub(crate) fn survey(containers: &[Container], known: &Known<'_>) -> Survey {
    let mut survey = Survey::default();
    let mut services: BTreeMap<ServiceName, Vec<(&Container, Labels)>> = BTreeMap::new();
    let mut by_age: Vec<_> = containers.iter().collect();
    by_age.sort_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
    for container in by_age {
        let labels = container.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        match Labels::parse(labels) {
            Ok(Some(labels)) => {
                let service = labels.service.clone();
                services.entry(service).or_default().push((container, labels));
            }
            Ok(None) => {}
            Err(error) => survey.leave_out(container, error.to_string()),
        }
    }
    let mut projects = BTreeMap::new();
    for (service, containers) in &mut services {
        projects.insert(service.clone(), survey.refuse_other_projects(service, containers, known));
    }
    let refused = survey.refuse_claimed_routes(&services, known);
    for (service, containers) in &services {
        if !refused.contains(service) {
            let project = projects.remove(service).flatten();
            survey.add(service, containers, project, known);
        }
    }
    survey
}

impl Survey {
    fn leave_out(&mut self, container: &Container, reason: String) {
        // What does not run serves nothing, and nobody wonders why.
        if matches!(container.state, State::Running | State::Paused) {
            let container = container.name.clone();
            self.discovery.left_out.push(LeftOut { container, reason });
        }
    }

    /// Two copies of one compose file name the same service. It belongs to our own project, or to
    /// the one that has it while any container of that is left, or to the oldest that we can reach.
    fn refuse_other_projects(
        &mut self,
        service: &ServiceName,
        containers: &mut Vec<(&Container, Labels)>,
        known: &Known<'_>,
    ) -> Option<String> {
        let before = (known.of)(service).0.project().map(str::to_owned);
        let has = |project: &&str| {
            containers.iter().any(|(_, labels)| labels.project.as_deref() == Some(*project))
        };
        let oldest = || {
            let mut ours = containers.iter().filter(|(c, labels)| reachable(c, labels, known));
            ours.find_map(|(_, labels)| labels.project.as_deref())
        };
        let owner = known.project.filter(has).or_else(|| before.as_deref().filter(has));
        let owner = owner.or_else(oldest)?.to_owned();
        containers.retain(|(container, labels)| match &labels.project {
            Some(project) if *project != owner => {
                self.leave_out(
                    container,
                    format!(
                        "service {service} belongs to the compose project {owner}, this is of {project}: \
                         give it a name of its own with cutover.service, or say cutover.project={owner}"
                    ),
                );
                false
            }
            _ => true,
        });
        Some(owner)
    }

    /// Where two services claim one route, the older one stays.
    fn refuse_claimed_routes(
        &mut self,
        services: &BTreeMap<ServiceName, Vec<(&Container, Labels)>>,
        known: &Known<'_>,
    ) -> BTreeSet<ServiceName> {
        let mut taken: BTreeMap<(HostPattern, String), ServiceName> = BTreeMap::new();
        for (name, config) in known.services {
            for route in routes(config) {
                taken.insert(route, name.clone());
            }
        }
        let mut by_age: Vec<_> = services
            .iter()
            .filter(|(name, _)| !known.services.contains_key(*name))
            .filter_map(|(name, containers)| {
                let claiming = containers.iter().filter(|(c, labels)| reachable(c, labels, known));
                Some((claiming.map(|(c, _)| c.created).min()?, name, containers))
            })
            .collect();
        by_age.sort_by_key(|(created, name, _)| (*created, *name));
        let mut refused = BTreeSet::new();
        for (_, name, containers) in by_age {
            let Some(config) = newest(containers) else {
                continue;
            };
            let claimed = routes(&config);
            let conflict = claimed.iter().find_map(|route| Some((route, taken.get(route)?)));
            if let Some(((host, path), owner)) = conflict {
                let reason =
                    format!("its route {host}{path} belongs to service {owner}, which is older");
                for (container, _) in containers {
                    self.leave_out(container, reason.clone());
                }
                refused.insert(name.clone());
                continue;
            }
            taken.extend(claimed.into_iter().map(|route| (route, name.clone())));
        }
        refused
    }

    fn add(
        &mut self,
        service: &ServiceName,
        containers: &[(&Container, Labels)],
        project: Option<String>,
        known: &Known<'_>,
    ) {
        let base = known.services.get(service).cloned().unwrap_or_default();
        let (before, serves) = (known.of)(service);
        let mut roster = before.clone();
        roster.set_project(project);
        let releases: Vec<_> = containers.iter().map(|(c, _)| release(c)).collect();
        roster.retain_releases(&releases.iter().map(String::as_str).collect());
        // Every release has its place before the first container asks for its color.
        for (container, labels) in containers {
            let made = container.labels.contains_key(&rollout_label());
            let out = roster.is_aside(container.id.as_str());
            if labels.color.is_none() && !made && !out {
                let active = active(serves, labels.over(&base).active);
                roster.place(&release(container), active);
            }
        }
        let mut config = None;
        for (container, labels) in containers {
            let settings = labels.over(&base);
            let running = matches!(container.state, State::Running | State::Paused);
            match endpoint(container, labels, &settings, known, &mut roster) {
                Ok(endpoint) if running => {
                    self.discovery.endpoints.push(endpoint);
                    config = Some(settings);
                }
                Ok(_) => {
                    config.get_or_insert(settings);
                }
                Err(reason) => {
                    // Where the last one is about to go, requests wait for its like: the route stays.
                    if known.doomed.contains(&container.id) || container.networks.is_empty() {
                        config.get_or_insert(settings);
                    }
                    self.leave_out(container, reason);
                }
            }
        }
        if let Some(config) = config {
            self.discovery.services.insert(service.clone(), config);
        }
        if roster != before {
            self.rosters.insert(service.clone(), roster);
        }
    }
}

/// The color that serves, for those who are to stand beside it.
fn active(serves: Option<Target>, configured: Active) -> Color {
    match (serves, configured) {
        (Some(Target::Green), _) | (None, Active::Green) => Color::Green,
        (Some(Target::Blue | Target::Both), _) | (None, Active::Blue | Active::Both) => Color::Blue,
    }
}

fn endpoint(
    container: &Container,
    labels: &Labels,
    settings: &ServiceConfig,
    known: &Known<'_>,
    roster: &mut Membership,
) -> Result<ContainerEndpoint, String> {
    let color = color(container, labels, roster)?;
    if known.doomed.contains(&container.id) {
        return Err("it has been told to stop".into());
    }
    let port = port(container, settings)?;
    // A container that does not run has no address, and needs none.
    let ip = match container.state {
        State::Running | State::Paused => address(container, settings, known.home)?,
        State::Created | State::Restarting | State::Stopped => Ipv4Addr::UNSPECIFIED.into(),
    };
    Ok(ContainerEndpoint {
        service: labels.service.clone(),
        color,
        container: container.id.as_str().to_owned(),
        name: container.name.clone(),
        address: SocketAddr::new(ip, port),
        weight: 1,
        unwell: container.unwell(),
    })
}

fn color(container: &Container, labels: &Labels, roster: &mut Membership) -> Result<Color, String> {
    let id = container.id.as_str();
    let release = release(container);
    if container.labels.contains_key(&rollout_label()) {
        let Some(color) = roster.assigned(id) else {
            return Err("it is left over from a rollout".into());
        };
        // Whatever Compose makes of the same release belongs beside it.
        roster.note_release(&release, color);
        return Ok(color);
    }
    if roster.is_aside(id) {
        return Err("a rollout has replaced it".into());
    }
    if let Some(color) = labels.color {
        return Ok(color);
    }
    // It was placed before; this only looks it up.
    let color = roster.place(&release, Color::Blue);
    match roster.release_of(color) {
        Some(current) if current != release && roster.placed(current).is_some() => {
            Err(format!("a newer release is {color} now"))
        }
        _ => Ok(color),
    }
}

/// What another edge serves, on networks of its own, claims nothing here.
fn reachable(container: &Container, labels: &Labels, known: &Known<'_>) -> bool {
    let settings = labels.over(&ServiceConfig::default());
    matches!(container.state, State::Running | State::Paused)
        && address(container, &settings, known.home).is_ok()
}

fn port(container: &Container, settings: &ServiceConfig) -> Result<u16, String> {
    if let Some(port) = settings.port {
        return Ok(port);
    }
    let mut ports = container.ports.iter();
    match (ports.next(), ports.next()) {
        (Some(port), None) => Ok(*port),
        (None, _) => Err("it exposes no port: say which with cutover.port".into()),
        (Some(_), Some(_)) => {
            let all: Vec<_> = container.ports.iter().map(ToString::to_string).collect();
            Err(format!("it exposes {}: say which with cutover.port", all.join(", ")))
        }
    }
}

fn address(container: &Container, settings: &ServiceConfig, home: &Home) -> Result<IpAddr, String> {
    let names = || match container.networks.is_empty() {
        true => "none".to_owned(),
        false => container.networks.keys().cloned().collect::<Vec<_>>().join(", "),
    };
    if let Some(wanted) = &settings.network {
        // Compose puts the project's name before it.
        let suffix = format!("_{wanted}");
        let found = container.networks.iter().find(|(n, _)| *n == wanted || n.ends_with(&suffix));
        let missing = || format!("it is not in network {wanted} but in {}", names());
        return found.map(|(_, ip)| *ip).ok_or_else(missing);
    }
    match home {
        Home::Host if container.foreign_network.as_deref() == Some("host") => {
            Ok(Ipv4Addr::LOCALHOST.into())
        }
        Home::Host => {
            let first = container.networks.values().next().copied();
            first.ok_or_else(|| "it has no address on any network".into())
        }
        Home::Networks(ours) => {
            let shared = container.networks.iter().find(|(name, _)| ours.contains(*name));
            let apart = || {
                let ours: Vec<_> = ours.iter().cloned().collect();
                format!("no network in common: it is in {}, we are in {}", names(), ours.join(", "))
            };
            shared.map(|(_, ip)| *ip).ok_or_else(apart)
        }
    }
}

fn newest(containers: &[(&Container, Labels)]) -> Option<ServiceConfig> {
    containers.last().map(|(_, labels)| labels.over(&ServiceConfig::default()))
}

fn routes(config: &ServiceConfig) -> Vec<(HostPattern, String)> {
    let route = |host: &HostPattern| (host.clone(), config.path.clone());
    if config.hosts.is_empty() {
        return vec![route(&HostPattern::Any)];
    }
    config.hosts.iter().map(route).collect()
}

#[cfg(test)]
mod tests;
