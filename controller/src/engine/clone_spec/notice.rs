//! What a copy will not have, or will share with the original.

use cutover_api::FindingCode;
use serde::Serialize;

/// A finding about a copy, for a plan.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Notice {
    /// A word for programs.
    pub code: FindingCode,
    /// What it is.
    pub message: String,
    /// What to do about it.
    pub fix: String,
    /// Whether no copy can run beside the original.
    pub blocks: bool,
}

impl Notice {
    pub(super) fn warning(code: FindingCode, message: String, fix: &str) -> Self {
        Self { code, message, fix: fix.to_owned(), blocks: false }
    }

    pub(super) fn blocker(code: FindingCode, message: String, fix: &str) -> Self {
        Self { blocks: true, ..Self::warning(code, message, fix) }
    }

    /// Docker puts a user's variables before those of the image, so there is doubt only where every
    /// one of the image's is among what came with the container.
    pub(super) fn unsure_variables(names: &[String]) -> Self {
        let message = format!(
            "{} may be yours or the old image's: what the new image says will hold",
            names.join(", ")
        );
        Self::warning(FindingCode::VariableUnsure, message, "recreate the container with compose")
    }
}
