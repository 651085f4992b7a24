//! Who serves: the controller's state made into tables, flips, drains, probes and names.

mod access_log;
pub(crate) mod configure;
pub mod controller;
pub(crate) mod counters;
mod drain;
pub(crate) mod edge;
pub(crate) mod failover;
pub mod flip;
mod journaling;
pub mod outside;
mod pause;
pub(crate) mod probe;
mod probe_limits;
pub(crate) mod probing;
pub mod ready;
mod resolver;
mod status;
mod swap;
pub(crate) mod table;

pub use self::controller::Controller;
