//! What a request is answered with, and the one place where a failure becomes a response.

use std::rc::Rc;

use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode, response};

use super::response_body::Body;
use super::tunnel::Tunnel;
use crate::exchange::record::Record;
use crate::message::reason::Reason;
use crate::metrics::labels::Label;
use crate::worker::Worker;

/// What the hall gives back.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
pub(crate) enum Answer {
    /// A response; its body keeps what is to be kept until the last byte.
    Response(response::Parts, Body),
    /// `101`, and what is to be run once it has been sent.
    Switching(response::Parts, Box<Tunnel>),
}

/// Says why an answer is ours and not the app's.
pub(crate) const X_CUTOVER_REASON: HeaderName = HeaderName::from_static("x-cutover-reason");

/// The answer to a request that broke a rule. The connection closes with it: bytes of the request
/// may be left over, and must never be read as another one.
pub(crate) fn reject(worker: &Rc<Worker>, rejection: Reason, record: &mut Record) -> Answer {
    worker.slot.rejections.count(rejection);
    let (status, reason) = (rejection.status(), rejection.as_str());
    close(record, status, reason, rejection.sentence());
    let (head, text) = rejected(rejection);
    Answer::Response(head, Body::own(text))
}

/// The head and the text for a request that broke a rule, or was not even parsed.
pub(crate) fn rejected(rejection: Reason) -> (response::Parts, String) {
    let (mut head, text) =
        plain(rejection.status(), rejection.as_str(), rejection.sentence(), rejection.is_passing());
    head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    (head, text)
}

/// The answer to a request that nothing could serve.
pub(crate) fn refuse(reason: Reason, record: &mut Record) -> Answer {
    close(record, reason.status(), reason.as_str(), reason.sentence());
    let (head, text) =
        plain(reason.status(), reason.as_str(), reason.sentence(), reason.is_passing());
    Answer::Response(head, Body::own(text))
}

/// Writes the record at once: an answer of ours has no body to wait for.
fn close(record: &mut Record, status: StatusCode, reason: &'static str, sentence: &str) {
    record.answered_by_us(status, reason);
    record.finish(sentence.len() as u64 + 1);
}

fn plain(
    status: StatusCode,
    reason: &'static str,
    sentence: &'static str,
    is_passing: bool,
) -> (response::Parts, String) {
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = status;
    let headers = &mut head.headers;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CUTOVER_REASON, HeaderValue::from_static(reason));
    if is_passing {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    (head, format!("{sentence}\n"))
}
