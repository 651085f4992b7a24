//! Which path does what.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use cutover_proxy::table::{Generation, Pause, ServiceName};
use http::{StatusCode, header};
use serde::Serialize;

use super::body::Body;
use super::requests::{Flip, Hold, Shares};
use super::{events, json, openapi, service_name};
use crate::error::Error;
use crate::executor::Rollouts;
use crate::http::server::Peer;
use crate::serving::controller::Controller;
use crate::state::status::ServiceStatus;
use crate::state::weights::Weights;

pub(super) fn router(controller: Controller) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/v1/config/reload", post(reload))
        .route("/v1/events", get(events::events))
        .route("/v1/openapi.json", get(openapi::document))
        .route("/v1/services", get(services))
        .route("/v1/services/{name}", get(service))
        .route("/v1/services/{name}/flip", post(flip))
        .route("/v1/services/{name}/pause", post(pause))
        .route("/v1/services/{name}/resume", post(resume))
        .route("/v1/services/{name}/weight", post(weight))
        .route("/v1/status", get(status))
        .fallback(|| async { Error::NotFound("there is nothing at this path".into()) })
        .method_not_allowed_fallback(|| async { Error::WrongMethod })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(controller)
}

async fn status(State(controller): State<Controller>) -> Response {
    json(StatusCode::OK, &controller.status().await)
}

async fn services(State(controller): State<Controller>) -> Response {
    let services = controller.status().await.services;
    json(StatusCode::OK, &Services { services })
}

async fn service(
    State(controller): State<Controller>,
    Path(name): Path<String>,
) -> Result<Response, Error> {
    let name = service_name(&controller, &name)?;
    Ok(json(StatusCode::OK, &controller.service_status(&name).await?))
}

/// With Docker, a flip may be the end of a rollout.
async fn flip(
    State(controller): State<Controller>,
    rollouts: Option<Extension<Rollouts>>,
    peer: Option<Extension<Peer>>,
    Path(name): Path<String>,
    Body(body): Body<Flip>,
) -> Result<Response, Error> {
    let name = service_name(&controller, &name)?;
    let flipped = match rollouts {
        Some(Extension(rollouts)) => {
            let by = peer.map(|Extension(peer)| format!("uid {}", peer.uid));
            rollouts.flip(&name, body.to, body.force, by.as_deref()).await?
        }
        None => controller.flip(&name, body.to, body.force).await?,
    };
    Ok(json(StatusCode::OK, &flipped))
}

async fn weight(
    State(controller): State<Controller>,
    Path(name): Path<String>,
    Body(body): Body<Shares>,
) -> Result<Response, Error> {
    let name = service_name(&controller, &name)?;
    let (Some(blue), Some(green)) = (body.blue, body.green) else {
        return Err(Error::BadRequest(
            "the shares of both colors are needed: {\"blue\": 95, \"green\": 5}".into(),
        ));
    };
    let weights = Weights { blue, green };
    Ok(json(StatusCode::OK, &controller.weight(&name, weights).await?))
}

async fn pause(
    State(controller): State<Controller>,
    Path(name): Path<String>,
    Body(body): Body<Hold>,
) -> Result<Response, Error> {
    let service = service_name(&controller, &name)?;
    let max_pause = Duration::from_millis(body.max_pause_ms);
    let pause = Pause { writes_only: body.writes_only, max_pause };
    let generation = controller.pause(&service, pause).await?;
    Ok(json(StatusCode::OK, &Held { service, paused: true, generation }))
}

async fn resume(
    State(controller): State<Controller>,
    Path(name): Path<String>,
) -> Result<Response, Error> {
    let service = service_name(&controller, &name)?;
    let generation = controller.resume(&service).await?;
    Ok(json(StatusCode::OK, &Held { service, paused: false, generation }))
}

async fn reload(State(controller): State<Controller>) -> Result<Response, Error> {
    let generation = controller.reload_file().await?;
    Ok(json(StatusCode::OK, &Reloaded { generation }))
}

async fn metrics(State(controller): State<Controller>) -> Response {
    let text = controller.metrics().await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

#[derive(Debug, Serialize)]
struct Services {
    services: Vec<ServiceStatus>,
}

#[derive(Debug, Serialize)]
struct Held {
    service: ServiceName,
    paused: bool,
    generation: Generation,
}

#[derive(Debug, Serialize)]
struct Reloaded {
    generation: Generation,
}

/// No request of ours needs a hundredth of it.
const MAX_BODY_BYTES: usize = 1 << 20;
