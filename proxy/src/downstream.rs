//! The clients' side: listeners, and the connections of each protocol.

mod client;
pub(crate) mod h1;
pub(crate) mod listener;
mod socket;
