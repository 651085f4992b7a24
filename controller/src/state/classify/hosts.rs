//! Who has which route. A host, with all its paths, belongs to the project that had it first, for as
//! long as a container of the service that has it is left; the journal remembers that.

use std::collections::{BTreeMap, BTreeSet};

use cutover_proxy::table::{HostPattern, ServiceName};

use super::{Classification, Facts, Group, address};
use crate::config::ServiceConfig;
use crate::config::labels::Labels;
use crate::state::journal::HostOwner;

/// The hosts and paths that a service asks for.
pub(crate) fn routes(config: &ServiceConfig) -> Vec<(HostPattern, String)> {
    let route = |host: &HostPattern| (host.clone(), config.path.clone());
    if config.hosts.is_empty() {
        return vec![route(&HostPattern::Any)];
    }
    config.hosts.iter().map(route).collect()
}

/// As the journal has them.
fn written(config: &ServiceConfig) -> impl Iterator<Item = (String, String)> + use<> {
    routes(config).into_iter().map(|(host, path)| (host.to_string(), path))
}

type Projects = BTreeMap<ServiceName, Option<String>>;

/// Takes hosts from those who are gone, refuses containers that ask for what another has, and gives
/// what is free to those that run. The services of the config file have theirs always.
pub(super) fn settle(
    found: &mut Classification,
    services: &mut BTreeMap<ServiceName, Group<'_>>,
    projects: &Projects,
    kept: &BTreeSet<ServiceName>,
    facts: &Facts<'_>,
) {
    let registry = Registry::new(facts, projects);
    registry.release(found, services, kept);
    let mut order: Vec<_> = services.iter_mut().collect();
    let own = facts.observed.project.as_deref();
    // Whoever has it already is not asked; of newcomers the oldest that can be reached is first.
    order.sort_by_key(|(service, group)| {
        let foreign = own.is_none() || registry.project(service) != own;
        let reachable = group.iter().filter(|(workload, _)| address::reachable(workload, facts));
        let oldest = reachable.map(|(workload, _)| workload.container.created).min();
        (foreign, oldest.is_none(), oldest, (*service).clone())
    });
    for (service, group) in order {
        group.retain(|(workload, _)| {
            // What runs elsewhere has another reason to serve nothing here.
            if workload.runs() && !address::reachable(workload, facts) {
                return true;
            }
            let mut wanted = routes(&workload.settings);
            wanted.retain(|(host, path)| registry.file_has(host, path) != Some(service));
            let refused =
                wanted.iter().find_map(|(host, path)| registry.refusal(found, service, host, path));
            if let Some(reason) = refused {
                found.leave_out(workload, reason);
                return false;
            }
            if address::reachable(workload, facts) {
                for (host, path) in &wanted {
                    found.hosts.claim(host, path, service, registry.project(service));
                }
            }
            true
        });
    }
}

/// What the owners go by.
struct Registry<'r> {
    facts: &'r Facts<'r>,
    projects: &'r Projects,
    /// Which service of the config file has which path of a host.
    file: BTreeMap<String, BTreeMap<String, &'r ServiceName>>,
}

impl<'r> Registry<'r> {
    fn new(facts: &'r Facts<'r>, projects: &'r Projects) -> Self {
        let mut file: BTreeMap<String, BTreeMap<String, &ServiceName>> = BTreeMap::new();
        for (name, config) in facts.services {
            for (host, path) in routes(config) {
                file.entry(host.to_string()).or_default().entry(path).or_insert(name);
            }
        }
        Self { facts, projects, file }
    }

    /// The service of the config file that has a route.
    fn file_has(&self, host: &HostPattern, path: &str) -> Option<&ServiceName> {
        self.file.get(&host.to_string())?.get(path).copied()
    }

    fn project(&self, service: &ServiceName) -> Option<&str> {
        self.projects.get(service)?.as_deref()
    }

