//! What answers HTTP: the control socket, the admin address, metrics.

pub(crate) mod admin;
pub(crate) mod control;
pub mod metrics;
pub(crate) mod rollouts;
pub(crate) mod server;
