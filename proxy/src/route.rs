//! Where requests go.

pub(crate) mod router;
