//! From the state to its status.

use cutover_api::{
    ByColor, ColorStatus, DockerStatus, EndpointStatus, Kind, LastRollout, ProxyStatus,
    RolloutStatus, ServiceStatus, Status,
};
use cutover_proxy::table::{Color, ColorStats, ServiceName, Snapshot};
use tokio::time::Instant;

use super::Controller;
use crate::error::Error;
use crate::serving::edge::Link;
use crate::serving::table::claims;
use crate::state::rollout::{Part, Record};
use crate::state::{Endpoint, State};

impl Controller {
    /// Everything at a glance, with fresh counts.
    pub async fn status(&self) -> Status {
        self.snapshot().await;
        let proxy = match &*self.0.edge.link().borrow() {
            Link::Up { pid, .. } => ProxyStatus { connected: true, pid: Some(*pid) },
            Link::Down => ProxyStatus::default(),
        };
        let generation = self.generation();
        self.state(|state| Status {
            version: env!("CARGO_PKG_VERSION").into(),
            generation,
            config: state.config_status().clone(),
            proxy,
            journal_error: state.journal_error().cloned(),
            journal_notes: state.journal_notes().to_vec(),
            docker_error: state.docker_error().cloned(),
            docker: docker(state),
            services: state.services().map(|(name, _)| service(state, name)).collect(),
            left_out: state.discovered().left_out.clone(),
        })
    }

    /// One service, with fresh counts.
    ///
    /// # Errors
    /// [`Error::UnknownService`].
    pub async fn service_status(&self, name: &ServiceName) -> Result<ServiceStatus, Error> {
        self.snapshot().await;
        self.state(|state| match state.service(name) {
            Some(_) => Ok(service(state, name)),
            None => Err(Error::UnknownService { name: name.to_string(), known: state.known() }),
        })
    }
}

/// Which engine it is, unless it is switched off.
fn docker(state: &State) -> Option<DockerStatus> {
    let engine = state.docker_version();
    state.config().docker.enable.then(|| DockerStatus {
        version: engine.map(|engine| engine.version.clone()),
        api_version: engine.map(|engine| engine.api_version.clone()),
        error: state.docker_error().cloned(),
    })
}

fn service(state: &State, name: &ServiceName) -> ServiceStatus {
    let weights = state.weights(name);
    let pause = state.pause(name);
    let counts = state.snapshot().services.iter().find(|s| s.name == name.as_str());
    let (mut routes, mut shadowed) = (Vec::new(), Vec::new());
    for ((host, path), claim) in claims(state) {
        if claim.route.service == *name {
            routes.push(format!("{host}{path}"));
        } else if claim.refused.contains(name) {
            shadowed.push(format!("{host}{path} belongs to {}", claim.route.service));
        }
    }
    let history = state.journal().services.get(name).map(|service| service.history());
    let last = history.and_then(|history| {
        let mut reports = history.iter().rev().map(|entry| entry.report());
        reports.find(|report| report.kind != Kind::Failover)
    });
    ServiceStatus {
        name: name.clone(),
        active: weights.active(),
        weights,
        paused: pause.is_some(),
        pause,
        waiting: counts.map_or(0, |s| s.waiting),
        routes,
        shadowed,
        colors: ByColor::each(|c| color(state, name, c)),
        draining: state.draining(name, Instant::now()),
        rollout: state.journal().rollout_of(name).map(rollout),
        last_rollout: last.map(LastRollout::from),
        note: state.note(name),
    }
}

/// What of a rollout is for all eyes: its containers' environment is not.
fn rollout((record, part): (&Record, &Part)) -> RolloutStatus {
    RolloutStatus {
        id: record.id.clone(),
        kind: record.kind,
        phase: record.machine.phase(),
        at: record.at.clone(),
        by: record.by.clone(),
        revision: part.revision,
        from: part.from,
        to: part.to,
        image: part.image.clone(),
    }
}

fn color(state: &State, name: &ServiceName, color: Color) -> ColorStatus {
    let counts = color_counts(state.snapshot(), name, color);
    let endpoints = state.endpoints(name, color);
    ColorStatus {
        endpoints: endpoints.iter().map(|e| endpoint(state, name, color, e)).collect(),
        requests_in_flight: counts.map_or(0, |c| c.requests_in_flight),
        streams_in_flight: counts.map_or(0, |c| c.streams_in_flight),
        requests: counts.map_or(0, |c| c.requests.values().sum()),
    }
}

/// What the proxy has counted for a color.
pub(crate) fn color_counts<'s>(
    snapshot: &'s Snapshot,
    name: &ServiceName,
    color: Color,
) -> Option<&'s ColorStats> {
    let service = snapshot.services.iter().find(|s| s.name == name.as_str())?;
    service.colors.iter().find(|c| c.color == color.as_str())
}

fn endpoint(
    state: &State,
    name: &ServiceName,
    color: Color,
    endpoint: &Endpoint,
) -> EndpointStatus {
    let up = state.up(name, color, endpoint);
    let forced = state.up_by_force(name, color, endpoint);
    let key = (name.clone(), color, endpoint.id.clone());
    let last = state.health(&key).and_then(|health| health.last());
    let pools = state.snapshot().pools.iter();
    let ejected = pools
        .filter(|p| !p.retired && p.service == *name && p.color == color)
        .any(|p| p.endpoints.iter().any(|e| e.id == endpoint.id && e.ejected));
    let reason = match (&endpoint.unwell, last) {
        _ if up && ejected => Some("left out for now: connections to it failed".into()),
        _ if up && !forced => None,
        (Some(unwell), _) => Some(unwell.clone()),
        (None, Some(answer)) => Some(answer.text.clone()),
        (None, None) => Some("not probed yet".into()),
    };
    let reason = reason.map(|why| if forced { format!("{why}; serves by force") } else { why });
    let address = endpoint.address.map_or_else(|| endpoint.label.clone(), |a| a.to_string());
    EndpointStatus {
        name: (endpoint.container.is_none() && endpoint.label != address)
            .then(|| endpoint.label.clone()),
        address,
        container: endpoint.container.clone(),
        up,
        ejected,
        reason,
        last_probe: last.map(|answer| format!("{} in {} ms", answer.text, answer.took.as_millis())),
    }
}
