//! What a deploy would do, and what stands in its way.

use cutover_proxy::table::ServiceName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::phase::Phase;

/// The answer to `POST …/plan`, for several services that flip together.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Plan {
    /// In order.
    pub steps: Vec<Step>,
    /// What must be changed first.
    pub blockers: Vec<Finding>,
    /// What is worth knowing.
    pub warnings: Vec<Finding>,
}

/// One step.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct Step {
    /// The service.
    #[schema(value_type = crate::schema::ServiceName)]
    pub service: ServiceName,
    /// The phase of the rollout.
    pub phase: Phase,
    /// In words.
    pub message: String,
}

/// Something that stands in the way, or nearly.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct Finding {
    /// The service.
    #[schema(value_type = crate::schema::ServiceName)]
    pub service: ServiceName,
    /// What it is, for programs.
    pub code: FindingCode,
    /// The same in words.
    pub message: String,
    /// What to do about it.
    pub fix: String,
}

impl Finding {
    /// What it is and what to do about it, for a report.
    #[must_use]
    pub fn reason(&self) -> String {
        format!("{} (fix: {})", self.message, self.fix)
    }
}

/// What a finding is, for programs.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingCode {
    /// Both colors would write to a volume without a name.
    AnonymousVolume,
    /// The compose file gives the container its name, so there cannot be two.
    ContainerName,
    /// What the containers were made of is not known.
    Copy,
    /// A file that Compose has put into the container cannot be copied.
    FileNotCarried,
    /// The container has no network of its own.
    HostNetwork,
    /// The container is bound to a port of the host.
    HostPort,
    /// The image is not on this host, and is not to be pulled or in no registry.
    ImageMissing,
    /// The image that the containers were made from is not on this host any more.
    ImageUnknown,
    /// The registry does not give the image.
    ImageUnreachable,
    /// A container with labels of ours serves nothing.
    LeftOut,
    /// There may not be enough memory for a second color.
    Memory,
    /// There is no container to make another like, and no history.
    NoContainer,
    /// Nothing says that the app is ready but that it accepts a connection.
    NoProbe,
    /// Live settings change with the flip.
    Settings,
    /// Both colors would write to a mount.
    SharedVolume,
    /// A fixed address is not carried over.
    StaticAddress,
    /// The container's grace is shorter than the drain.
    StopGrace,
    /// Whether the user or the old image has set a variable is not known.
    VariableUnsure,
}
