//! The admin address: `/metrics`, `/livez`, `/readyz`, and a page to look at.

mod page;

use axum::Router;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};

use crate::http::metrics;
use crate::serving::controller::Controller;

/// Everything that is answered here. It changes nothing and needs no login: by default only
/// loopback can reach it.
pub(crate) fn router(controller: Controller) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
        .route("/readyz", get(ready))
        .with_state(controller)
}

async fn ready(State(controller): State<Controller>) -> Response {
    match controller.unready() {
        None => (StatusCode::OK, "ready\n").into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn metrics(State(controller): State<Controller>) -> Response {
    metrics::response(&controller).await
}

async fn page(State(controller): State<Controller>) -> Response {
    let status = controller.status().await;
    let rates = controller.rates();
    let mut response = Html(page::render(&status, &rates)).into_response();
    let headers = response.headers_mut();
    // What a label or an app says is shown as text; should that ever fail, it still cannot run.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
