//! The control socket: HTTP/1.1 and JSON over a Unix socket.

mod body;
mod events;
mod openapi;
mod routes;

use axum::Router;
use axum::response::{IntoResponse, Response};
use cutover_proxy::table::ServiceName;
use http::{StatusCode, header};
use serde::Serialize;
use tokio::net::UnixStream;
use tracing::warn;

pub(crate) use self::body::Body;
pub(crate) use self::events::lines;
pub(crate) use self::openapi::Failures;
use crate::error::Error;
use crate::serving::controller::Controller;

/// Everything that is answered here but rollouts, which are merged in.
pub(crate) fn router(controller: Controller) -> Router {
    routes::router(controller)
}

/// What everyone hears who may not use the socket.
pub(crate) fn forbidden() -> Router {
    Router::new().fallback(|| async { Error::Forbidden })
}

/// Whether the process at the other end may use the socket: root, our own user, or a member of one
/// of `gids`. The kernel says who it was that connected.
#[must_use]
pub(crate) fn allowed(stream: &UnixStream, gids: &[u32]) -> bool {
    let Ok(peer) = stream.peer_cred() else {
        return false;
    };
    let own = rustix::process::geteuid().as_raw();
    if peer.uid() == 0 || peer.uid() == own || gids.contains(&peer.gid()) {
        return true;
    }
    let member = !gids.is_empty()
        && peer.pid().is_some_and(|pid| groups(pid).iter().any(|group| gids.contains(group)));
    if !member {
        warn!(uid = peer.uid(), gid = peer.gid(), "turned away from the control socket");
    }
    member
}

/// The supplementary groups of a process.
fn groups(pid: i32) -> Vec<u32> {
    let status = procfs::process::Process::new(pid).and_then(|process| process.status());
    status.map(|status| status.groups).unwrap_or_default()
}

/// The service named in a path: one that is there, or that the journal remembers.
///
/// # Errors
/// [`Error::UnknownService`] also for what cannot be a name.
pub(crate) fn service_name(controller: &Controller, name: &str) -> Result<ServiceName, Error> {
    let parsed = name.parse::<ServiceName>().ok();
    let known = |name: &ServiceName| {
        controller.state(|state| {
            state.service(name).is_some() || state.journal().services.contains_key(name)
        })
    };
    parsed.filter(known).ok_or_else(|| Error::UnknownService {
        name: name.chars().take(MAX_NAME_CHARS).collect(),
        known: controller.state(crate::state::State::known),
    })
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        json(self.status(), &self.body())
    }
}

/// A JSON answer that ends with a line break, for people with curl.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(mut bytes) => {
            bytes.push(b'\n');
            (status, [(header::CONTENT_TYPE, "application/json")], bytes).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "an answer that is no JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Of a name that does not exist, in a message.
const MAX_NAME_CHARS: usize = 64;

#[cfg(test)]
mod tests;
