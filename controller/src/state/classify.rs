//! From containers to who serves: their colors, which of them may get requests, whose settings hold,
//! and who has which route. Pure: no I/O, no clock.
//!
//! The rules that it keeps:
//! - A container has a color and a standing. A color serves one release; everything else of the color
//!   is a spare, which is probed and gets no request unless nothing else is left
//!   (`serving::failover`).
//! - The settings of a service are those of the newest ready container that serves. What is idle,
//!   created, stopped or not ready has no say beyond itself.
//! - A route has an owner, which the journal keeps ([`hosts`]).

mod address;
mod colors;
mod hosts;
mod live;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use cutover_api::LeftOut;
use cutover_proxy::table::{Color, ServiceName};

pub(crate) use self::address::EdgeNetwork;
use self::address::Unreachable;
use self::colors::Candidate;
pub(crate) use self::colors::{color_label, release, rollout_label};
use crate::config::ServiceConfig;
use crate::config::labels::Labels;
use crate::state::journal::{Hosts, Journal};
use crate::state::membership::Membership;
use crate::state::observed::{Observed, Workload};
use crate::state::{ContainerEndpoint, Discovered, Placed};

/// What the classification goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'f> {
    /// What has been seen.
    pub observed: &'f Observed,
    /// The services of the config file.
    pub services: &'f BTreeMap<ServiceName, ServiceConfig>,
    /// IDs of containers whose probes pass and against which Docker says nothing.
    pub ready: &'f BTreeSet<String>,
    /// What is remembered.
    pub journal: &'f Journal,
}

/// What was made of it.
#[derive(Debug, Default)]
pub(crate) struct Classification {
    /// Who serves, as who, and by which settings.
    pub discovered: Discovered,
    /// What the journal is to remember of each service's containers.
    pub members: BTreeMap<ServiceName, Membership>,
    /// Who has which host.
    pub hosts: Hosts,
}

/// The containers of one service, oldest first.
type Group<'f> = Vec<(&'f Workload, &'f Labels)>;

/// Sorts containers into services, colors and endpoints, and says why where it cannot.
#[must_use]
pub(crate) fn classify(facts: &Facts<'_>) -> Classification {
    let mut found =
        Classification { hosts: facts.journal.hosts.clone(), ..Classification::default() };
    let mut by_age: Vec<_> = facts.observed.workloads().collect();
    by_age.sort_by(|a, b| {
        (a.container.created, &a.container.id).cmp(&(b.container.created, &b.container.id))
    });
    let mut services: BTreeMap<ServiceName, Group<'_>> = BTreeMap::new();
    for workload in by_age {
        match &workload.labels {
            Ok(labels) => {
                services.entry(labels.service.clone()).or_default().push((workload, labels))
            }
            Err(errors) => found.leave_out(workload, errors.to_string()),
        }
    }
    // They are there, though nothing goes to them: what their service has stays its own.
    let kept: BTreeSet<_> = facts.kept().collect();
    for service in &kept {
        services.entry(service.clone()).or_default();
    }
    let mut projects = BTreeMap::new();
    for (service, group) in &mut services {
        let owner = found.refuse_other_projects(service, group, &kept, facts);
        projects.insert(service.clone(), owner);
    }
    hosts::settle(&mut found, &mut services, &projects, &kept, facts);
    services.retain(|service, group| !group.is_empty() || !kept.contains(service));
    for (service, group) in &services {
        let project = projects.remove(service).flatten();
        found.add(service, group, project, facts);
    }
    found
}

impl Facts<'_> {
    /// Services that have a container of their owner whose labels cannot be read.
    fn kept(&self) -> impl Iterator<Item = ServiceName> {
        self.observed.unreadable().filter_map(|workload| {
            let (service, project) = Labels::claim(|name| workload.container.label(name))?;
            let state = self.journal.services.get(&service)?;
            (state.members.project() == Some(project)).then_some(service)
        })
    }
}

impl Classification {
    fn leave_out(&mut self, workload: &Workload, reason: String) {
        // What does not run serves nothing, and nobody wonders why.
        if workload.runs() {
            let container = workload.container.name.clone();
            self.discovered.left_out.push(LeftOut { container, reason });
        }
    }

