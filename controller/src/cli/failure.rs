//! Why a command failed: words for stderr, and the exit code of the contract.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

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
    /// Cutover answered with an error.
    Answered(ErrorBody),
    /// The config file cannot be used.
    Config(Report),
    /// Anything else.
    Other { message: String, hint: Option<String> },
    /// What was typed makes no sense.
    Usage { message: String, hint: String },
}

/// `{"error":{…}}`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ErrorBody {
    /// A word of the documented enum.
    pub(super) code: String,
    /// What happened.
    pub(super) message: String,
    /// What to do about it.
    #[serde(default)]
    pub(super) hint: Option<String>,
}

impl Failure {
    pub(super) fn other(error: impl fmt::Display) -> Self {
        Self::Other { message: error.to_string(), hint: None }
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
        let message = format!("cannot connect to {}: {error}", socket.display());
        Self::Other { message, hint: Some(hint.to_owned()) }
    }

    /// As the control socket would say it: `{"error":{…}}`.
    pub(super) fn document(&self) -> Value {
        let (code, message, hint) = match self {
            Self::Answered(error) => (error.code.as_str(), &error.message, error.hint.as_deref()),
            Self::Config(report) => {
                return json!({ "error": { "code": "config_invalid", "message": report.render(), "hint": null } });
            }
            Self::Other { message, hint } => ("failed", message, hint.as_deref()),
            Self::Usage { message, hint } => ("usage", message, Some(hint.as_str())),
        };
        json!({ "error": { "code": code, "message": message, "hint": hint } })
    }

    /// The exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Answered(error) => match error.code.as_str() {
                "docker_unavailable" | "probe_failed" | "refused" | "state_unwritable" => {
                    code::REFUSED
                }
                "rollout_in_progress" => code::LOCKED,
                "bad_request" | "config_invalid" | "unknown_service" | "usage" => code::USAGE,
                _ => code::FAILED,
            },
            Self::Config(_) | Self::Usage { .. } => code::USAGE,
            Self::Other { .. } => code::FAILED,
        }
    }
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Self::Config(report)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (message, hint) = match self {
            Self::Answered(error) => (&error.message, error.hint.as_deref()),
            Self::Config(report) => return f.write_str(&report.render()),
            Self::Other { message, hint } => (message, hint.as_deref()),
            Self::Usage { message, hint } => (message, Some(hint.as_str())),
        };
        writeln!(f, "error: {}", plain(message))?;
        match hint.filter(|hint| !hint.is_empty()) {
            Some(hint) => writeln!(f, "hint: {}", plain(hint)),
            None => Ok(()),
        }
    }
}
