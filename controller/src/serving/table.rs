//! From the state to the table: a pure function.

use std::collections::BTreeMap;

use cutover_proxy::table::{
    Color, EndpointSpec, Generation, HostPattern, Policy, PoolSpec, RouteSpec, ServiceName,
    ServiceSpec, TableSpec,
};

use crate::config::ServiceConfig;
use crate::state::State;

/// Builds the table that serves the state as it is. Its generation is left to the link.
///
/// Only colors with a share are in it. Of two services that claim the same host and path the one that
/// owns it has it: those of the file before those of labels, then as the journal says.
#[must_use]
pub(crate) fn build(state: &State) -> TableSpec {
    TableSpec {
        generation: Generation(0),
        routes: claims(state).into_values().map(|claim| claim.route).collect(),
        services: state.services().map(|(name, config)| service(state, name, config)).collect(),
        policy: Policy {
            trusted_proxies: state.config().listen.trusted_proxies.clone(),
            limits: state.config().limits,
        },
    }
}

/// Who gets which host and path, and who else wanted it.
#[must_use]
pub(crate) fn claims(state: &State) -> BTreeMap<(HostPattern, String), RouteClaim> {
    let mut claims = BTreeMap::new();
    for (name, config) in state.services() {
        let any = [HostPattern::Any];
        let hosts = if config.hosts.is_empty() { any.as_slice() } else { config.hosts.as_slice() };
        for host in hosts {
            let route = RouteSpec {
                host: host.clone(),
                path: config.path.clone(),
                strip_prefix: config.strip_prefix,
                service: name.clone(),
            };
            let owner = state.journal().hosts.owner(host);
            let foreign = owner.is_some_and(|owner| owner.paths.get(&config.path) != Some(name));
            let written = state.config().services.get(name).is_some_and(|file| {
                file.path == config.path
                    && (file.hosts == config.hosts || file.hosts.contains(host))
            });
            if foreign && !written {
                continue;
            }
            claims
                .entry((host.clone(), config.path.clone()))
                .and_modify(|first: &mut RouteClaim| first.refused.push(name.clone()))
                .or_insert(RouteClaim { route, refused: Vec::new() });
        }
    }
    claims
}

/// A route and the services that came too late for it.
#[derive(Clone, Debug)]
pub(crate) struct RouteClaim {
    /// The route.
    pub route: RouteSpec,
    /// Who else wanted it.
    pub refused: Vec<ServiceName>,
}

fn service(state: &State, name: &ServiceName, config: &ServiceConfig) -> ServiceSpec {
    let weights = state.weights(name);
    let serving = Color::ALL.into_iter().filter(|&color| weights.serves(color));
    ServiceSpec {
        name: name.clone(),
        pools: serving
            .map(|color| PoolSpec {
                color,
                weight: weights.color(color),
                endpoints: endpoints(state, name, color),
            })
            .collect(),
        balance: config.balance.clone(),
        host: config.host.clone(),
        max_body: config.max_body,
        timeouts: config.timeouts,
        pause: state.pause(name),
    }
}

fn endpoints(state: &State, name: &ServiceName, color: Color) -> Vec<EndpointSpec> {
    let mut specs: Vec<EndpointSpec> = Vec::new();
    for endpoint in state.endpoints(name, color) {
        let Some(address) = endpoint.address else {
            continue;
        };
        // The same address written twice is one endpoint.
        if specs.iter().any(|spec| spec.id == endpoint.id) {
            continue;
        }
        let up = state.up(name, color, &endpoint);
        specs.push(EndpointSpec { id: endpoint.id, address, weight: endpoint.weight, up });
    }
    specs
}

#[cfg(test)]
mod tests;
