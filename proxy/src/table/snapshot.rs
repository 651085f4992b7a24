//! What the proxy tells back: counts, and what is alive. For eyes and reports; nothing is decided by
//! them but how a new release compares with the old one.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{Color, EndpointId, Generation, ServiceName};

/// What the proxy has counted since it started. Every number only grows, but for the gauges.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Snapshot {
    /// The live table.
    pub generation: Generation,
    /// Open client connections by listener address (gauge).
    pub connections: BTreeMap<String, u64>,
    /// Per service.
    pub services: Vec<ServiceStats>,
    /// Pools that are alive: those of the live table, and the retired ones that still drain.
    pub pools: Vec<PoolStats>,
    /// Requests refused before routing, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Panics caught on connections.
    pub panics: u64,
    /// Access log lines dropped because the writer could not keep up.
    pub access_log_dropped: u64,
    /// This process.
    pub process: ProcessStats,
}

/// What one service has seen.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct ServiceStats {
    /// The service.
    pub name: String,
    /// Requests sent again, by reason.
    pub retries: BTreeMap<String, u64>,
    /// Requests that had to wait for an endpoint or a resume.
    pub held: u64,
    /// Requests that wait now (gauge).
    pub waiting: u64,
    /// Requests answered by us because no color could take them, by status.
    pub unserved: BTreeMap<u16, u64>,
    /// By color, blue first.
    pub colors: Vec<ColorStats>,
}

/// What one color of a service has seen.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct ColorStats {
    /// `blue` or `green`.
    pub color: String,
    /// Finished requests by status; 499 is a client that went away.
    pub requests: BTreeMap<u16, u64>,
    /// Request durations: one count per [`DURATION_BUCKETS`] entry (not cumulative), then one for
    /// what is longer.
    pub duration_counts: Vec<u64>,
    /// What the app took of them, from the last byte of the request to the head of its answer, in the
    /// same buckets. Without answers that came before the request had been sent.
    pub answer_counts: Vec<u64>,
    /// Sum of the durations, in microseconds.
    pub duration_sum_us: u64,
    /// Requests being served (gauge).
    pub requests_in_flight: u64,
    /// Upgraded connections and open-ended responses being served (gauge).
    pub streams_in_flight: u64,
    /// Request body bytes sent upstream.
    pub bytes_up: u64,
    /// Response body bytes sent downstream.
    pub bytes_down: u64,
    /// Upstream failures by kind.
    pub upstream_errors: BTreeMap<String, u64>,
    /// What a drain deadline closed: `request` or `stream`.
    pub forced: BTreeMap<String, u64>,
}

/// Upper bounds of the duration histogram, in microseconds.
pub const DURATION_BUCKETS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// A pool that is alive.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PoolStats {
    /// Its service.
    pub service: ServiceName,
    /// Its color.
    pub color: Color,
    /// The generation that brought it.
    pub generation: Generation,
    /// Whether the live table still names it; a retired pool lives until its last lease ends.
    pub retired: bool,
    /// Requests in flight.
    pub requests: u64,
    /// Streams in flight.
    pub streams: u64,
    /// Its endpoints.
    pub endpoints: Vec<EndpointStats>,
}

/// An endpoint as the proxy sees it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct EndpointStats {
    /// Who.
    pub id: EndpointId,
    /// Where.
    pub address: SocketAddr,
    /// Whether it is left out for now because connections to it failed.
    pub ejected: bool,
    /// Requests and streams in flight.
    pub in_flight: u64,
}

/// The figures of Prometheus' process collector.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct ProcessStats {
    /// The process ID.
    pub pid: u32,
    /// Seconds on CPU, user and system.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Virtual memory.
    pub virtual_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// The limit of open file descriptors.
    pub max_fds: u64,
    /// Start, in seconds since the epoch.
    pub start_seconds: f64,
    /// Threads.
    pub threads: u64,
}
