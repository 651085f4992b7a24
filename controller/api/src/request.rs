//! What is asked: bodies and parameters. A body that is not sent is `{}`.

use cutover_proxy::table::ServiceName;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::weights::Target;

/// The service that a path names.
#[derive(Clone, Debug, Deserialize, Eq, IntoParams, PartialEq, Serialize)]
#[into_params(parameter_in = Path)]
pub struct ServicePath {
    /// The service's name.
    #[param(value_type = String, pattern = "^[a-z0-9][a-z0-9_-]{0,62}$", example = "web")]
    pub name: ServiceName,
}

/// The query of `GET /v1/events`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, IntoParams, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Go on as things happen; `false` ends with the present.
    #[serde(default = "yes")]
    #[param(default = true)]
    pub follow: bool,
    /// Begin with the last so many; all that are kept where nothing is followed.
    #[param(value_type = u64, required = false)]
    pub recent: Option<u64>,
}

/// The body of `POST …/flip`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FlipRequest {
    /// What is to serve.
    pub to: Target,
    /// Without probing it first.
    #[serde(default)]
    pub force: bool,
}

/// The body of `POST …/weight`: the shares of both colors.
///
/// A share that is missing reads as `None`, so that the server can say so in words of its own.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightRequest {
    /// Of blue.
    #[schema(value_type = u32, example = 95)]
    pub blue: Option<u32>,
    /// Of green.
    #[schema(value_type = u32, example = 5)]
    pub green: Option<u32>,
}

/// The body of `POST …/pause`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PauseRequest {
    /// Let safe methods pass.
    pub writes_only: bool,
    /// How long one request waits before it gets a 503.
    pub max_pause_ms: u64,
}

impl Default for PauseRequest {
    fn default() -> Self {
        Self { writes_only: false, max_pause_ms: 30_000 }
    }
}

/// When an image is fetched though it may be here.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PullPolicy {
    /// Always.
    Always,
    /// Only where it is not here.
    #[default]
    Missing,
    /// Never: it is here or the rollout is refused.
    Never,
}

/// The body of `POST …/deploy` and `…/plan`; what is not said is as the service's config has it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeployRequest {
    /// All services that flip together; empty is the one in the path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<crate::schema::ServiceName>)]
    pub services: Vec<ServiceName>,
    /// The image.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "registry.example.com/web:42")]
    pub image: Option<String>,
    /// The image of today with this tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// When to ask the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull: Option<PullPolicy>,
    /// For the candidates to become ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deploy_timeout_ms: Option<u64>,
    /// For requests of the old color.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_timeout_ms: Option<u64>,
    /// For streams of the old color.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_drain_ms: Option<u64>,
    /// How long the old color stays ready for a rollback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_warm_ms: Option<u64>,
    /// How long the new color is judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor_ms: Option<u64>,
    /// How long to wait for another rollout.
    #[serde(skip_serializing_if = "is_zero")]
    pub wait_lock_ms: u64,
    /// Who asks, for the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// The body of `POST …/rollback`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RollbackRequest {
    /// To which revision; the one before this where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// How long the release is judged; it has served before, so not at all where it is not said.
    #[serde(skip_serializing_if = "is_zero")]
    pub monitor_ms: u64,
    /// How long to wait for another rollout.
    #[serde(skip_serializing_if = "is_zero")]
    pub wait_lock_ms: u64,
    /// Who asks, for the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(ms: &u64) -> bool {
    *ms == 0
}

fn yes() -> bool {
    true
}
