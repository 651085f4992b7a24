//! The routes of a config in the order in which they are tried.

use cutover_proxy::table::{HostPattern, ServiceName};

use super::{Config, ServiceConfig};

/// One line of the routing table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route<'a> {
    /// Which hosts.
    pub host: HostPattern,
    /// Which paths.
    pub path: &'a str,
    /// Who answers.
    pub service: &'a ServiceName,
}

impl Config {
    /// Every route of the file: exact hosts, then wildcards, then any host; within a host the
    /// longest path first.
    #[must_use]
    pub fn routes(&self) -> Vec<Route<'_>> {
        let mut routes: Vec<Route<'_>> = self
            .services
            .iter()
            .flat_map(|(service, config)| {
                let hosts = config.host_patterns().into_iter();
                hosts.map(move |host| Route { host, path: &config.path, service })
            })
            .collect();
        routes.sort_by(|a, b| {
            let order = |route: &Route<'_>| {
                (class(&route.host), route.host.clone(), std::cmp::Reverse(route.path.len()))
            };
            order(a).cmp(&order(b)).then_with(|| a.path.cmp(b.path))
        });
        routes
    }
}

impl ServiceConfig {
    /// The hosts of the service's routes; [`HostPattern::Any`] where none is given.
    #[must_use]
    pub fn host_patterns(&self) -> Vec<HostPattern> {
        match self.hosts.is_empty() {
            true => vec![HostPattern::Any],
            false => self.hosts.clone(),
        }
    }
}

fn class(host: &HostPattern) -> u8 {
    match host {
        HostPattern::Exact(_) => 0,
        HostPattern::Wildcard(_) => 1,
        HostPattern::Any => 2,
    }
}
