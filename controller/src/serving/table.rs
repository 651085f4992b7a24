//! From the world to the table: a pure function.

use std::collections::BTreeMap;

use cutover_proxy::table::{
    Color, EndpointSpec, Generation, HostPattern, Policy, PoolSpec, RouteSpec, ServiceName,
    ServiceSpec, TableSpec,
};

use crate::config::ServiceConfig;
use crate::state::world::World;

/// Builds the table that serves the world as it is. Its generation is left to the link.
///
/// Only colors with a share are in it. Of two services that claim the same host and path the first
/// keeps it: those of the file before those of labels, then by name.
#[must_use]
pub(crate) fn build(world: &World) -> TableSpec {
    TableSpec {
        generation: Generation(0),
        routes: claims(world).into_values().map(|claim| claim.route).collect(),
        services: world.services().map(|(name, config)| service(world, name, config)).collect(),
        policy: Policy {
            trusted_proxies: world.config.listen.trusted_proxies.clone(),
            limits: world.config.limits,
        },
    }
}

/// Who gets which host and path, and who else wanted it.
#[must_use]
pub(crate) fn claims(world: &World) -> BTreeMap<(HostPattern, String), Claim> {
    let mut claims = BTreeMap::new();
    for (name, config) in world.services() {
        let any = [HostPattern::Any];
        let hosts = if config.hosts.is_empty() { any.as_slice() } else { config.hosts.as_slice() };
        for host in hosts {
            let route = RouteSpec {
                host: host.clone(),
                path: config.path.clone(),
                strip_prefix: config.strip_prefix,
                service: name.clone(),
            };
            claims
                .entry((host.clone(), config.path.clone()))
                .and_modify(|first: &mut Claim| first.refused.push(name.clone()))
                .or_insert(Claim { route, refused: Vec::new() });
        }
    }
    claims
}

/// A route and the services that came too late for it.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    /// The route.
    pub route: RouteSpec,
    /// Who else wanted it.
    pub refused: Vec<ServiceName>,
}

fn service(world: &World, name: &ServiceName, config: &ServiceConfig) -> ServiceSpec {
    let weights = world.weights(name);
    let serving = Color::ALL.into_iter().filter(|&color| weights.serves(color));
    ServiceSpec {
        name: name.clone(),
        pools: serving
            .map(|color| PoolSpec {
                color,
                weight: weights.color(color),
                endpoints: endpoints(world, name, color),
            })
            .collect(),
        balance: config.balance.clone(),
        host: config.host.clone(),
        max_body: config.max_body,
        timeouts: config.timeouts,
        pause: world.pause(name),
    }
}

fn endpoints(world: &World, name: &ServiceName, color: Color) -> Vec<EndpointSpec> {
    let mut specs: Vec<EndpointSpec> = Vec::new();
    for endpoint in world.endpoints(name, color) {
        let Some(address) = endpoint.address else {
            continue;
        };
        // The same address written twice is one endpoint.
        if specs.iter().any(|spec| spec.id == endpoint.id) {
            continue;
        }
        let up = world.up(name, color, &endpoint);
        specs.push(EndpointSpec { id: endpoint.id, address, weight: endpoint.weight, up });
    }
    specs
}

#[cfg(test)]
mod tests;
