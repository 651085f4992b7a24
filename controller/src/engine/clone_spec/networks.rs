//! The networks of a copy.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerInspectResponse, EndpointSettings, HostConfig, NetworkConnectRequest,
};
use cutover_api::FindingCode;

use super::notice::Notice;

/// The network that a copy is created in, and those it joins after. Before API 1.44 a container can be
/// created in one network only.
pub(super) fn networks(
    inspected: &ContainerInspectResponse,
    host: &HostConfig,
) -> (HashMap<String, EndpointSettings>, Vec<(String, NetworkConnectRequest)>) {
    let settings = inspected.network_settings.clone().unwrap_or_default();
    let mut networks: BTreeMap<_, _> = settings.networks.unwrap_or_default().into_iter().collect();
    let mode = match host.network_mode.as_deref() {
        None | Some("" | "default") => "bridge",
        Some(mode) => mode,
    };
    let is_first = |name: &str, endpoint: &EndpointSettings| {
        name == mode || endpoint.network_id.as_deref() == Some(mode)
    };
    let first = networks
        .iter()
        .find(|(name, endpoint)| is_first(name, endpoint))
        .map(|(name, _)| name.clone());
    let first = first
        .and_then(|name| networks.remove_entry(&name))
        .map(|(name, endpoint)| (name.clone(), copied(inspected, &name, endpoint)));
    let rest = networks.into_iter().map(|(name, endpoint)| {
        let request = NetworkConnectRequest {
            container: String::new(),
            endpoint_config: Some(copied(inspected, &name, endpoint)),
        };
        (name, request)
    });
    (first.into_iter().collect(), rest.collect())
}

/// What two containers at a time cannot both have.
pub(super) fn notices(inspected: &ContainerInspectResponse) -> Vec<Notice> {
    let mut notices = Vec::new();
    let name = super::name(inspected);
    let mode = inspected.host_config.as_ref().and_then(|host| host.network_mode.as_deref());
    if let Some(mode) = mode.filter(|mode| *mode == "host" || mode.starts_with("container:")) {
        notices.push(Notice::blocker(
            FindingCode::HostNetwork,
            format!("{name} has no network of its own ({mode}): two cannot listen on one port"),
            "take `network_mode:` out of the app's compose service; the edge reaches it over the network",
        ));
    }
    let settings = inspected.network_settings.as_ref();
    let networks = settings.and_then(|settings| settings.networks.as_ref());
    let sorted: BTreeMap<_, _> = networks.into_iter().flatten().collect();
    for (network, endpoint) in sorted {
        let ipam = endpoint.ipam_config.clone().unwrap_or_default();
        let mut fixed: Vec<String> = ipam.link_local_ips.unwrap_or_default();
        fixed.extend(ipam.ipv4_address);
        fixed.extend(ipam.ipv6_address);
        for address in fixed.iter().filter(|address| !address.is_empty()) {
            notices.push(Notice::warning(
                FindingCode::StaticAddress,
                format!(
                    "the static address {address} in {network} is not carried over: {name} has it"
                ),
                "let the engine choose, and reach it by name or through the edge",
            ));
        }
    }
    notices
}

/// What Docker calls a container by where nobody gave it a name.
pub(super) fn is_own_id(inspected: &ContainerInspectResponse, name: &str) -> bool {
    let id = inspected.id.as_deref().unwrap_or_default();
    name.len() == SHORT_ID && id.starts_with(name)
}

/// What the user said of a network; addresses are the engine's, or taken by the original.
fn copied(
    inspected: &ContainerInspectResponse,
    network: &str,
    endpoint: EndpointSettings,
) -> EndpointSettings {
    // Only networks of the user know aliases.
    if matches!(network, "bridge" | "host" | "none") {
        return EndpointSettings::default();
    }
    let aliases = endpoint.aliases.map(|aliases| {
        let own = aliases.into_iter().filter(|alias| !is_own_id(inspected, alias));
        own.collect()
    });
    EndpointSettings {
        aliases,
        links: endpoint.links,
        driver_opts: endpoint.driver_opts,
        gw_priority: endpoint.gw_priority,
        ..EndpointSettings::default()
    }
}

pub(super) const SHORT_ID: usize = 12;
