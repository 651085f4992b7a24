//! What the controller knows: what it has seen, and what the journal keeps.

pub(crate) mod events;
pub mod health;
pub(crate) mod holder;
pub mod journal;
pub mod roster;
pub mod status;
pub mod weights;
pub mod world;