    /// Gives free what no container asks for any more, and what was only shared.
    fn release(
        &self,
        found: &mut Classification,
        services: &BTreeMap<ServiceName, Group<'_>>,
        kept: &BTreeSet<ServiceName>,
    ) {
        let mut wanted: BTreeMap<&ServiceName, BTreeSet<(String, String)>> = BTreeMap::new();
        for (service, group) in services {
            if !group.is_empty() || kept.contains(service) {
                let asked = group.iter().flat_map(|(workload, _)| written(&workload.settings));
                wanted.insert(service, asked.collect());
            }
        }
        let asks = |host: &str, path: &str, service: &ServiceName| {
            let route = (host.to_owned(), path.to_owned());
            let Some(routes) = wanted.get(service) else { return false };
            // Read last: parsing labels takes longer than all of the rest.
            routes.contains(&route)
                || self.live(service).is_some_and(|live| written(&live).any(|live| live == route))
        };
        found.hosts.retain(asks);
        let before = found.hosts.clone();
        let owners: BTreeMap<&str, &HostOwner> = before.iter().collect();
        found.hosts.retain(|host, _, service| {
            let Some(owner) = owners.get(host) else { return false };
            let owned = |service: &&ServiceName| self.project(service) == owner.project.as_deref();
            owner.paths.values().any(|service| owned(&service))
                && (owned(&service) || self.shares(owner, self.project(service)))
        });
    }

    /// The settings that a service had when it last served.
    fn live(&self, service: &ServiceName) -> Option<ServiceConfig> {
        Some(self.live_labels(service)?.over(&ServiceConfig::default()))
    }

    fn live_labels(&self, service: &ServiceName) -> Option<Labels> {
        let members = &self.facts.journal.services.get(service)?.members;
        let labels = members.live_labels().iter().map(|(k, v)| (k.as_str(), v.as_str()));
        Labels::parse(labels).ok()?
    }

    /// Whether a service that serves under a host lets another project in.
    fn shares(&self, owner: &HostOwner, project: Option<&str>) -> bool {
        let lets_in = |service: &ServiceName| {
            let labels = self.live_labels(service);
            let share = labels.map(|labels| labels.share).unwrap_or_default();
            project.is_some_and(|project| share.iter().any(|name| name == project))
        };
        let own = |service: &&ServiceName| self.project(service) == owner.project.as_deref();
        owner.paths.values().filter(own).any(lets_in)
    }

    /// Why a service cannot have a route; `None` is free, or has it.
    fn refusal(
        &self,
        found: &Classification,
        service: &ServiceName,
        host: &HostPattern,
        path: &str,
    ) -> Option<String> {
        if let Some(paths) = self.file.get(&host.to_string()) {
            let own = self.facts.observed.project.as_deref();
            let project = self.project(service);
            let other = paths.get(path);
            let foreign = project != own
                && *host != HostPattern::Any
                && !paths.values().any(|other| *other == service);
            let other = other.or_else(|| paths.values().next().filter(|_| foreign));
            if let Some(other) = other {
                return Some(format!(
                    "its route {host}{path} belongs to service {other} of the config file"
                ));
            }
        }
        let owner = found.hosts.owner(host)?;
        let project = self.project(service);
        let (_, first) = owner.paths.get_key_value(path).or_else(|| owner.paths.iter().next())?;
        if owner.project.as_deref() != project && !self.shares(owner, project) {
            let hint = match (&owner.project, project) {
                (Some(owner), Some(project)) => {
                    format!(
                        " of the compose project {owner}: cutover.share={project} there would let it in"
                    )
                }
                (Some(owner), None) => {
                    format!(
                        " of the compose project {owner}: cutover.project={owner} here would let it in"
                    )
                }
                (None, _) => String::new(),
            };
            return Some(format!("its route {host}{path} belongs to service {first}{hint}"));
        }
        let other = owner.paths.get(path).filter(|other| *other != service)?;
        Some(format!("its route {host}{path} belongs to service {other}, which had it first"))
    }
}
