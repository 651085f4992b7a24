//! From the world to its status.

use cutover_proxy::table::{Color, ColorStats, ServiceName, Snapshot};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::Controller;
use crate::error::Error;
use crate::serving::edge::Link;
use crate::serving::table::claims;
use crate::state::status::{ColorStatus, EndpointStatus, ProxyStatus, ServiceStatus, Status};
use crate::state::world::{Endpoint, World};

impl Controller {
    /// Everything at a glance, with fresh counts.
    pub async fn status(&self) -> Status {
        self.snapshot().await;
        let proxy = match &*self.0.edge.link().borrow() {
            Link::Up { pid, .. } => ProxyStatus { connected: true, pid: Some(*pid) },
            Link::Down => ProxyStatus::default(),
        };
        let generation = self.generation();
        self.world(|world| Status {
            version: env!("CARGO_PKG_VERSION").into(),
            generation,
            config: world.config_status.clone(),
            proxy,
            journal_error: world.journal_error.clone(),
            docker_error: world.docker_error.clone(),
            services: world.services().map(|(name, _)| service(world, name)).collect(),
            left_out: world.discovery.left_out.clone(),
        })
    }

    /// One service, with fresh counts.
    ///
    /// # Errors
    /// [`Error::UnknownService`].
    pub async fn service_status(&self, name: &ServiceName) -> Result<ServiceStatus, Error> {
        self.snapshot().await;
        self.world(|world| match world.service(name) {
            Some(_) => Ok(service(world, name)),
            None => Err(Error::UnknownService { name: name.to_string(), known: world.known() }),
        })
    }
}

fn service(world: &World, name: &ServiceName) -> ServiceStatus {
    let weights = world.weights(name);
    let pause = world.pause(name);
    let counts = world.snapshot.services.iter().find(|s| s.name == name.as_str());
    let (mut routes, mut shadowed) = (Vec::new(), Vec::new());
    for ((host, path), claim) in claims(world) {
        if claim.route.service == *name {
            routes.push(format!("{host}{path}"));
        } else if claim.refused.contains(name) {
            shadowed.push(format!("{host}{path} belongs to {}", claim.route.service));
        }
    }
    ServiceStatus {
        name: name.clone(),
        active: weights.active(),
        weights,
        paused: pause.is_some(),
        pause,
        waiting: counts.map_or(0, |s| s.waiting),
        routes,
        shadowed,
        colors: Color::ALL.into_iter().map(|c| (c, color(world, name, c))).collect(),
        draining: world.draining(name, Instant::now()),
        rollout: world.state.services.get(name).and_then(|s| rollout(name, s.rollout.as_ref()?)),
        last_rollout: world.state.services.get(name).and_then(|s| last(s.history.last()?)),
    }
}

/// What of a report is worth a look in passing.
fn last(report: &Value) -> Option<Value> {
    let shown = fields(report, &["revision", "kind", "result", "reason", "at", "image"]);
    (!shown.is_empty()).then_some(Value::Object(shown))
}

fn fields(from: &Value, names: &[&str]) -> Map<String, Value> {
    names.iter().filter_map(|n| Some(((*n).to_owned(), from.get(n)?.clone()))).collect()
}

/// What of a rollout is for all eyes: its containers' environment is not.
fn rollout(name: &ServiceName, record: &Value) -> Option<Value> {
    let mut shown = fields(record, &["id", "kind", "phase", "at", "by"]);
    let mut parts = record.get("parts").and_then(Value::as_array).into_iter().flatten();
    let part = parts.find(|part| part.get("service").is_some_and(|s| s == name.as_str()));
    if let Some(part) = part {
        shown.extend(fields(part, &["revision", "from", "to", "image"]));
    }
    (!shown.is_empty()).then_some(Value::Object(shown))
}

fn color(world: &World, name: &ServiceName, color: Color) -> ColorStatus {
    let counts = color_counts(&world.snapshot, name, color);
    let endpoints = world.endpoints(name, color);
    ColorStatus {
        endpoints: endpoints.iter().map(|e| endpoint(world, name, color, e)).collect(),
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
    world: &World,
    name: &ServiceName,
    color: Color,
    endpoint: &Endpoint,
) -> EndpointStatus {
    let up = world.up(name, color, endpoint);
    let forced = world.up_by_force(name, color, endpoint);
    let key = (name.clone(), color, endpoint.id.clone());
    let last = world.health.get(&key).and_then(|health| health.last());
    let pools = world.snapshot.pools.iter();
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
