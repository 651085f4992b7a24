//! HTTP/1.1 to an upstream.

mod body;
mod exchange;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;
mod request;
mod response;
mod send;
#[cfg(test)]
mod tests;

pub(crate) use self::body::ResponseBody;
pub(crate) use self::exchange::exchange;
#[cfg(any(fuzzing, test))]
pub(crate) use self::request::write_head;
