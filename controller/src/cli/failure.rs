//! Why a command failed: words for stderr, a document for `--json`, and the exit code.

use std::fmt;
use std::path::Path;

use cutover_api::{Code, ErrorBody, ErrorDetail};

use super::text::plain;
use crate::config::Report;

/// The exit codes of the contract.
pub(super) mod code {
    pub(in super::super) const DONE: u8 = 0;
    pub(in super::super) const FAILED: u8 = 1;
    pub(in super::super) const USAGE: u8 = 2;
    pub(in super::super) const REFUSED: u8 = 3;
    pub(in super::super) const ROLLED_BACK: u8 = 4;
    pub(in super::super) const LOCKED: u8 = 5;
    pub(in super::super) const FORCED: u8 = 6;
}

/// A command that failed; displays as it is printed, with its line breaks.
#[derive(Debug)]
pub(super) enum Failure {
    /// The config file cannot be used: the report has a layout of its own.
    Config(Report),
    /// Anything else, said by Cutover or by the command itself.
    Said(ErrorDetail),
}

impl Failure {
    /// Anything that is neither the caller's mistake nor an answer of Cutover.
    pub(super) fn other(error: impl fmt::Display) -> Self {
        Self::with_hint(error, "")
    }

    /// The same, with what to do about it.
    pub(super) fn with_hint(error: impl fmt::Display, hint: impl Into<String>) -> Self {
        Self::Said(ErrorDetail {
            code: Code::Failed,
            message: error.to_string(),
            hint: hint.into(),
        })
    }

    /// What was typed makes no sense; the hint is a command that does.
    pub(super) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Said(ErrorDetail { code: Code::Usage, message: message.into(), hint: hint.into() })
    }

    /// There is no such service; `known` are those that there are.
    pub(super) fn unknown_service(name: &str, known: &[&str]) -> Self {
        let hint = match known.is_empty() {
            true => "no service is configured yet".to_owned(),
            false => format!("there is {}", known.join(", ")),
        };
        let message = format!("there is no service named `{name}`");
        Self::Said(ErrorDetail { code: Code::UnknownService, message, hint })
    }

    /// Nobody listens on the control socket.
    pub(super) fn no_server(socket: &Path, error: &std::io::Error) -> Self {
        let hint = match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                "run as root or as a member of a group in listen.control_gids"
            }
            _ => {
                "Cutover does not run here, or its socket is elsewhere: give it with --socket PATH or CUTOVER_SOCKET"
            }
        };
        Self::with_hint(format!("cannot connect to {}: {error}", socket.display()), hint)
    }

    /// As the control socket would say it: `{"error":{…}}`.
    pub(super) fn document(&self) -> ErrorBody {
        let error = match self {
            Self::Config(report) => ErrorDetail {
                code: Code::ConfigInvalid,
                message: report.render(),
                hint: String::new(),
            },
            Self::Said(detail) => detail.clone(),
        };
        ErrorBody { error }
    }

    /// The exit code.
    pub(super) fn code(&self) -> u8 {
        let said = match self {
            Self::Config(_) => return code::USAGE,
            Self::Said(detail) => detail.code,
        };
        match said {
            Code::DockerUnavailable | Code::ProbeFailed | Code::Refused | Code::StateUnwritable => {
                code::REFUSED
            }
            Code::RolloutInProgress => code::LOCKED,
            Code::BadRequest | Code::ConfigInvalid | Code::UnknownService | Code::Usage => {
                code::USAGE
            }
            _ => code::FAILED,
        }
    }
}

impl From<ErrorBody> for Failure {
    fn from(body: ErrorBody) -> Self {
        Self::Said(body.error)
    }
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Self::Config(report)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ErrorDetail { message, hint, .. } = match self {
            Self::Config(report) => return f.write_str(&report.render()),
            Self::Said(detail) => detail,
        };
        writeln!(f, "error: {}", plain(message))?;
        match hint.is_empty() {
            false => writeln!(f, "hint: {}", plain(hint)),
            true => Ok(()),
        }
    }
}
