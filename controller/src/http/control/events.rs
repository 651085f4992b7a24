//! `GET /v1/events`: JSON lines, as they happen.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use http::header;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;

use crate::error::Error;
use crate::serving::controller::Controller;
use crate::state::events::{Event, EventKind};

/// `?follow=false` gives what happened lately and ends; `?recent=N` begins with the last N.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[serde(default = "yes")]
    follow: bool,
    recent: Option<usize>,
}

pub(super) async fn events(
    State(controller): State<Controller>,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Error> {
    let Query(wanted) = wanted.map_err(|error| Error::BadRequest(error.body_text()))?;
    let count = wanted.recent.unwrap_or(if wanted.follow { 0 } else { usize::MAX });
    let (recent, live) = controller.events().watch(count);
    let recent = stream::iter(recent);
    Ok(if wanted.follow {
        let live = stream::unfold(Some(live), async |live| {
            let mut live = live?;
            match live.recv().await {
                Ok(event) => Some((event, Some(live))),
                Err(RecvError::Lagged(missed)) => {
                    Some((Event::now(EventKind::Lagged { missed }), None))
                }
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

fn yes() -> bool {
    true
}
