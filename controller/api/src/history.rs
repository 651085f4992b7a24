//! Former rollouts of a service.

use cutover_proxy::table::ServiceName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::report::Report;

/// The answer to `GET …/history`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct History {
    /// The service.
    #[schema(value_type = crate::schema::ServiceName)]
    pub service: ServiceName,
    /// Newest first.
    pub revisions: Vec<Report>,
}
