//! What the engine said, or did not say.

use std::time::Duration;

use bollard::errors::Error;

/// A call that did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DockerError {
    /// The engine answered with an error of its own.
    #[error("docker {call}: {message}")]
    Refused {
        /// What was asked.
        call: &'static str,
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The engine did not answer in time.
    #[error("docker {call}: no answer within {after:?}")]
    Timeout {
        /// What was asked.
        call: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The engine cannot be reached, or hung up.
    #[error("docker {call}: {source}")]
    Unavailable {
        /// What was asked.
        call: &'static str,
        /// What the connection said.
        #[source]
        source: Error,
    },
}

impl DockerError {
    pub(super) fn new(call: &'static str, error: Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                Self::Refused { call, status: status_code, message }
            }
            Error::DockerStreamError { error } => {
                Self::Refused { call, status: 500, message: error }
            }
            source => Self::Unavailable { call, source },
        }
    }

    /// What the engine or a registry said, where that is all that matters.
    #[must_use]
    pub(crate) fn said(&self) -> String {
        match self {
            Self::Refused { message, .. } => message.clone(),
            error => error.to_string(),
        }
    }

    /// Whether the engine says that there is no such thing.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// 304: it was so already.
    pub(super) fn unless_unchanged(self) -> Result<(), Self> {
        match self {
            Self::Refused { status: 304, .. } => Ok(()),
            error => Err(error),
        }
    }

    /// 404 or 409: there is nothing to rename, or it has the name already.
    pub(crate) fn unless_missing(self) -> Result<(), Self> {
        match self {
            Self::Refused { status: 404 | 409, .. } => Ok(()),
            error => Err(error),
        }
    }

    /// 404: it is gone. 409 with "already in progress": it is going.
    pub(super) fn unless_gone(self) -> Result<(), Self> {
        match self {
            Self::Refused { status: 404, .. } => Ok(()),
            Self::Refused { status: 409, message, .. }
                if message.contains("already in progress") =>
            {
                Ok(())
            }
            error => Err(error),
        }
    }
}
