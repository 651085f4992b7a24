//! What becomes of a panic: it ends one piece of work, is counted and told, and the rest goes on.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::sleep;
use tracing::error;

/// How many panics there have been in this process.
pub(crate) fn count() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// What has become of some work; `None` is a panic.
pub(crate) async fn caught<W: Future>(what: &'static str, work: W) -> Option<W::Output> {
    let outcome = AssertUnwindSafe(work).catch_unwind().await;
    if outcome.is_err() {
        PANICS.fetch_add(1, Ordering::Relaxed);
        error!(what, "ended by a panic");
    }
    outcome.ok()
}

/// Does work that is not to end, and begins anew after a panic.
pub(crate) async fn forever<W: Future<Output = ()>>(
    what: &'static str,
    mut begin: impl FnMut() -> W,
) {
    while caught(what, begin()).await.is_none() {
        sleep(PAUSE).await;
    }
}

/// Does work in the background, to its end.
pub(crate) fn background(what: &'static str, work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(async move {
        caught(what, work).await;
    });
}

/// Runs to its end even if the one who asked has gone: a change of the state is never half done.
pub(crate) async fn detached<T, E>(
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Panicked> + Send + 'static,
{
    match tokio::spawn(caught("a change", work)).await {
        Ok(Some(outcome)) => outcome,
        Ok(None) | Err(_) => Err(Panicked.into()),
    }
}

/// Work that was to have an outcome has ended by a panic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panicked;

static PANICS: AtomicU64 = AtomicU64::new(0);

/// So that what panics at once does so again ten times a second, and no more.
const PAUSE: Duration = Duration::from_millis(100);

/// Panics, where [`inject`] has said so.
#[cfg(test)]
pub(crate) fn point(name: &str) {
    let due = {
        let mut injected = INJECTED.lock().unwrap();
        injected.iter().position(|due| due == name).map(|place| injected.remove(place))
    };
    assert_eq!(due, None, "injected");
}

/// Whether a panic that was injected has not come yet.
#[cfg(test)]
pub(crate) fn is_due(name: &str) -> bool {
    INJECTED.lock().unwrap().iter().any(|due| due == name)
}

/// Lets whoever next comes by the point of that name panic.
#[cfg(test)]
pub(crate) fn inject(name: &str) {
    INJECTED.lock().unwrap().push(name.to_owned());
}

#[cfg(test)]
static INJECTED: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
