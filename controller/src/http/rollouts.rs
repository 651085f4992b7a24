//! The control API of rollouts: `deploy`, `rollback`, `abort`, `history`, `plan`.

use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use cutover_api::{Aborted, DeployRequest, History, Line, Plan, RollbackRequest, ServicePath};
use futures_util::stream;
use http::{HeaderMap, StatusCode};

use crate::error::Error;
use crate::executor::{Lines, Rollouts};
use crate::http::control::{Body, Failures, json, lines, service_name};
use crate::http::server::Peer;
use crate::registry::{ALL_HEADER, Logins, ONE_HEADER};

/// The routes, to be merged into the control API.
pub(crate) fn router(rollouts: Rollouts) -> Router {
    Router::new()
        .route("/v1/services/{name}/abort", post(abort))
        .route("/v1/services/{name}/deploy", post(deploy))
        .route("/v1/services/{name}/history", get(history))
        .route("/v1/services/{name}/plan", post(plan))
        .route("/v1/services/{name}/rollback", post(rollback))
        .with_state(rollouts)
}

/// The same paths where Docker is switched off: they say so.
pub(crate) fn without_docker() -> Router {
    async fn off() -> Error {
        Error::DockerUnavailable("it is switched off, docker.enable is false".into())
    }
    Router::new()
        .route("/v1/services/{name}/abort", post(off))
        .route("/v1/services/{name}/deploy", post(off))
        .route("/v1/services/{name}/history", get(off))
        .route("/v1/services/{name}/plan", post(off))
        .route("/v1/services/{name}/rollback", post(off))
}

#[utoipa::path(
    post, path = "/v1/services/{name}/abort", tag = "rollouts", params(ServicePath), responses(
        (status = 200, body = Aborted, description = "Done."), Failures
    )
)]
/// Ends the rollout under way: before its flip it is abandoned, after it flipped back.
pub(super) async fn abort(
    State(rollouts): State<Rollouts>,
    Path(name): Path<String>,
    peer: Option<Extension<Peer>>,
) -> Result<Response, Error> {
    let name = service_name(rollouts.controller(), &name)?;
    Ok(json(StatusCode::OK, &rollouts.abort(&name, by(peer).as_deref()).await?))
}

#[utoipa::path(
    post, path = "/v1/services/{name}/deploy", tag = "rollouts", params(ServicePath), request_body = Option<DeployRequest>, responses(
        (status = 200, content_type = "application/x-ndjson", body = Line, description = "Done."), Failures
    )
)]
/// Brings a release in: a line per event, then a report per service.
pub(super) async fn deploy(
    State(rollouts): State<Rollouts>,
    Path(name): Path<String>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Body(mut body): Body<DeployRequest>,
) -> Result<Response, Error> {
    body.by = body.by.or_else(|| by(peer));
    let name = service_name(rollouts.controller(), &name)?;
    let logins = logins(&headers)?;
    Ok(stream_of(rollouts.deploy(&name, body, logins).await?))
}

#[utoipa::path(
    post, path = "/v1/services/{name}/rollback", tag = "rollouts", params(ServicePath), request_body = Option<RollbackRequest>, responses(
        (status = 200, content_type = "application/x-ndjson", body = Line, description = "Done."), Failures
    )
)]
/// Goes back to a release: a line per event, then the report.
pub(super) async fn rollback(
    State(rollouts): State<Rollouts>,
    Path(name): Path<String>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Body(mut body): Body<RollbackRequest>,
) -> Result<Response, Error> {
    body.by = body.by.or_else(|| by(peer));
    let name = service_name(rollouts.controller(), &name)?;
    let logins = logins(&headers)?;
    Ok(stream_of(rollouts.rollback(&name, body, logins).await?))
}

#[utoipa::path(
    post, path = "/v1/services/{name}/plan", tag = "rollouts", params(ServicePath), request_body = Option<DeployRequest>, responses(
        (status = 200, body = Plan, description = "Done."), Failures
    )
)]
/// What a deploy would do and what stands in its way; changes nothing.
pub(super) async fn plan(
    State(rollouts): State<Rollouts>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(body): Body<DeployRequest>,
) -> Result<Response, Error> {
    let name = service_name(rollouts.controller(), &name)?;
    let logins = logins(&headers)?;
    Ok(json(StatusCode::OK, &rollouts.plan(&name, &body, &logins).await?.answer()))
}

#[utoipa::path(
    get, path = "/v1/services/{name}/history", tag = "rollouts", params(ServicePath), responses(
        (status = 200, body = History, description = "Done."), Failures
    )
)]
/// Reports of former rollouts, newest first.
pub(super) async fn history(
    State(rollouts): State<Rollouts>,
    Path(name): Path<String>,
) -> Result<Response, Error> {
    let name = service_name(rollouts.controller(), &name)?;
    let revisions = rollouts.history(&name)?;
    Ok(json(StatusCode::OK, &History { service: name, revisions }))
}

/// Who asked, where they do not say.
fn by(peer: Option<Extension<Peer>>) -> Option<String> {
    peer.map(|Extension(peer)| format!("uid {}", peer.uid))
}

/// The caller's logins for registries.
fn logins(headers: &HeaderMap) -> Result<Logins, Error> {
    let header = |name: &str| headers.get(name).map(http::HeaderValue::as_bytes);
    let wrong = || {
        let message =
            "X-Registry-Auth is base64 of a JSON object, X-Registry-Config of several by registry";
        Error::BadRequest(message.into())
    };
    Logins::from_headers(header(ONE_HEADER), header(ALL_HEADER)).ok_or_else(wrong)
}

fn stream_of(from: Lines) -> Response {
    lines(stream::unfold(from, async |mut from| from.recv().await.map(|line| (line, from))))
}
