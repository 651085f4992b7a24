//! Which path does what.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use cutover_api::{
    FlipRequest, Flipped, PauseRequest, PauseState, Reloaded, ServicePath, ServiceStatus, Services,
    Status, WeightRequest, Weighted, Weights,
};
use cutover_proxy::table::Pause;
use http::StatusCode;

use super::body::Body;
use super::openapi::Failures;
use super::{events, json, openapi, service_name};
use crate::error::Error;
use crate::executor::Rollouts;
use crate::http::metrics;
use crate::http::server::Peer;
use crate::serving::controller::Controller;

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

#[utoipa::path(
    get, path = "/v1/status", tag = "state", responses(
        (status = 200, body = Status, description = "Done."), Failures
    )
)]
/// Everything at a glance.
pub(super) async fn status(State(controller): State<Controller>) -> Response {
    json(StatusCode::OK, &controller.status().await)
}

#[utoipa::path(
    get, path = "/v1/services", tag = "state", responses(
        (status = 200, body = Services, description = "Done."), Failures
    )
)]
/// All services.
pub(super) async fn services(State(controller): State<Controller>) -> Response {
    let services = controller.status().await.services;
    json(StatusCode::OK, &Services { services })
}

#[utoipa::path(
    get, path = "/v1/services/{name}", tag = "state", params(ServicePath), responses(
        (status = 200, body = ServiceStatus, description = "Done."), Failures
    )
)]
/// One service.
pub(super) async fn service(
    State(controller): State<Controller>,
    Path(name): Path<String>,
) -> Result<Response, Error> {
    let name = service_name(&controller, &name)?;
    Ok(json(StatusCode::OK, &controller.service_status(&name).await?))
}

#[utoipa::path(
    post, path = "/v1/services/{name}/flip", tag = "traffic", params(ServicePath), request_body = FlipRequest, responses(
        (status = 200, body = Flipped, description = "Done."), Failures
    )
)]
/// Makes a color serve, or both.
pub(super) async fn flip(
    State(controller): State<Controller>,
    rollouts: Option<Extension<Rollouts>>,
    peer: Option<Extension<Peer>>,
    Path(name): Path<String>,
    Body(body): Body<FlipRequest>,
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

#[utoipa::path(
    post, path = "/v1/services/{name}/weight", tag = "traffic", params(ServicePath), request_body = WeightRequest, responses(
        (status = 200, body = Weighted, description = "Done."), Failures
    )
)]
/// Sets the shares of the colors; at least one is not zero.
pub(super) async fn weight(
    State(controller): State<Controller>,
    Path(name): Path<String>,
    Body(body): Body<WeightRequest>,
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

#[utoipa::path(
    post, path = "/v1/services/{name}/pause", tag = "traffic", params(ServicePath), request_body = Option<PauseRequest>, responses(
        (status = 200, body = PauseState, description = "Done."), Failures
    )
)]
/// Holds requests.
pub(super) async fn pause(
    State(controller): State<Controller>,
    Path(name): Path<String>,
    Body(body): Body<PauseRequest>,
) -> Result<Response, Error> {
    let service = service_name(&controller, &name)?;
    let max_pause = Duration::from_millis(body.max_pause_ms);
    let pause = Pause { writes_only: body.writes_only, max_pause };
    let generation = controller.pause(&service, pause).await?;
    Ok(json(StatusCode::OK, &PauseState { service, paused: true, generation }))
}

#[utoipa::path(
    post, path = "/v1/services/{name}/resume", tag = "traffic", params(ServicePath), responses(
        (status = 200, body = PauseState, description = "Done."), Failures
    )
)]
/// Lets held requests go on.
pub(super) async fn resume(
    State(controller): State<Controller>,
    Path(name): Path<String>,
) -> Result<Response, Error> {
    let service = service_name(&controller, &name)?;
    let generation = controller.resume(&service).await?;
    Ok(json(StatusCode::OK, &PauseState { service, paused: false, generation }))
}

#[utoipa::path(
    post, path = "/v1/config/reload", tag = "state", responses(
        (status = 200, body = Reloaded, description = "Done."), Failures
    )
)]
/// Reads the config file again.
pub(super) async fn reload(State(controller): State<Controller>) -> Result<Response, Error> {
    let generation = controller.reload_file().await?;
    Ok(json(StatusCode::OK, &Reloaded { generation }))
}

#[utoipa::path(
    get, path = "/metrics", tag = "state", responses(
        (status = 200, content_type = "text/plain; version=0.0.4; charset=utf-8", body = String, description = "Done."), Failures
    )
)]
/// The metrics of both processes, as Prometheus reads them.
pub(super) async fn metrics(State(controller): State<Controller>) -> Response {
    metrics::response(&controller).await
}

/// No request of ours needs a hundredth of it.
const MAX_BODY_BYTES: usize = 1 << 20;
