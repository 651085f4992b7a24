//! `GET /v1/openapi.json`: the control API in the words of OpenAPI 3.1, made from its handlers and
//! their types.

use axum::response::Response;
use cutover_api::ErrorBody;
use http::StatusCode;
use utoipa::{IntoResponses, OpenApi};

use super::{events, routes};
use crate::http::rollouts;

#[utoipa::path(
    get, path = "/v1/openapi.json", tag = "state", responses(
        (status = 200, content_type = "application/json", body = serde_json::Value, description = "OpenAPI 3.1."),
        Failures
    )
)]
/// This document.
pub(super) async fn document() -> Response {
    super::json(StatusCode::OK, &ControlApi::openapi())
}

/// Every path of the control socket.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Cutover control API",
        version = env!("CARGO_PKG_VERSION"),
        description = "HTTP/1.1 and JSON over a Unix socket.",
        license(name = "MIT"),
        contact(),
    ),
    paths(
        document,
        events::events,
        rollouts::abort,
        rollouts::deploy,
        rollouts::history,
        rollouts::plan,
        rollouts::rollback,
        routes::flip,
        routes::metrics,
        routes::pause,
        routes::reload,
        routes::resume,
        routes::service,
        routes::services,
        routes::status,
        routes::weight,
    )
)]
pub(crate) struct ControlApi;

/// Any answer that is not a success.
#[derive(IntoResponses)]
#[response(status = "default", description = "Refused or failed.")]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct Failures(ErrorBody);
