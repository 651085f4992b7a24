//! Who has which host: an owner keeps it until its last container of that service is gone.

use std::collections::BTreeMap;

use cutover_proxy::table::{HostPattern, ServiceName};
use serde::{Deserialize, Serialize};

/// The owners of all hosts.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Hosts(BTreeMap<String, HostOwner>);

/// Who has a host, with all its paths.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct HostOwner {
    /// The compose project; `None` for containers of no project.
    pub project: Option<String>,
    /// Which service has which path.
    pub paths: BTreeMap<String, ServiceName>,
}

impl Hosts {
    /// Who has a host.
    #[must_use]
    pub fn owner(&self, host: &HostPattern) -> Option<&HostOwner> {
        self.0.get(&host.to_string())
    }

    /// Which service has a host's path.
    #[must_use]
    pub fn path_owner(&self, host: &HostPattern, path: &str) -> Option<&ServiceName> {
        self.owner(host)?.paths.get(path)
    }

    /// Gives a path of a host to a service, and the host to its project if nobody has it. What
    /// somebody has stays theirs: says whether the service has the path now.
    pub fn claim(
        &mut self,
        host: &HostPattern,
        path: &str,
        service: &ServiceName,
        project: Option<&str>,
    ) -> bool {
        let owner = self.0.entry(host.to_string()).or_insert_with(|| HostOwner {
            project: project.map(str::to_owned),
            paths: BTreeMap::new(),
        });
        owner.paths.entry(path.to_owned()).or_insert_with(|| service.clone()) == service
    }

    /// Takes paths from services that are not to keep them; a host without a path is free.
    pub fn retain(&mut self, mut keeps: impl FnMut(&str, &str, &ServiceName) -> bool) {
        self.0.retain(|host, owner| {
            owner.paths.retain(|path, service| keeps(host, path, service));
            !owner.paths.is_empty()
        });
    }

    /// Every host and its owner; a host is written as in `cutover.hosts`, any host as `*`.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &HostOwner)> {
        self.0.iter().map(|(host, owner)| (host.as_str(), owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_its_owners_until_the_last_path_is_given_back() {
        let (web, api, evil): (ServiceName, ServiceName, ServiceName) =
            ("web".parse().unwrap(), "api".parse().unwrap(), "evil".parse().unwrap());
        let host = HostPattern::Exact("a.example".into());
        let mut hosts = Hosts::default();
        assert!(hosts.claim(&host, "/", &web, Some("one")));
        assert!(hosts.claim(&host, "/api", &api, Some("one")));
        assert!(!hosts.claim(&host, "/", &evil, Some("two")), "somebody has it");
        assert_eq!(hosts.owner(&host).unwrap().project.as_deref(), Some("one"));
        hosts.retain(|_, _, service| *service == api);
        assert_eq!(hosts.path_owner(&host, "/"), None);
        assert_eq!(hosts.owner(&host).unwrap().project.as_deref(), Some("one"));
        hosts.retain(|_, _, _| false);
        assert!(hosts.owner(&host).is_none(), "free for the next one");
    }
}
