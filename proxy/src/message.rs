//! The rules of HTTP messages: pure functions and values that know no socket.

pub(crate) mod chunked;
pub(crate) mod decoder;
pub(crate) mod forwarded;
pub(crate) mod headers;
pub(crate) mod reason;
pub(crate) mod reason_phrase;
pub(crate) mod validate;
pub(crate) mod write_buffer;
