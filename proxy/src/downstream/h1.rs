//! HTTP/1 from a client: a connection makes one exchange after the other.

mod connection;
mod delivery;
pub(crate) mod encoder;
pub(crate) mod head;
mod linger;
mod responder;
mod transport;
mod watch;

pub(crate) use self::connection::serve;
pub(crate) use self::linger::{discard, turn_away};
