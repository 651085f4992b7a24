//! The controller of Cutover, and the `cutover` binary around it: it decides what serves, and tells
//! the proxy. No request passes through it; it may die at any moment and none will notice.
//!
//! # Processes
//!
//! `cutover run` is three processes of one binary. The `supervisor` is PID 1: it binds the sockets,
//! starts the two others, starts again whichever dies, and reads nothing that a client sent. The
//! proxy, [`cutover_proxy`], gets the listening sockets, gives up what it does not need (`process::confine`)
//! and parses the internet. The controller, `process::controller`, reads the config, talks to Docker and owns the
//! disk. The supervisor keeps the sockets open, so while a proxy is replaced clients wait in the
//! backlog instead of being refused. It holds one end of a connection to each child: when the
//! supervisor goes, however it goes, so do they.
//!
//! # The way of a flip
//!
//! `cli` is a client of the control socket, as `curl` would be → `serving::flip` asks the color to
//! come until it is `Ready` → the [`journal`](state::journal) writes down what is to serve → under the
//! *turn*, for one change at a time, [`controller`](serving::controller) builds a table out of the
//! [`state`](state::State) (`serving::table`) → `serving::edge` sends it to the proxy, which swaps one
//! pointer and answers with the generation → what is in flight on the old color drains
//! (`serving::drain`), until the deadline closes it.
//!
//! A deploy is a rollout around a flip: pull, create, start and probe before it; monitor, drain, keep
//! warm and stop after it. What its steps are, and what any event does in any of them, is the crate
//! `cutover_rollout`, which does no I/O; the [`executor`] writes each step to the journal, then
//! carries it out. A container is stopped only with a `Drained`, which only `executor::prove_drained`
//! makes. Whatever changes what serves runs detached: a client that hangs up stops nothing.
//!
//! # The way of a container
//!
//! `discovery` looks at the engine, and hears its events on two lanes: what takes an endpoint out
//! waits for no look. What has been observed is kept in `state::observed`; before every table
//! `state::classify` makes of it who is of which service, color and release, whose settings are
//! live, and who has which route. Where nothing that should serve can, `serving::failover` lets what
//! is ready do it.
//!
//! # Who owns what
//!
//! The [`state`](state::State) is all that the controller believes, under one lock that no await
//! holds. Tables are data made from it, never changed. The journal holds what must outlive us:
//! shares, pauses, which containers are whose, routes, rollouts, history. The proxy owns requests and
//! pools; what is in flight is what it says.
//!
//! # Crashes
//!
//! | what dies | when | then |
//! |---|---|---|
//! | proxy | any time | its requests end; new ones wait for the next proxy and the table it is sent |
//! | controller | any time | requests go on under the last table; the next one sends its own |
//! | controller | before the flip is journaled | the old color serves; the candidate is taken away |
//! | controller | after that, before the table is live | the new color serves once the table is sent |
//! | controller | draining | what is still in flight has the time that is left |
//! | controller | any later phase | the rollout goes on where the journal left it |
//! | a task of the controller, by a panic | any time | it begins anew; a rollout is finished or undone |
//! | supervisor | any time | both children end; the container's restart policy starts all of it |
//! | the host | any time | the color of the journal serves; rollouts are finished or undone |
//!
//! # Layout
//!
//! A module uses only what stands below it in this list, and a test sees to that. The crates beside
//! this one: `cutover_api` (the documents of the control API), `cutover_rollout` (the order of a
//! rollout), `cutover_demo`, and for tests `cutover_harness`.

#![deny(clippy::disallowed_types)]

#[cfg(test)]
mod simulation;
pub mod fuzzing;
pub mod cli;
mod process;
pub mod http;
pub mod executor;
mod discovery;
pub mod serving;
pub mod state;
mod engine;
mod registry;
pub mod error;
pub mod config;
mod time_of_day;
mod millis;
mod panics;
#[cfg(test)]
mod testing;
