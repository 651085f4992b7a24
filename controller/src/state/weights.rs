//! Who serves: the types of the control API, and what the config calls them.

pub use cutover_api::{Target, Weights};

use crate::config::Active;

impl From<Active> for Weights {
    fn from(active: Active) -> Self {
        Self::of(match active {
            Active::Blue => Target::Blue,
            Active::Both => Target::Both,
            Active::Green => Target::Green,
        })
    }
}
