//! What the controller tells about itself, as JSON.

use std::collections::BTreeMap;

use cutover_proxy::table::{Color, Generation, Pause, ServiceName};
use serde::{Deserialize, Serialize};

use crate::state::weights::{Target, Weights};

/// Everything at a glance.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// Of this program.
    pub version: String,
    /// The live table; 0 before the first.
    pub generation: Generation,
    /// The config file.
    pub config: ConfigStatus,
    /// Whether the proxy answers.
    pub proxy: ProxyStatus,
    /// Why the last attempt to write the journal failed; `null` is well.
    pub journal_error: Option<String>,
    /// What was found of the journal at the start and could not be read: why, and where it is kept.
    #[serde(default)]
    pub journal_notes: Vec<String>,
    /// Why Docker does not answer; `null` is well. What was known of containers stays meanwhile.
    pub docker_error: Option<String>,
    /// By name.
    pub services: Vec<ServiceStatus>,
    /// Containers that are left out, and why.
    pub left_out: Vec<LeftOut>,
}

/// The config file.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ConfigStatus {
    /// Where it is; `null` where there is none.
    pub path: Option<String>,
    /// Whether what is on the disk is what is live.
    pub ok: bool,
    /// Why not.
    pub error: Option<String>,
    /// Keys that have changed and need a restart.
    pub restart_needed: Vec<String>,
    /// What is valid but looks unwise.
    pub warnings: Vec<String>,
}

/// The proxy process.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ProxyStatus {
    /// Whether its link is up.
    pub connected: bool,
    /// Its process ID.
    pub pid: Option<u32>,
}

/// A container that has labels of ours and serves nothing.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LeftOut {
    /// Its name.
    pub container: String,
    /// Why.
    pub reason: String,
}

/// One service.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: ServiceName,
    /// What serves.
    pub active: Target,
    /// The shares.
    pub weights: Weights,
    /// Whether requests are held.
    pub paused: bool,
    /// How they are held.
    pub pause: Option<Pause>,
    /// Requests that wait for an endpoint or a resume.
    pub waiting: u64,
    /// Where its requests come from, as `host/path`, in the order of matching.
    pub routes: Vec<String>,
    /// Routes that another service had first.
    pub shadowed: Vec<String>,
    /// Blue and green.
    pub colors: BTreeMap<Color, ColorStatus>,
    /// Retired pools that still have work.
    pub draining: Vec<DrainStatus>,
    /// The rollout under way, in its own words.
    pub rollout: Option<serde_json::Value>,
    /// How the last one ended, and why.
    pub last_rollout: Option<serde_json::Value>,
}

/// One color of a service.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ColorStatus {
    /// Where it can be reached.
    pub endpoints: Vec<EndpointStatus>,
    /// Requests being served.
    pub requests_in_flight: u64,
    /// Streams being served.
    pub streams_in_flight: u64,
    /// Finished requests since the proxy started.
    pub requests: u64,
}

/// One endpoint.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct EndpointStatus {
    /// Its IP address and port, or what the config calls it while the name is not resolved.
    pub address: String,
    /// What the config calls it, where that is a name.
    pub name: Option<String>,
    /// The container's name.
    pub container: Option<String>,
    /// Whether it gets requests when its color serves.
    pub up: bool,
    /// Whether the proxy leaves it out for now because connections to it failed.
    pub ejected: bool,
    /// Why it is not up, or what speaks against it though it is.
    pub reason: Option<String>,
    /// What the last probe saw.
    pub last_probe: Option<String>,
}

/// A retired pool.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DrainStatus {
    /// Its color.
    pub color: Color,
    /// The generation that brought it.
    pub generation: Generation,
    /// Requests that go on.
    pub requests: u64,
    /// Streams that go on.
    pub streams: u64,
    /// Milliseconds until the next deadline: that of requests, then that of streams. `null` while
    /// the color serves, for then nothing is closed by force.
    pub deadline_ms: Option<u64>,
}
