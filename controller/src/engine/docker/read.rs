//! What Docker says of a container or an image, typed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, Health, HealthStatusEnum, ImageInspect,
    MountPoint,
};

use crate::engine::clone_spec::is_anonymous;
use crate::engine::container::Wellness;
use crate::engine::{Container, Image, State, WorkloadId};

/// A container; `None` for an answer without an ID.
pub(in crate::engine) fn container(inspected: ContainerInspectResponse) -> Option<Container> {
    let id = WorkloadId::local(inspected.id?);
    let config = inspected.config.unwrap_or_default();
    let host = inspected.host_config.unwrap_or_default();
    let state = inspected.state.unwrap_or_default();
    let settings = inspected.network_settings.unwrap_or_default();
    let networks = settings.networks.unwrap_or_default();
    let joined = networks.keys().cloned().collect();
    let networks = networks.into_iter().filter_map(|(name, endpoint)| {
        let v4 = endpoint.ip_address.filter(|ip| !ip.is_empty());
        let ip = v4.or(endpoint.global_ipv6_address)?;
        Some((name, ip.parse().ok()?))
    });
    let mode = host.network_mode.unwrap_or_default();
    let foreign = mode == "host" || mode == "none" || mode.starts_with("container:");
    let port = |spec: &str| spec.strip_suffix("/tcp")?.parse().ok();
    let bindings = host.port_bindings.unwrap_or_default();
    let published = bindings.into_values().flatten().flatten();
    let mounts = inspected.mounts.unwrap_or_default();
    // Volumes without a name are a copy's own business.
    let named = |mount: &MountPoint| !mount.name.as_deref().is_some_and(is_anonymous);
    let writable = mounts.into_iter().filter(|m| m.rw == Some(true) && named(m));
    Some(Container {
        id,
        name: inspected.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        labels: config.labels.unwrap_or_default().into_iter().collect(),
        image: config.image.unwrap_or_default(),
        image_id: inspected.image.unwrap_or_default(),
        created: inspected.created.as_deref().and_then(time).unwrap_or(UNIX_EPOCH),
        started: state.started_at.as_deref().and_then(time),
        state: match state.status {
            Some(ContainerStateStatusEnum::CREATED) => State::Created,
            Some(ContainerStateStatusEnum::PAUSED) => State::Paused,
            Some(ContainerStateStatusEnum::RESTARTING) => State::Restarting,
            Some(ContainerStateStatusEnum::RUNNING) => State::Running,
            _ => State::Stopped,
        },
        wellness: wellness(state.health.unwrap_or_default()),
        restarts: inspected.restart_count.and_then(|n| n.try_into().ok()).unwrap_or(0),
        exit_code: state.exit_code.unwrap_or(0),
        oom_killed: state.oom_killed.unwrap_or(false),
        ports: config.exposed_ports.iter().flatten().filter_map(|p| port(p)).collect(),
        networks: networks.collect(),
        joined,
        foreign_network: foreign.then_some(mode),
        published: published.filter_map(|b| b.host_port?.parse().ok()).filter(|p| *p > 0).collect(),
        stop_signal: config.stop_signal,
        stop_grace: config
            .stop_timeout
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(STOP_GRACE, Duration::from_secs),
        writable_mounts: writable.filter_map(|mount| mount.name.or(mount.source)).collect(),
        memory: host.memory.and_then(|bytes| bytes.try_into().ok()).unwrap_or(0),
        health_checked: config.healthcheck.and_then(|check| check.test).is_some_and(is_asked),
    })
}

fn wellness(health: Health) -> Wellness {
    match health.status {
        Some(HealthStatusEnum::HEALTHY) => Wellness::Healthy,
        Some(HealthStatusEnum::STARTING) => Wellness::Starting,
        Some(HealthStatusEnum::UNHEALTHY) => {
            let last = health.log.unwrap_or_default().pop();
            Wellness::Unhealthy(last.and_then(|log| log.output).unwrap_or_default())
        }
        Some(HealthStatusEnum::EMPTY | HealthStatusEnum::NONE) | None => Wellness::Unchecked,
    }
}

/// An image; `None` for an answer without an ID.
pub(super) fn image(inspected: ImageInspect) -> Option<Image> {
    Some(Image {
        id: inspected.id?,
        digests: inspected.repo_digests.unwrap_or_default(),
        bytes: inspected.size.and_then(|bytes| bytes.try_into().ok()).unwrap_or(0),
    })
}

/// A time of RFC 3339, in UTC or with an offset; `None` for Docker's year 1, which means never.
pub(super) fn time(text: &str) -> Option<SystemTime> {
    if let Ok(time) = humantime::parse_rfc3339(text) {
        return Some(time);
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let ahead = match offset.get(..1)? {
        "+" => true,
        "-" => false,
        _ => return None,
    };
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let seconds = hours.parse::<u64>().ok()? * 3600 + minutes.parse::<u64>().ok()? * 60;
    let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let offset = Duration::from_secs(seconds);
    if ahead { local.checked_sub(offset) } else { local.checked_add(offset) }
}

fn is_asked(test: Vec<String>) -> bool {
    !test.is_empty() && test != ["NONE"]
}

/// Docker's own.
const STOP_GRACE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_sort_by_time_however_many_digits_they_are_written_with() {
        let sorted = [
            "2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05.1Z",
            "2026-01-02T03:04:05.123456789Z",
            "2026-01-02T03:04:05.13Z",
            "2026-01-02T04:04:05.2+01:00",
            "2026-01-02T01:04:05.3-02:00",
            "2026-01-02T03:04:06Z",
        ];
        let times = sorted.map(|text| time(text).unwrap());
        assert!(times.is_sorted(), "{times:?}");
        assert_eq!(time("2026-01-02T03:04:05.10Z"), time("2026-01-02T03:04:05.1000000000Z"));
        assert_eq!(time("2026-01-02T04:04:05+01:00"), time("2026-01-02T03:04:05Z"));
        for never in ["0001-01-01T00:00:00Z", "", "yesterday", "é"] {
            assert_eq!(time(never), None, "{never}");
        }
    }
}
