//! The two children of the supervisor, as they start: take sockets and orders, run, end.
//!
//! By hand, without a supervisor, they bind for themselves and obey signals.

mod controller;
mod inherit;
mod orders;
mod proxy;

pub(crate) use self::controller::{ControllerError, ControllerOptions, controller};
pub(crate) use self::proxy::{ProxyOptions, proxy};
