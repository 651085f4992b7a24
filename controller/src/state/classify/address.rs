//! Where a container can be reached.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use super::Facts;
use crate::engine::Container;
use crate::state::sighting::Workload;

/// Where Cutover runs: it decides by which address a container can be reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Home {
    /// In the host's network: every bridge can be reached.
    Host,
    /// In a container: only these networks can be reached.
    Networks(BTreeSet<String>),
}

impl Home {
    /// Where a container of ours is; none is the host.
    #[must_use]
    pub(crate) fn of(own: Option<&Container>) -> Self {
        match own {
            Some(own) if own.foreign_network.is_none() => {
                Self::Networks(own.networks.keys().cloned().collect())
            }
            _ => Self::Host,
        }
    }
}

/// Whether it runs where we can reach it: what another edge serves, on networks of its own, claims
/// nothing here.
pub(super) fn reachable(workload: &Workload, facts: &Facts<'_>) -> bool {
    workload.runs() && address(workload, facts).is_ok()
}

pub(super) fn port(workload: &Workload) -> Result<u16, String> {
    if let Some(port) = workload.settings.port {
        return Ok(port);
    }
    let ports = &workload.container.ports;
    let mut all = ports.iter();
    match (all.next(), all.next()) {
        (Some(port), None) => Ok(*port),
        (None, _) => Err("it exposes no port: say which with cutover.port".into()),
        (Some(_), Some(_)) => {
            let all: Vec<_> = ports.iter().map(ToString::to_string).collect();
            Err(format!("it exposes {}: say which with cutover.port", all.join(", ")))
        }
    }
}

pub(super) fn address(workload: &Workload, facts: &Facts<'_>) -> Result<IpAddr, String> {
    let container = &workload.container;
    let names = || match container.networks.is_empty() {
        true => "none".to_owned(),
        false => container.networks.keys().cloned().collect::<Vec<_>>().join(", "),
    };
    if let Some(wanted) = &workload.settings.network {
        // Compose puts the project's name before it.
        let suffix = format!("_{wanted}");
        let found = container.networks.iter().find(|(n, _)| *n == wanted || n.ends_with(&suffix));
        let missing = || format!("it is not in network {wanted} but in {}", names());
        return found.map(|(_, ip)| *ip).ok_or_else(missing);
    }
    match facts.sighting.home.as_ref().unwrap_or(&Home::Host) {
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
