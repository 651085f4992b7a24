//! The upstream side of a request: a strict HTTP/1.1 client codec over one TCP connection.
//!
//! There is no task, no channel and no pool in here: [`exchange()`] runs inside the future of the
//! request it serves, on that request's thread. It writes the head straight from the client's
//! [`Parts`](http::request::Parts), sends the body while it already listens for the answer, and
//! gives the answer's head back as soon as it has been judged. [`ResponseBody`] then reads the rest
//! and, once the message has ended where it said it would, hands the [`Connection`] back.
//!
//! Whatever an upstream sends that two parsers could read in two ways is [`Failure::Malformed`],
//! and the connection it came on is closed with it (RFC 9112 §6.3, §9.3).

mod connection;
mod h1;
mod reply;

pub(crate) use self::connection::{Connection, Home, Returned, keepalive};
#[cfg(any(fuzzing, test))]
pub(crate) use self::h1::fuzzing;
#[cfg(feature = "bench")]
pub(crate) use self::h1::parse_answer;
#[cfg(any(fuzzing, test, feature = "bench"))]
pub(crate) use self::h1::write_head;
pub(crate) use self::h1::{ResponseBody, exchange};
pub(crate) use self::reply::{Failure, Progress, Reply, RequestBody, Stage, Watch};
