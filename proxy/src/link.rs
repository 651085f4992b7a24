//! The messages between the controller and the proxy: JSON lines over a Unix stream socket.
//!
//! Each [`ToProxy`] is answered by exactly one [`FromProxy`], in order. [`ToProxy::AccessLog`] with
//! a file carries the open file as ancillary data (`SCM_RIGHTS`) of its first byte: the proxy opens
//! nothing itself.

mod message;
pub(crate) mod server;

pub use self::message::{AccessLog, FromProxy, MAX_MESSAGE_BYTES, ToProxy};
