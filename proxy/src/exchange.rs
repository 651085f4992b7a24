//! One request and its answer, from the head to the last byte, and what is written down of it.

pub(crate) mod answer;
pub(crate) mod client;
mod delivery;
pub(crate) mod record;
pub(crate) mod request_body;
pub(crate) mod response_body;
pub(crate) mod tunnel;
