//! What the fake says of a container, as Docker says it.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{
    ContainerConfig, ContainerCreateBody, ContainerInspectResponse, ContainerState,
    ContainerStateStatusEnum, EndpointSettings, Health, HealthConfig, HealthStatusEnum,
    HealthcheckResult, ImageConfig, MountPoint, NetworkSettings,
};

use super::clock::date;
use super::workload::Workload;
use crate::engine::State;
use crate::engine::container::Wellness;

/// The answer to `GET /containers/ID/json`.
pub(super) fn inspect(workload: &Workload) -> ContainerInspectResponse {
    let host = workload.spec.body.host_config.clone();
    let networks = workload.networks.iter().map(|(name, address)| {
        let first = workload.spec.body.networking_config.as_ref();
        let first = first.and_then(|config| config.endpoints_config.as_ref()?.get(name));
        let joined = workload.spec.networks.iter().find(|(joined, _)| joined == name);
        let joined = joined.and_then(|(_, request)| request.endpoint_config.as_ref());
        let endpoint = EndpointSettings {
            ip_address: Some(address.map_or_else(String::new, |address| address.to_string())),
            ..first.or(joined).cloned().unwrap_or_default()
        };
        (name.clone(), endpoint)
    });
    let mounts = host.iter().filter_map(|host| host.binds.as_ref()).flatten().map(|bind| {
        let mut parts = bind.split(':');
        MountPoint {
            source: parts.next().map(str::to_owned),
            destination: parts.next().map(str::to_owned),
            rw: Some(parts.next() != Some("ro")),
            ..MountPoint::default()
        }
    });
    ContainerInspectResponse {
        id: Some(workload.id.clone()),
        created: Some(rfc3339(workload.created)),
        name: Some(format!("/{}", workload.name)),
        image: Some(workload.image_id.clone()),
        restart_count: Some(workload.restarts),
        state: Some(state(workload)),
        mounts: Some(mounts.collect()),
        config: Some(merged(workload.spec.body.clone(), &workload.image, &workload.id)),
        network_settings: Some(NetworkSettings {
            networks: Some(networks.collect::<HashMap<_, _>>()),
            ..NetworkSettings::default()
        }),
        host_config: host,
        ..ContainerInspectResponse::default()
    }
}

fn state(workload: &Workload) -> ContainerState {
    use ContainerStateStatusEnum as Status;
    let health = match &workload.wellness {
        Wellness::Healthy => Some((HealthStatusEnum::HEALTHY, None)),
        Wellness::Starting => Some((HealthStatusEnum::STARTING, None)),
        Wellness::Unhealthy(output) => Some((HealthStatusEnum::UNHEALTHY, Some(output.clone()))),
        Wellness::Unchecked => None,
    };
    ContainerState {
        status: Some(match workload.state {
            State::Created => Status::CREATED,
            State::Paused => Status::PAUSED,
            State::Restarting => Status::RESTARTING,
            State::Running => Status::RUNNING,
            State::Stopped => Status::EXITED,
        }),
        exit_code: Some(workload.exit_code),
        started_at: Some(workload.started.map_or_else(|| NEVER.to_owned(), rfc3339)),
        health: health.map(|(status, output)| Health {
            status: Some(status),
            log: Some(vec![HealthcheckResult { output, ..HealthcheckResult::default() }]),
            ..Health::default()
        }),
        ..ContainerState::default()
    }
}

/// What the user and the image say together, merged as Docker's daemon does (`daemon/commit.go`).
pub(in crate::engine) fn merged(
    user: ContainerCreateBody,
    image: &ImageConfig,
    id: &str,
) -> ContainerConfig {
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let key = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut env = user.env.unwrap_or_default();
    let set: Vec<String> = env.iter().map(|variable| key(variable)).collect();
    let of_image = image.env.iter().flatten();
    env.extend(of_image.filter(|variable| !set.contains(&key(variable))).cloned());
    let mut labels = image.labels.clone().unwrap_or_default();
    labels.extend(user.labels.unwrap_or_default());
    let is_empty = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
    let (mut entrypoint, mut cmd) = (user.entrypoint, user.cmd);
    if is_empty(&entrypoint) {
        if is_empty(&cmd) {
            cmd.clone_from(&image.cmd);
        }
        entrypoint = entrypoint.or_else(|| image.entrypoint.clone());
    }
    if entrypoint.as_ref().is_some_and(|entrypoint| *entrypoint == [""]) {
        entrypoint = None;
    }
    let union = |own: Option<Vec<String>>, of_image: &Option<Vec<String>>| {
        let mut all = own.unwrap_or_default();
        let more: Vec<_> =
            of_image.iter().flatten().filter(|e| !all.contains(e)).cloned().collect();
        all.extend(more);
        Some(all)
    };
    ContainerConfig {
        hostname: user.hostname.or_else(|| id.get(..12).map(str::to_owned)),
        user: filled(&user.user).or_else(|| image.user.clone()),
        exposed_ports: union(user.exposed_ports, &image.exposed_ports),
        env: Some(env),
        cmd,
        entrypoint,
        healthcheck: health(user.healthcheck, image.healthcheck.clone()),
        image: user.image,
        volumes: union(user.volumes, &image.volumes),
        working_dir: filled(&user.working_dir).or_else(|| image.working_dir.clone()),
        labels: Some(labels),
        stop_signal: filled(&user.stop_signal).or_else(|| image.stop_signal.clone()),
        stop_timeout: user.stop_timeout,
        ..ContainerConfig::default()
    }
}

fn health(own: Option<HealthConfig>, of_image: Option<HealthConfig>) -> Option<HealthConfig> {
    let (Some(own), Some(of_image)) = (own.clone(), of_image.clone()) else {
        return own.or(of_image);
    };
    let number = |own: Option<i64>, of_image| own.filter(|own| *own != 0).or(of_image);
    Some(HealthConfig {
        test: own.test.filter(|test| !test.is_empty()).or(of_image.test),
        interval: number(own.interval, of_image.interval),
        timeout: number(own.timeout, of_image.timeout),
        retries: number(own.retries, of_image.retries),
        start_period: number(own.start_period, of_image.start_period),
        start_interval: number(own.start_interval, of_image.start_interval),
    })
}

fn rfc3339(at: Duration) -> String {
    humantime::format_rfc3339_nanos(date(at)).to_string()
}

const NEVER: &str = "0001-01-01T00:00:00Z";
