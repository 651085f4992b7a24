//! What a copy will not have, or will share with the original.

use serde::Serialize;

/// A finding about a copy, for a plan.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Notice {
    /// A word for programs.
    pub code: &'static str,
    /// What it is.
    pub message: String,
    /// What to do about it.
    pub fix: String,
    /// Whether no copy can run beside the original.
    pub blocks: bool,
}

impl Notice {
    pub(super) fn warning(code: &'static str, message: String, fix: &str) -> Self {
        Self { code, message, fix: fix.to_owned(), blocks: false }
    }

    pub(super) fn blocker(code: &'static str, message: String, fix: &str) -> Self {
        Self { blocks: true, ..Self::warning(code, message, fix) }
    }

    /// Docker puts a user's variables before those of the image, so there is doubt only where every
    /// one of the image's is among what came with the container.
    pub(super) fn unsure_variables(names: &[String]) -> Self {
        let message = format!(
            "{} may be yours or the old image's: what the new image says will hold",
            names.join(", ")
        );
        Self::warning("variable_unsure", message, "recreate the container with compose")
    }
}
