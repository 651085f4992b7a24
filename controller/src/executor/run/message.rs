//! What the task of a rollout is sent.

use cutover_proxy::table::ServiceName;
use cutover_rollout::{Event, Set};

use crate::engine::{Image, Spec};
use crate::serving::ready::Ready;
use crate::state::drains::DrainEnd;

/// A message to the task of a rollout: what became of what it has asked for, and what happens outside.
#[derive(Debug)]
pub(in crate::executor) enum Message {
    /// A replica is there.
    Created {
        /// The set it belongs to.
        set: Set,
        /// Which of it.
        replica: usize,
        /// Its ID.
        id: String,
        /// What it was made of.
        spec: Box<Spec>,
    },
    /// A drain is over.
    Drained {
        /// Whose.
        set: Set,
        /// How it ended.
        end: DrainEnd,
    },
    /// Something for the machine.
    Event(Event),
    /// What a failed container printed last.
    Log(ServiceName, Vec<String>),
    /// A new set has been found ready.
    Ready(Set, Ready),
    /// The image is here.
    Pulled(ServiceName, Image),
}
