//! A panic ends the work it happens in, and nothing else.

use std::future::poll_fn;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::task::Poll;

/// What becomes of some work; `None` is a panic. Whoever asks counts and reports it.
pub(crate) async fn caught<W: Future>(work: W) -> Option<W::Output> {
    let mut work = pin!(work);
    poll_fn(|cx| match panic::catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}
