//! A request's JSON body, bounded in size and time.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::StatusCode;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::error::Error;

/// A JSON body. No body at all, and `null`, are the defaults of its type's fields: `{}`.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let bytes = timeout(READ, Bytes::from_request(request, state)).await;
        let bytes = bytes.map_err(|_| Error::BadRequest("the body did not come in time".into()))?;
        let bytes = bytes.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Error::TooLarge,
            _ => Error::BadRequest(rejection.body_text()),
        })?;
        Self::read(&bytes)
    }
}

impl<T: DeserializeOwned> Body<T> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// Says what cannot be read, and where.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Error> {
        let text: &[u8] = match bytes.trim_ascii() {
            b"" | b"null" => b"{}",
            // Else its items would be taken for the fields, in their order.
            [b'[', ..] => {
                return Err(Error::BadRequest("the body: a list where an object belongs".into()));
            }
            text => text,
        };
        let parsed = serde_json::from_slice(text);
        parsed.map(Self).map_err(|error| Error::BadRequest(format!("the body: {error}")))
    }
}

/// For a body to arrive.
const READ: Duration = Duration::from_secs(10);
