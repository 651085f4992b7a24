//! The document of everything that is refused or fails.

use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// The body of every answer that is not a success, and the last line of a stream that ends by one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong: for programs, for people, and what to do about it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct ErrorDetail {
    /// The word that a program may rely on.
    #[serde(deserialize_with = "known")]
    pub code: Code,
    /// What happened.
    #[schema(example = "there is no service named `wep`")]
    pub message: String,
    /// What to do about it.
    #[serde(default)]
    #[schema(example = "there is web")]
    pub hint: String,
}

/// The stable word for what went wrong.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// The request makes no sense.
    BadRequest,
    /// The config file or the labels are not valid.
    ConfigInvalid,
    /// Docker is needed and does not answer.
    DockerUnavailable,
    /// Something failed after it had begun.
    Failed,
    /// The caller's user may not use the control socket.
    Forbidden,
    /// There is no such path or thing.
    NotFound,
    /// No endpoint of the color passed its probes.
    ProbeFailed,
    /// The proxy process cannot be reached.
    ProxyUnavailable,
    /// The proxy did not accept the table.
    Refused,
    /// Another rollout of the service is under way.
    RolloutInProgress,
    /// The journal cannot be written.
    StateUnwritable,
    /// The body is larger than the control API reads.
    TooLarge,
    /// No such service.
    UnknownService,
    /// What was typed makes no sense: said by the command line, never by the control socket.
    Usage,
    /// The path exists, the method does not.
    WrongMethod,
}

/// Reads a code; the word of a newer version is a failure like any other.
fn known<'de, D: Deserializer<'de>>(from: D) -> Result<Code, D::Error> {
    let word = String::deserialize(from)?;
    let known: Result<Code, D::Error> = Code::deserialize(word.into_deserializer());
    Ok(known.unwrap_or(Code::Failed))
}
