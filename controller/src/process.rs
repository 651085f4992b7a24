//! The three processes as they start, run and end: the supervisor, and its two children.
//!
//! A child takes its sockets and orders from the supervisor through a [`handoff`]. By hand, without
//! a supervisor, it binds for itself and obeys signals.

mod child;
pub(crate) mod confine;
pub(crate) mod controller;
mod handoff;
pub(crate) mod log;
mod memory;
pub(crate) mod proxy;
mod signals;
mod sockets;
pub(crate) mod supervisor;