    /// Two copies of one compose file name the same service. It belongs to the project that has it
    /// while any container of that is left, or else to our own, or to the oldest that we can reach.
    fn refuse_other_projects(
        &mut self,
        service: &ServiceName,
        group: &mut Group<'_>,
        kept: &BTreeSet<ServiceName>,
        facts: &Facts<'_>,
    ) -> Option<String> {
        let before = facts.journal.services.get(service).and_then(|state| state.members.project());
        let has = |project: &&str| {
            group.iter().any(|(_, labels)| labels.project.as_deref() == Some(*project))
        };
        let oldest = || {
            let mut ours = group.iter().filter(|(workload, _)| address::reachable(workload, facts));
            ours.find_map(|(_, labels)| labels.project.as_deref())
        };
        let own = facts.observed.project.as_deref();
        let before = before.filter(|before| kept.contains(service) || has(before));
        let owner = before.or_else(|| own.filter(has)).or_else(oldest)?.to_owned();
        group.retain(|(workload, labels)| match &labels.project {
            Some(project) if *project != owner => {
                self.leave_out(
                    workload,
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

    fn add(
        &mut self,
        service: &ServiceName,
        group: &Group<'_>,
        project: Option<String>,
        facts: &Facts<'_>,
    ) {
        let state = facts.journal.services.get(service);
        let before = state.map(|state| state.members.clone()).unwrap_or_default();
        let mut members = before.clone();
        members.set_project(project);
        let present = group.iter().filter_map(|(workload, _)| workload.container.compose_config());
        members.retain_scaled(&present.collect());
        for scaled in group.iter().filter_map(|(workload, _)| workload.container.scaled_config()) {
            members.note_scaled(scaled);
        }
        let configured = facts.services.get(service).or_else(|| live::newest(group));
        let weights = state.and_then(|state| state.weights);
        let serves =
            weights.unwrap_or_else(|| configured.map(|c| c.active).unwrap_or_default().into());
        let candidates = colors::sort(group, &mut members, serves, facts);
        for candidate in &candidates {
            self.add_candidate(service, candidate, facts);
        }
        let live = live::choose(&candidates, serves, &members, facts);
        if let Some(live) = live {
            if let Some(labels) = live.labels {
                members.set_live_labels(labels);
            }
            self.discovered.services.insert(service.clone(), live.settings);
        }
        if members != before {
            self.members.insert(service.clone(), members);
        }
    }

    fn add_candidate(
        &mut self,
        service: &ServiceName,
        candidate: &Candidate<'_>,
        facts: &Facts<'_>,
    ) {
        let workload = candidate.workload;
        let key = (service.clone(), candidate.color);
        let placed = Placed {
            service: service.clone(),
            color: candidate.color,
            member: candidate.spare.is_none(),
        };
        self.discovered.placed.insert(workload.container.id.clone().into(), placed);
        if candidate.spare.is_none() {
            *self.discovered.present.entry(key).or_default() += 1;
        }
        if !workload.runs() {
            return;
        }
        let doomed = facts.observed.is_doomed(&workload.container.id);
        let told = doomed.then(|| "it has been told to stop".to_owned());
        match endpoint(service, candidate, facts) {
            Ok(endpoint) => match told.or_else(|| candidate.spare.clone()) {
                Some(reason) => {
                    self.leave_out(workload, reason);
                    self.discovered.spares.push(endpoint);
                }
                None => self.discovered.endpoints.push(endpoint),
            },
            Err(error) => self.leave_out(workload, told.unwrap_or_else(|| error.to_string())),
        }
    }
}

fn endpoint(
    service: &ServiceName,
    candidate: &Candidate<'_>,
    facts: &Facts<'_>,
) -> Result<ContainerEndpoint, Unreachable> {
    let workload = candidate.workload;
    let container = &workload.container;
    let port = address::port(workload)?;
    let address = SocketAddr::new(address::address(workload, facts)?, port);
    Ok(ContainerEndpoint {
        name: container.name.clone(),
        weight: workload.labels.as_ref().map_or(1, |labels| labels.weight),
        unwell: container.unwell(),
        release: candidate.release.clone(),
        created: container.created,
        settings: Arc::clone(&workload.settings),
        ..ContainerEndpoint::at(service.clone(), candidate.color, container.id.as_str(), address)
    })
}

/// The color of a service that is not served by both, for those who are to stand beside it.
fn first(serves: cutover_api::Weights) -> Color {
    if serves.serves(Color::Blue) { Color::Blue } else { Color::Green }
}

#[cfg(test)]
pub(crate) mod tests;
