//! The data plane of Cutover: it accepts clients, routes their requests, and forwards them to the
//! pool that serves. It has never heard of Docker, files or a command line; all it knows comes in
//! sockets and tables.
//!
//! # The way of a request
//!
//! `downstream` accepts (`listener`), reads heads (`h1::head`) and makes an `Exchange` of each: a
//! request, and the place for its answer → `handle`, the hall, on one screen: `message::validate`,
//! the `route`, a lease on an endpoint of the `pool` → `forward` makes attempts until one answers, or
//! `forward::retry` says that none may be made any more; where nothing can take the request it waits
//! in the `waiting_room` → `upstream` writes the request and reads the head of the answer → the hall
//! gives back a head and a body, which keeps the `exchange::record`, and with it the lease → the
//! responder writes it to the client. On the last byte the record books the request, then the lease
//! goes.
//!
//! Each worker is a thread with a runtime of its own (`worker`), its own listening sockets, idle
//! upstream connections and counters. On the way of a request nothing is shared between workers but
//! the pointer to the live table, which is loaded once.
//!
//! # Ownership is the drain
//!
//! Applying a table is one pointer store ([`Handle::apply`]). A pool lives as long as the live
//! table, a worker's view of it (`pool::view`), or a lease holds on to it; after a store every worker is
//! woken and lets go of its old view, so a retired pool is gone with its last lease. No counter
//! decides anything: the gauges in a [`Snapshot`](table::Snapshot) are for eyes only.
//!
//! # Cancel safety
//!
//! Everything below `downstream` runs in the connection's task: when the client goes away, the request's
//! future is dropped, its upstream connection closes, and its lease ends.
//!
//! # Layout
//!
//! The upper layers come first; a module uses only what stands below it, and a test sees to that.
#![forbid(unsafe_code)]

#[cfg(feature = "bench")]
pub mod bench;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
pub mod link;
mod proxy;
mod downstream;
mod handle;
mod forward;
mod exchange;
mod worker;
mod pool;
mod upstream;
mod route;
mod message;
mod metrics;
mod time;
#[cfg(test)]
mod growth;
pub mod table;

pub use self::link::server::serve_link;
pub use self::metrics::access_log::Target;
pub use self::metrics::process::stats as process_stats;
pub use self::pool::compile::{RouteError, TableError};
pub use self::proxy::{Applied, Handle, Listener, Proxy, Settings};
