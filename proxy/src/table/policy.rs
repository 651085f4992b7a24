//! What a client may ask of us, whichever service it asks.

use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::millis;

/// What holds for every request, whichever service it is for.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Peers whose `X-Forwarded-*`, `Forwarded`, `X-Request-Id` and `X-Request-Start` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What a client may ask of us.
    pub limits: Limits,
}

/// What a client may ask of us.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// From a request's first byte to the end of its head, in all.
    #[serde(rename = "header_timeout_ms", with = "millis")]
    pub header_timeout: Duration,
    /// Between two requests of a connection, and before the first.
    #[serde(rename = "idle_timeout_ms", with = "millis")]
    pub idle_timeout: Duration,
    /// Between two reads of a request body.
    #[serde(rename = "body_idle_timeout_ms", with = "millis")]
    pub body_idle_timeout: Duration,
    /// Between two writes of a response that wait for the client.
    #[serde(rename = "write_idle_timeout_ms", with = "millis")]
    pub write_idle_timeout: Duration,
    /// Bytes per second that a request body must keep up on average, after a grace of
    /// `body_idle_timeout`; 0 asks nothing.
    pub min_body_rate: u64,
    /// Bytes per second that a client must take of a response while it keeps us waiting, over every
    /// `write_idle_timeout`; 0 asks nothing.
    pub min_write_rate: u64,
    /// Bytes of a request head.
    pub max_header_bytes: usize,
    /// Fields of a request head.
    pub max_headers: usize,
    /// Bytes of a request target.
    pub max_target_bytes: usize,
    /// Client connections in all; `None` is just below half of the file descriptor limit.
    pub max_connections: Option<usize>,
    /// Connections of one client address; trusted proxies are not counted.
    pub max_connections_per_client: usize,
    /// Requests that may wait for an endpoint or a resume, per service.
    pub max_waiting: usize,
    /// The largest request body, where the service does not say.
    pub max_body: BodyLimit,
}

/// How large the body of a request may be.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyLimit {
    /// This many bytes.
    Bytes(u64),
    /// Any size.
    #[default]
    Unlimited,
}

impl BodyLimit {
    /// The most bytes that there may be.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Unlimited => u64::MAX,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_idle_timeout: Duration::from_secs(30),
            write_idle_timeout: Duration::from_secs(30),
            min_body_rate: 240,
            min_write_rate: 240,
            max_header_bytes: 64 << 10,
            max_headers: 100,
            max_target_bytes: 8 << 10,
            max_connections: None,
            max_connections_per_client: 256,
            max_waiting: 1000,
            max_body: BodyLimit::Unlimited,
        }
    }
}
