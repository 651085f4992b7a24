//! The answers that Cutover makes itself: the one place where a failure becomes a response.

use std::rc::Rc;

use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use crate::exchange::client::Client;
use crate::exchange::record::Record;
use crate::exchange::response_body::Body;
use crate::message::reason::Reason;
use crate::metrics::labels::Label;
use crate::pool::view::Lease;

/// Says why an answer is ours and not the app's.
pub(crate) const X_CUTOVER_REASON: HeaderName = HeaderName::from_static("x-cutover-reason");

/// The answer to a request that broke a rule. The connection closes with it: bytes of the request
/// may be left over, and must never be read as another one.
pub(crate) fn reject(
    client: &Rc<Client>,
    rejection: Reason,
    record: &mut Record,
) -> Response<Body> {
    client.worker.slot.rejections.count(rejection);
    let (status, reason) = (rejection.status(), rejection.as_str());
    close(record, None, status, reason, rejection.sentence());
    let mut response = plain(status, reason, rejection.sentence());
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The answer to a request that nothing could serve; `lease` is the last that failed to.
pub(crate) fn refuse(reason: Reason, lease: Option<&Lease>, record: &mut Record) -> Response<Body> {
    close(record, lease, reason.status(), reason.as_str(), reason.sentence());
    let mut response = plain(reason.status(), reason.as_str(), reason.sentence());
    if reason.is_passing() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Writes the record at once: an answer of ours has no body to wait for.
fn close(
    record: &mut Record,
    lease: Option<&Lease>,
    status: StatusCode,
    reason: &'static str,
    sentence: &str,
) {
    record.answered(status, Some(reason));
    record.finish(lease, sentence.len() as u64 + 1);
}

fn plain(status: StatusCode, reason: &'static str, sentence: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::own(format!("{sentence}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CUTOVER_REASON, HeaderValue::from_static(reason));
    response
}
