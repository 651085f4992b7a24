//! HTTP/1.1 from a client.

pub(crate) mod connection;
pub(crate) mod socket;
