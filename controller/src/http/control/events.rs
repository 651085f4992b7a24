//! `GET /v1/events`: JSON lines, as they happen.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use cutover_api::EventsQuery;
use futures_util::stream::{self, Stream, StreamExt};
use http::header;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;

use super::openapi::Failures;
use crate::error::Error;
use crate::serving::controller::Controller;
use crate::state::events::{Event, EventKind, now};

#[utoipa::path(
    get, path = "/v1/events", tag = "state", params(EventsQuery), responses(
        (status = 200, content_type = "application/x-ndjson", body = Event, description = "A line per event."),
        Failures
    )
)]
/// What happens, as JSON lines.
pub(super) async fn events(
    State(controller): State<Controller>,
    wanted: Result<Query<EventsQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Error> {
    let Query(wanted) = wanted.map_err(|error| Error::BadRequest(error.body_text()))?;
    let count = wanted.recent.unwrap_or(if wanted.follow { 0 } else { u64::MAX });
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let (recent, live) = controller.events().watch(count);
    let recent = stream::iter(recent);
    Ok(if wanted.follow {
        let live = stream::unfold(Some(live), async |live| {
            let mut live = live?;
            match live.recv().await {
                Ok(event) => Some((event, Some(live))),
                Err(RecvError::Lagged(missed)) => Some((now(EventKind::Lagged { missed }), None)),
                Err(RecvError::Closed) => None,
            }
        });
        lines(recent.chain(live))
    } else {
        lines(recent)
    })
}

/// An answer of JSON lines, each sent as soon as it is there.
pub(crate) fn lines<T: Serialize + 'static>(
    items: impl Stream<Item = T> + Send + 'static,
) -> Response {
    let lines = items.map(|item| {
        let mut line = serde_json::to_vec(&item).unwrap_or_default();
        line.push(b'\n');
        Ok::<_, Infallible>(Bytes::from(line))
    });
    let body = Body::from_stream(lines);
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}
