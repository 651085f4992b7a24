//! The clients' side: listeners, admission, and the connections of each protocol.

pub(crate) mod h1;
pub(crate) mod listener;
