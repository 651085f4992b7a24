//! What the engine said, or did not say.

use std::time::Duration;

use crate::error::Error;

/// A call that did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum EngineError {
    /// Nothing says which of a container's settings are the user's, and which its image's.
    #[error("the image {image} of {container} {}", if *gone { "is not on this host any more" } else { "cannot be inspected" })]
    ImageUnknown {
        /// The container's name.
        container: String,
        /// The ID of its image.
        image: String,
        /// Whether the engine says that there is no such image, or nothing at all.
        gone: bool,
    },
    /// The name is another container's.
    #[error("the name {name} is taken by {by}")]
    NameTaken {
        /// The name that was wanted.
        name: String,
        /// The container that has it, and whose it is.
        by: String,
    },
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
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl EngineError {
    /// Whether the same call may well succeed in a moment.
    ///
    /// The engine has no code for it: it says 500 for a registry that did not answer in time and for
    /// an image whose program is missing. So its words decide, and unknown ones count as a hiccup.
    #[must_use]
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::ImageUnknown { gone, .. } => !gone,
            Self::NameTaken { .. } => false,
            Self::Timeout { .. } | Self::Unavailable { .. } => true,
            Self::Refused { status: 408 | 425 | 429, .. } => true,
            Self::Refused { call, status: 500.., message } => {
                let message = message.to_ascii_lowercase();
                let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
                match *call {
                    PULL | ASK_REGISTRY => says(&NETWORK),
                    _ => says(&NETWORK) || !says(&LASTING),
                }
            }
            Self::Refused { .. } => false,
        }
    }

    /// What can be done about it, where that is known.
    #[must_use]
    pub(crate) fn fix(&self) -> Option<String> {
        match self {
            Self::ImageUnknown { image, gone: true, .. } => Some(format!(
                "bring the image {image} back, or recreate the container with compose"
            )),
            Self::NameTaken { by, .. } => Some(format!("rename or remove {by}")),
            _ => None,
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
    pub(crate) fn is_not_found(&self) -> bool {
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

/// The one place where an engine's error becomes the controller's.
impl From<EngineError> for Error {
    fn from(error: EngineError) -> Self {
        match error {
            error if error.is_transient() => Self::DockerUnavailable(error.to_string()),
            error => match error.fix() {
                Some(fix) => Self::Failed(format!("{error} (fix: {fix})")),
                None => Self::Failed(error.to_string()),
            },
        }
    }
}

/// The calls that speak to a registry.
pub(super) const PULL: &str = "pull";
pub(super) const ASK_REGISTRY: &str = "ask the registry";
/// Said of a network or a registry that may be well again in a moment.
const NETWORK: [&str; 12] = [
    "timeout",
    "timed out",
    "deadline exceeded",
    "connection reset",
    "connection refused",
    "broken pipe",
    "unexpected eof",
    "temporary failure",
    "server misbehaving",
    "bad gateway",
    "service unavailable",
    "too many requests",
];
/// Said with status 500 of what will be so the next time, too.
const LASTING: [&str; 16] = [
    "oci runtime",
    "executable file not found",
    "no such file or directory",
    "not a directory",
    "permission denied",
    "exec format error",
    "port is already allocated",
    "address already in use",
    "cannot assign requested address",
    "no space left on device",
    "failed programming external connectivity",
    "invalid",
    "unknown",
    "not found",
    "unsupported",
    "is not allowed",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(call: &'static str, status: u16, message: &str) -> EngineError {
        EngineError::Refused { call, status, message: message.into() }
    }

    #[test]
    fn a_hiccup_is_tried_again_and_a_verdict_is_not() {
        let after = Duration::from_secs(1);
        assert!(EngineError::Timeout { call: "start", after }.is_transient());
        for (error, transient) in [
            (refused("start", 500, "internal error"), true),
            (refused("start", 503, "the daemon is shutting down"), true),
            (refused("start", 500, "OCI runtime create failed: exec: \"x\": not found"), false),
            (refused("start", 500, "Bind for 0.0.0.0:80 failed: port is already allocated"), false),
            (refused("start", 404, "No such container: x"), false),
            (refused("create", 409, "Conflict. The container name is in use"), false),
            (refused("create", 500, "write /x: no space left on device"), false),
            (refused(PULL, 500, "manifest for app:9 not found"), false),
            (refused(PULL, 500, "unauthorized: authentication required"), false),
            (refused(PULL, 500, "net/http: TLS handshake timeout"), true),
            (refused(PULL, 500, "read tcp 10.0.0.1: connection reset by peer"), true),
        ] {
            assert_eq!(error.is_transient(), transient, "{error}");
        }
    }

    #[test]
    fn an_image_that_is_gone_is_named_with_what_to_do() {
        let gone = |gone| EngineError::ImageUnknown {
            container: "web-1".into(),
            image: "sha256:aa".into(),
            gone,
        };
        assert!(gone(false).is_transient() && !gone(true).is_transient());
        let text = Error::from(gone(true)).to_string();
        assert!(
            text.contains("web-1") && text.contains("bring the image sha256:aa back"),
            "{text}"
        );
    }
}
