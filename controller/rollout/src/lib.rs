//! The order of a rollout, without I/O: an event and a time go in, actions come out.
//!
//! - [`strategy`] turns what is to be replaced into a list of [`Step`]s, and knows the way back
//!   from each of them. Steps are data: they are journaled with the rollout.
//! - [`transition`] is the one table of what an event does in a phase, crashes included.
//! - [`Rollout`] is the machine: it keeps the steps, who still owes an answer and the deadlines, and
//!   looks everything else up in the table.
//! - [`analysis`] says whether a new color does worse than the old one.
//!
//! The executor in the controller writes the machine to the journal after every event and before
//! it carries out what the event asked for. So the journal never knows less than the world, and
//! every interleaving of answers, faults, timeouts and crashes can be played without Docker: see
//! `tests/simulation.rs`.

mod action;
pub mod analysis;
mod event;
mod machine;
mod millis;
mod service;
mod set;
pub mod strategy;
pub mod transition;
mod verdict;

pub use cutover_api::{Ending, Phase};

pub use self::action::Action;
pub use self::event::{Event, EventKind};
pub use self::machine::Rollout;
pub use self::millis::Millis;
pub use self::service::{Limits, Origin, RolloutService, Span};
pub use self::set::{Set, Side, StopReason};
pub use self::strategy::{Step, Strategy};
pub use self::verdict::Verdict;
