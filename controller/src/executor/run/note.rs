//! What comes back from what was asked for.

use cutover_proxy::table::ServiceName;
use cutover_rollout::{Event, Set};

use crate::engine::{Image, Spec};
use crate::serving::ready::Ready;
use crate::state::drains::DrainEnd;

/// What comes back from what was asked for.
#[derive(Debug)]
pub(in crate::executor) enum Note {
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
