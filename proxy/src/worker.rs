//! One worker: a thread with a current-thread runtime that owns everything its requests touch.

pub(crate) mod admission;
mod context;
mod date;
pub(crate) mod lifecycle;
pub(crate) mod panics;
pub(crate) mod run;
pub(crate) mod shared;

pub(crate) use self::context::Worker;
pub(crate) use self::lifecycle::Phase;
