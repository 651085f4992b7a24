//! The state of everything, at a glance: `GET /v1/status` and `GET /v1/services`.

use cutover_proxy::table::{Color, Generation, Pause, ServiceName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::phase::Phase;
use crate::report::{ByColor, Ending, Kind, Report};
use crate::weights::{Target, Weights};

/// Everything at a glance.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Status {
    /// Of this program.
    pub version: String,
    /// The live table; 0 before the first.
    #[schema(value_type = crate::schema::Generation)]
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
    /// The container engine; `null` where Docker is switched off.
    #[serde(default)]
    pub docker: Option<DockerStatus>,
    /// By name.
    pub services: Vec<ServiceStatus>,
    /// Containers that are left out, and why.
    pub left_out: Vec<LeftOut>,
}

/// The config file.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
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

/// The container engine.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct DockerStatus {
    /// Its version; `null` until it has answered once.
    pub version: Option<String>,
    /// The version of its API that is spoken.
    pub api_version: Option<String>,
    /// Why it does not answer; `null` is well.
    pub error: Option<String>,
}

/// The proxy process.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct ProxyStatus {
    /// Whether its link is up.
    pub connected: bool,
    /// Its process ID.
    pub pid: Option<u32>,
}

/// A container that has labels of ours and serves nothing.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct LeftOut {
    /// Its name.
    pub container: String,
    /// Why.
    pub reason: String,
}

/// One service.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct ServiceStatus {
    /// Its name.
    #[schema(value_type = crate::schema::ServiceName)]
    pub name: ServiceName,
    /// What serves.
    pub active: Target,
    /// The shares.
    pub weights: Weights,
    /// Whether requests are held.
    pub paused: bool,
    /// How they are held.
    #[schema(value_type = Option<crate::schema::Pause>)]
    pub pause: Option<Pause>,
    /// Requests that wait for an endpoint or a resume.
    pub waiting: u64,
    /// Where its requests come from, as `host/path`, in the order of matching.
    pub routes: Vec<String>,
    /// Routes that another service had first.
    pub shadowed: Vec<String>,
    /// Blue and green.
    pub colors: ByColor<ColorStatus>,
    /// Retired pools that still have work.
    pub draining: Vec<DrainStatus>,
    /// The rollout under way.
    pub rollout: Option<RolloutStatus>,
    /// How the last one ended, and why.
    pub last_rollout: Option<LastRollout>,
    /// What is worth knowing, in words: that it failed over, that nothing serves and why.
    #[serde(default)]
    pub note: Option<String>,
}

/// One color of a service.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
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
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
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
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct DrainStatus {
    /// Its color.
    #[schema(value_type = crate::schema::Color)]
    pub color: Color,
    /// The generation that brought it.
    #[schema(value_type = crate::schema::Generation)]
    pub generation: Generation,
    /// Requests that go on.
    pub requests: u64,
    /// Streams that go on.
    pub streams: u64,
    /// Milliseconds until the next deadline: that of requests, then that of streams. `null` while
    /// the color serves, for then nothing is closed by force.
    pub deadline_ms: Option<u64>,
}

/// A rollout under way.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct RolloutStatus {
    /// Its name, unique among all rollouts.
    pub id: String,
    /// What kind of rollout it is.
    pub kind: Kind,
    /// Where it stands.
    pub phase: Phase,
    /// When it began, RFC 3339.
    pub at: String,
    /// Who asked.
    pub by: String,
    /// The number of the release that it brings.
    pub revision: u64,
    /// The color that served before.
    #[schema(value_type = crate::schema::Color)]
    pub from: Color,
    /// The color that is to serve.
    #[schema(value_type = crate::schema::Color)]
    pub to: Color,
    /// The image as it was asked for.
    pub image: String,
}

/// How the last rollout ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct LastRollout {
    /// The number of the release.
    pub revision: u64,
    /// What kind of rollout it was.
    pub kind: Kind,
    /// How it ended.
    pub result: Ending,
    /// Why, where it did not go well.
    pub reason: Option<String>,
    /// When it began, RFC 3339.
    pub at: String,
    /// The image as it was asked for.
    pub image: String,
}

impl From<&Report> for LastRollout {
    fn from(report: &Report) -> Self {
        Self {
            revision: report.revision,
            kind: report.kind,
            result: report.result,
            reason: report.reason.clone(),
            at: report.at.clone(),
            image: report.image.clone(),
        }
    }
}
