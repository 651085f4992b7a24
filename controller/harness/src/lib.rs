//! The harness of the controller's tests: the binary as a user runs it, what it stands in front of,
//! and clients that count what fails.
//!
//! [`Edge`] is a Cutover in front of a Docker engine, with containers of the demo app
//! ([`Engine`] makes its images) or projects of Compose ([`ComposeProject`]). It sees the containers of
//! its own test alone ([`EngineView`]), so that tests run side by side on one engine; how many at once
//! is bounded ([`Permit`]). [`static_edge::StaticEdge`] is a Cutover without Docker in front of upstreams
//! of the test itself. [`Load`] asks either of them without pause.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "blocking test code; a panic is how a test fails"
)]

mod app;
mod claim;
mod command;
mod compose;
mod dice;
mod edge;
mod engine;
mod engine_view;
mod events;
mod images;
mod load;
mod own_engine;
mod permit;
mod processes;
pub mod static_edge;
mod status;
mod wait;
mod wall_clock;

pub use self::app::App;
pub use self::claim::{Port, Subnet};
pub use self::command::{Outcome, Running, binary};
pub use self::compose::{COMPOSES, Compose, ComposeProject, each_compose, installed};
pub use self::dice::Dice;
pub use self::edge::Edge;
pub use self::engine::{Engine, not_tested};
pub use self::engine_view::EngineView;
pub use self::events::PhaseWatch;
pub use self::images::{image, repository};
pub use self::load::{Answer, Clients, Load, Observer, Served, ask, begin, connect, fetch};
pub use self::permit::Permit;
pub use self::processes::{Footprint, Process};
pub use self::wait::{PATIENCE, eventually, pause};
pub use self::wall_clock::WallClock;
