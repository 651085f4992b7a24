//! What can go wrong for whoever asks the controller for something.

use std::sync::Arc;

pub use cutover_api::Code;
use cutover_api::{ErrorBody, ErrorDetail};
use cutover_proxy::table::{Color, ServiceName};
use http::StatusCode;

use crate::panics::Panicked;

/// A refusal or failure, with the words that the user is to read.
///
/// The text says what happened, [`Error::hint`] what to do about it, and [`Error::code`] is what a
/// program may rely on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// The config file or the labels are not valid.
    #[error("{0}")]
    ConfigInvalid(String),
    /// Docker is needed and does not answer.
    #[error("Docker does not answer: {0}")]
    DockerUnavailable(String),
    /// A rollout failed after it had begun.
    #[error("{0}")]
    Failed(String),
    /// The caller's user is not on the list.
    #[error("this user may not use the control socket")]
    Forbidden,
    /// There is no such path or thing.
    #[error("{0}")]
    NotFound(String),
    /// No endpoint of the color passed its probes.
    #[error("{service}: {color} is not ready: {answer}")]
    ProbeFailed {
        /// The service.
        service: ServiceName,
        /// The color that was to serve.
        color: Color,
        /// The last answer.
        answer: String,
    },
    /// The proxy process cannot be reached.
    #[error("the proxy does not answer on its link; nothing has changed")]
    ProxyUnavailable,
    /// The proxy did not accept the table.
    #[error("the proxy refused the table: {0}")]
    Refused(String),
    /// Another rollout of the service is under way.
    #[error("{service}: another rollout is under way: {owner}")]
    RolloutInProgress {
        /// The service.
        service: ServiceName,
        /// Whose it is.
        owner: String,
    },
    /// The journal cannot be written, so a flip would be forgotten by a restart.
    #[error("the journal in {place} cannot be written: {source}")]
    StateUnwritable {
        /// The state directory.
        place: String,
        /// What the disk said.
        source: Arc<std::io::Error>,
    },
    /// The body is larger than the control API reads.
    #[error("the request body is larger than 1 MiB")]
    TooLarge,
    /// No such service.
    #[error("there is no service named `{name}`")]
    UnknownService {
        /// The name asked for.
        name: String,
        /// The names there are, comma separated.
        known: String,
    },
    /// The path exists, the method does not.
    #[error("this path does not take that method")]
    WrongMethod,
}

impl From<Panicked> for Error {
    fn from(_: Panicked) -> Self {
        Self::Failed("an internal error; the log says where".into())
    }
}

impl Error {
    /// The word a program may rely on.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::BadRequest(_) => Code::BadRequest,
            Self::ConfigInvalid(_) => Code::ConfigInvalid,
            Self::DockerUnavailable(_) => Code::DockerUnavailable,
            Self::Failed(_) => Code::Failed,
            Self::Forbidden => Code::Forbidden,
            Self::NotFound(_) => Code::NotFound,
            Self::ProbeFailed { .. } => Code::ProbeFailed,
            Self::ProxyUnavailable => Code::ProxyUnavailable,
            Self::Refused(_) => Code::Refused,
            Self::RolloutInProgress { .. } => Code::RolloutInProgress,
            Self::StateUnwritable { .. } => Code::StateUnwritable,
            Self::TooLarge => Code::TooLarge,
            Self::UnknownService { .. } => Code::UnknownService,
            Self::WrongMethod => Code::WrongMethod,
        }
    }

    /// Whether the same may succeed when it is tried again, without anybody changing anything: the
    /// engine, the proxy or the disk did not answer or had no room.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::DockerUnavailable(_) | Self::ProxyUnavailable | Self::StateUnwritable { .. } => {
                true
            }
            Self::BadRequest(_)
            | Self::ConfigInvalid(_)
            | Self::Failed(_)
            | Self::Forbidden
            | Self::NotFound(_)
            | Self::ProbeFailed { .. }
            | Self::Refused(_)
            | Self::RolloutInProgress { .. }
            | Self::TooLarge
            | Self::UnknownService { .. }
            | Self::WrongMethod => false,
        }
    }

    /// The document of the control API.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        let error = ErrorDetail { code: self.code(), message: self.to_string(), hint: self.hint() };
        ErrorBody { error }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::BadRequest(_) | Self::NotFound(_) | Self::WrongMethod => {
                "GET /v1/openapi.json lists every path and body".into()
            }
            Self::ConfigInvalid(_) => "`cutover check` shows where; the old config stays live".into(),
            Self::DockerUnavailable(_) => {
                "mount the engine's socket, or set docker.socket to where it is".into()
            }
            Self::Failed(_) => "`cutover events` tells what came before".into(),
            Self::Forbidden => {
                "run as root or as Cutover's user, or list a group of yours in listen.control_gids"
                    .into()
            }
            Self::ProbeFailed { color, .. } => format!(
                "see why {color} answers so, or skip the probe with --force; the old color still serves"
            ),
            Self::ProxyUnavailable => "it is restarted by itself: try again in a moment".into(),
            Self::Refused(_) => "the table before it stays live; the log has the details".into(),
            Self::RolloutInProgress { service, .. } => {
                format!(
                    "`cutover status {service} --watch` shows it, `cutover abort {service}` ends it; --wait-lock waits for it"
                )
            }
            Self::StateUnwritable { .. } => {
                "make runtime.state_dir writable and see that its disk is not full; what serves goes on"
                    .into()
            }
            Self::TooLarge => "no request of the control API needs so much".into(),
            Self::UnknownService { known, .. } if known.is_empty() => {
                "no service is configured yet".into()
            }
            Self::UnknownService { known, .. } => format!("there is {known}"),
        }
    }

    /// The HTTP status of the control API.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::ConfigInvalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::DockerUnavailable(_) | Self::ProxyUnavailable | Self::StateUnwritable { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Failed(_) | Self::Refused(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound(_) | Self::UnknownService { .. } => StatusCode::NOT_FOUND,
            Self::ProbeFailed { .. } | Self::RolloutInProgress { .. } => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
        }
    }
}
