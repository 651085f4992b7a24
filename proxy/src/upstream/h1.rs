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
#[cfg(any(fuzzing, test, feature = "bench"))]
pub(crate) use self::request::write_head;

/// Takes the head of an answer to a plain `GET`, for the benches.
#[cfg(feature = "bench")]
pub(crate) fn parse_answer(input: &mut bytes::BytesMut) -> Option<http::response::Parts> {
    let asked = response::Asked { head: false, trailers: false, upgrade: None, binding: false };
    response::parse(input, 0, &asked).ok().flatten().map(|head| head.parts)
}
