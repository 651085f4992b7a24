//! The three processes as they start, run and end: the supervisor, and its two children.

pub(crate) mod confine;
pub(crate) mod log;
mod memory;
pub(crate) mod roles;
mod run;
pub(crate) mod supervisor;
