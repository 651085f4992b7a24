//! Endpoints: those that the config file names, and those of containers.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use cutover_proxy::table::{Color, EndpointId, ServiceName};

use super::{ContainerEndpoint, State};
use crate::config::ServiceConfig;

/// Which endpoint of which color of which service.
pub(crate) type EndpointKey = (ServiceName, Color, EndpointId);

/// An endpoint as the state sees it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Who.
    pub id: EndpointId,
    /// Where; `None` while a name is not resolved.
    pub address: Option<SocketAddr>,
    /// What the config calls it.
    pub label: String,
    /// The container's name.
    pub container: Option<String>,
    /// The share within its pool.
    pub weight: u32,
    /// Why it may not get requests, whatever the probes say.
    pub unwell: Option<String>,
    /// The settings of its container; `None` has the service's.
    pub settings: Option<Arc<ServiceConfig>>,
}

/// What is known of a host name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Resolved {
    /// The last good answer, sorted.
    pub addresses: Vec<IpAddr>,
    /// Why there is no newer one.
    pub error: Option<String>,
}

impl State {
    /// The endpoints of a color: those of the config in its order, then containers.
    #[must_use]
    pub(crate) fn endpoints(&self, name: &ServiceName, color: Color) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        for fixed in self.service(name).map(|s| s.endpoints(color)).unwrap_or_default() {
            let label = authority(&fixed.host, fixed.port);
            let addresses = self.names.get(&fixed.host).map(|n| n.addresses.as_slice());
            let addresses = addresses.unwrap_or_default();
            let endpoint = |id: EndpointId, address, unwell| Endpoint {
                id,
                address,
                label: label.clone(),
                container: None,
                weight: fixed.weight,
                unwell,
                settings: None,
            };
            if addresses.is_empty() {
                let error = self.names.get(&fixed.host).and_then(|n| n.error.clone());
                let unwell = error.unwrap_or_else(|| "its name is being resolved".into());
                endpoints.push(endpoint(label.as_str().into(), None, Some(unwell)));
            }
            for &ip in addresses {
                // A name that moves is another container: its connections must not be kept.
                let id = match literal(&fixed.host) {
                    Some(_) => EndpointId(label.as_str().into()),
                    None => EndpointId(format!("{label}#{ip}").into()),
                };
                endpoints.push(endpoint(id, Some(SocketAddr::new(ip, fixed.port)), None));
            }
        }
        let ours = self.discovered.endpoints_of(name).iter().filter(|e| e.color == color);
        endpoints.extend(ours.map(Endpoint::from));
        endpoints
    }

    /// Every host name that has to be resolved.
    #[must_use]
    pub(crate) fn host_names(&self) -> BTreeSet<String> {
        let fixed =
            self.services().flat_map(|(_, service)| service.blue.iter().chain(&service.green));
        fixed.map(|e| e.host.clone()).filter(|host| literal(host).is_none()).collect()
    }

    /// Puts addresses that are written as such where the resolver puts its answers.
    pub(crate) fn look_up_literals(&mut self) {
        let hosts = self.services().flat_map(|(_, s)| s.blue.iter().chain(&s.green));
        let literals: Vec<_> =
            hosts.filter_map(|e| literal(&e.host).map(|ip| (e.host.clone(), ip))).collect();
        for (host, ip) in literals {
            self.names.insert(host, Resolved { addresses: vec![ip], error: None });
        }
    }
}

impl From<&ContainerEndpoint> for Endpoint {
    fn from(found: &ContainerEndpoint) -> Self {
        Self {
            id: found.id(),
            address: Some(found.address),
            label: found.address.to_string(),
            container: Some(found.name.clone()),
            weight: found.weight,
            unwell: found.unwell.clone(),
            settings: Some(Arc::clone(&found.settings)),
        }
    }
}

/// `host:port`, with brackets around an IPv6 address.
#[must_use]
pub(crate) fn authority(host: &str, port: u16) -> String {
    match literal(host) {
        Some(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

/// The address, where a host is one: `10.0.0.1`, `::1`, `[::1]`.
#[must_use]
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}
