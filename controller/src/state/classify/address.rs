//! Where a container can be reached.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use super::Facts;
use crate::engine::Container;
use crate::state::observed::Workload;

/// Where Cutover runs: it decides by which address a container can be reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum EdgeNetwork {
    /// In the host's network: every bridge can be reached.
    Host,
    /// In a container: only these networks can be reached.
    Networks(BTreeSet<String>),
}

impl EdgeNetwork {
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

/// Why a container cannot be reached, as its user is told.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Unreachable {
    /// It and we are in no network together.
    #[error("no network in common: it is in {theirs}, we are in {ours}")]
    Apart {
        /// Its networks.
        theirs: String,
        /// Ours.
        ours: String,
    },
    /// It is in no network that has given it an address.
    #[error("it has no address on any network")]
    NoAddress,
    /// No port is said, and its image exposes none.
    #[error("it exposes no port: say which with cutover.port")]
    NoPort,
    /// It is not where its settings say.
    #[error("it is not in network {wanted} but in {theirs}")]
    NotInNetwork {
        /// What its settings say.
        wanted: String,
        /// Its networks.
        theirs: String,
    },
    /// No port is said, and several are exposed.
    #[error("it exposes {0}: say which with cutover.port")]
    SeveralPorts(String),
}

pub(super) fn port(workload: &Workload) -> Result<u16, Unreachable> {
    if let Some(port) = workload.settings.port {
        return Ok(port);
    }
    let ports = &workload.container.ports;
    let mut all = ports.iter();
    match (all.next(), all.next()) {
        (Some(port), None) => Ok(*port),
        (None, _) => Err(Unreachable::NoPort),
        (Some(_), Some(_)) => {
            let all: Vec<_> = ports.iter().map(ToString::to_string).collect();
            Err(Unreachable::SeveralPorts(all.join(", ")))
        }
    }
}

pub(super) fn address(workload: &Workload, facts: &Facts<'_>) -> Result<IpAddr, Unreachable> {
    let container = &workload.container;
    let names = || match container.networks.is_empty() {
        true => "none".to_owned(),
        false => container.networks.keys().cloned().collect::<Vec<_>>().join(", "),
    };
    if let Some(wanted) = &workload.settings.network {
        // Compose puts the project's name before it.
        let suffix = format!("_{wanted}");
        let found = container.networks.iter().find(|(n, _)| *n == wanted || n.ends_with(&suffix));
        let missing = || Unreachable::NotInNetwork { wanted: wanted.clone(), theirs: names() };
        return found.map(|(_, ip)| *ip).ok_or_else(missing);
    }
    match facts.observed.network.as_ref().unwrap_or(&EdgeNetwork::Host) {
        EdgeNetwork::Host if container.foreign_network.as_deref() == Some("host") => {
            Ok(Ipv4Addr::LOCALHOST.into())
        }
        EdgeNetwork::Host => {
            let first = container.networks.values().next().copied();
            first.ok_or(Unreachable::NoAddress)
        }
        EdgeNetwork::Networks(ours) => {
            let shared = container.networks.iter().find(|(name, _)| ours.contains(*name));
            let apart = || {
                let ours: Vec<_> = ours.iter().cloned().collect();
                Unreachable::Apart { theirs: names(), ours: ours.join(", ") }
            };
            shared.map(|(_, ip)| *ip).ok_or_else(apart)
        }
    }
}
