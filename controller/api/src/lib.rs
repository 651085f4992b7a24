//! The control API as types: what the control socket takes, what it answers, and what it tells.
//!
//! Each document has one type, and everyone uses it: the handlers that answer, the executor that
//! reports, the journal that keeps reports, the command line and the admin page that show them. The
//! schemas of `GET /v1/openapi.json` are derived from these types.
//!
//! Names of fields and words are a contract: one that exist is never renamed, a new one is added
//! with a default, so that a client of one version reads a server of another as far as both go.

mod answer;
mod error;
mod event;
mod history;
mod line;
mod phase;
mod plan;
mod report;
mod request;
mod schema;
mod status;
mod weights;

pub use self::answer::{Aborted, Flipped, PauseState, Reloaded, Services, Weighted};
pub use self::error::{Code, ErrorBody, ErrorDetail};
pub use self::event::{Event, EventKind, FailoverReason};
pub use self::history::History;
pub use self::line::{Line, RolloutEvent};
pub use self::phase::Phase;
pub use self::plan::{Finding, FindingCode, Plan, Step};
pub use self::report::{ByColor, Ending, Forced, Kind, OldNew, PhaseTime, Report};
pub use self::request::{
    DeployRequest, EventsQuery, FlipRequest, PauseRequest, PullPolicy, RollbackRequest,
    ServicePath, WeightRequest,
};
pub use self::status::{
    ColorStatus, ConfigStatus, DockerStatus, DrainStatus, EndpointStatus, LastRollout, LeftOut,
    ProxyStatus, RolloutStatus, ServiceStatus, Status,
};
pub use self::weights::{Target, Weights};
