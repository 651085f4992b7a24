//! Schemas of the proxy's types that occur in documents. The proxy knows nothing of OpenAPI, so
//! each is described here once; the tests hold the descriptions against what serde writes.

#![allow(dead_code, reason = "only their schemas are used")]

use utoipa::ToSchema;

/// One of the two slots of a service.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Color {
    Blue,
    Green,
}

/// The number of a table; it only grows.
#[derive(ToSchema)]
pub(crate) struct Generation(u64);

/// How requests are held.
#[derive(ToSchema)]
pub(crate) struct Pause {
    /// Whether only methods that are not safe are held.
    writes_only: bool,
    /// How long one request waits before it gets a 503.
    max_pause_ms: u64,
}

/// A service's name: 1 to 63 of `a-z`, `0-9`, `-` and `_`, the first a letter or digit.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = "^[a-z0-9][a-z0-9_-]{0,62}$", example = "web")]
pub(crate) struct ServiceName(String);
