//! What goes back to the client: an answer of our own, or the upstream's with all that hangs on it.

use std::cell::OnceCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::exchange::record::Record;
use crate::exchange::request_body::RequestBody;
use crate::metrics::counters::UpstreamError;
use crate::pool::binding::Binding;
use crate::time::Sleep;
use crate::upstream::{Failure, ResponseBody};
use crate::worker::Worker;

/// The body of every response.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
pub(crate) enum Body {
    /// An answer that Cutover makes itself.
    Own(Option<Bytes>),
    /// An upstream's answer.
    Upstream(Upstreamed),
}

/// A response body that owns its record, and with it the lease, until the last byte.
#[derive(Debug)]
pub(crate) struct Upstreamed {
    inner: ResponseBody<RequestBody>,
    record: Record,
    worker: Rc<Worker>,
    /// Where the connection goes that serves this client alone.
    binding: Option<Rc<Binding>>,
    bytes: u64,
    /// Until when the upstream must have taken more of the request behind the end of its answer.
    upload: Option<(u64, Sleep)>,
}

/// Why a response was broken off. The client sees its connection close before the end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokenOff {
    /// The client broke off the rest of its request.
    #[error("the client broke off its request")]
    Client,
    /// A drain deadline.
    #[error("a drain deadline ended the response")]
    Drained,
    /// The upstream.
    #[error("the upstream broke off its answer")]
    Upstream,
}

impl Body {
    /// An answer of our own.
    pub(crate) fn own(text: impl Into<Bytes>) -> Self {
        Self::Own(Some(text.into()))
    }

    /// An upstream's answer; `binding` is that of the [`Exchange`](super::Exchange).
    pub(crate) fn upstream(
        inner: ResponseBody<RequestBody>,
        record: Record,
        worker: &Rc<Worker>,
        binding: &OnceCell<Rc<Binding>>,
    ) -> Self {
        let worker = Rc::clone(worker);
        let binding = inner.is_bound().then(|| Rc::clone(binding.get_or_init(Rc::default)));
        let mut body = Upstreamed { inner, record, worker, binding, bytes: 0, upload: None };
        if body.inner.is_end_stream() {
            body.finish();
        }
        Self::Upstream(body)
    }
}

impl Body {
    /// Sends what is left of the request behind an answer that came early; ready once nothing is.
    pub(crate) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Own(_) => Poll::Ready(()),
            Self::Upstream(body) => body.poll_upload(cx),
        }
    }

    /// Whether the rest of the request is still read, and sent upstream.
    pub(crate) fn is_uploading(&self) -> bool {
        match self {
            Self::Own(_) => false,
            Self::Upstream(body) => body.inner.is_uploading(),
        }
    }

    /// Whether a drain deadline wants this answer to end now.
    pub(crate) fn is_hung_up(&self) -> bool {
        match self {
            Self::Own(_) => false,
            Self::Upstream(body) => body.record.is_hung_up(),
        }
    }
}

impl Upstreamed {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.record.is_hung_up() {
            self.record.broken("drained");
            return Poll::Ready(Some(Err(BrokenOff::Drained)));
        }
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.bytes += data.len() as u64;
                }
                if self.inner.is_end_stream() {
                    self.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(Failure::Downstream(error)))) => {
                tracing::debug!(%error, "the client broke off its request");
                self.record.broken("client_body");
                Poll::Ready(Some(Err(BrokenOff::Client)))
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "truncated");
                self.record.failed(Some(UpstreamError::Truncated));
                self.record.broken("upstream_truncated");
                Poll::Ready(Some(Err(BrokenOff::Upstream)))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.record.is_hung_up() {
            return Poll::Ready(());
        }
        let sent = self.inner.poll_upload(cx);
        if sent.is_ready() {
            if self.inner.is_end_stream() {
                self.finish();
            }
            return Poll::Ready(());
        }
        // Before the end of the answer the deadlines of the answer hold.
        if !self.inner.is_end_stream() {
            return Poll::Pending;
        }
        let limit =
            self.record.lease().map(|lease| lease.service.settings.timeouts.response_header);
        let limit = limit.unwrap_or_default();
        let uploaded = self.inner.uploaded();
        let timers = &self.worker.timers;
        let (seen, sleep) = self.upload.get_or_insert_with(|| (uploaded, timers.sleep(limit)));
        if *seen != uploaded {
            *seen = uploaded;
            sleep.reset(limit);
        }
        Pin::new(sleep).poll(cx)
    }

    /// The last byte is on its way: the connection is free, the request is counted.
    fn finish(&mut self) {
        if self.inner.is_uploading() {
            return;
        }
        if let Some(connection) = self.inner.take_connection() {
            match (&self.binding, self.record.lease()) {
                (Some(binding), Some(lease)) => binding.keep(lease, connection),
                _ => connection.give_back(self.worker.timers.now()),
            }
        }
        self.count();
    }

    /// Counts the request and its bytes; only the first call has an effect.
    fn count(&mut self) {
        self.record.uploaded(self.inner.take_uploaded());
        self.record.finish(self.bytes);
    }
}

impl Drop for Upstreamed {
    fn drop(&mut self) {
        // A body that is not at its end when a drain deadline has passed was ended by it.
        if !self.inner.is_end_stream() && self.record.is_hung_up() {
            self.record.note_forced();
        }
        // Does nothing where the body has come to its end.
        self.count();
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Own(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Upstream(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(text) => text.is_none(),
            Self::Upstream(body) => body.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Self::Upstream(body) => body.inner.size_hint(),
        }
    }
}
