//! The controller's two listeners: HTTP/1.1 in bounded amounts.
//!
//! Whatever comes, the next caller is let in: when all places are taken, the caller who has said
//! nothing for longest goes.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::panics::{caught, forever};

/// Who is at the other end of the control socket, by the kernel's word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Peer {
    /// The user.
    pub(crate) uid: u32,
}

/// Serves the control socket to those whom `allowed` lets in; others get what `forbidden` says.
pub(crate) async fn control(
    listener: UnixListener,
    allowed: impl Fn(&UnixStream) -> bool,
    router: Router,
    forbidden: Router,
) {
    forever("the control socket", || async {
        let mut places = Places::default();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let router = if allowed(&stream) { &router } else { &forbidden };
                    let peer = stream.peer_cred().ok().map(|peer| Peer { uid: peer.uid() });
                    places.take(stream, peer, router.clone());
                }
                Err(error) => back_off(&error).await,
            }
        }
    })
    .await;
}

/// Serves the admin address.
pub(crate) async fn admin(listener: TcpListener, router: Router) {
    forever("the admin address", || async {
        let mut places = Places::default();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => places.take(stream, None, router.clone()),
                Err(error) => back_off(&error).await,
            }
        }
    })
    .await;
}

/// Out of file descriptors, most likely: it passes, and a loop without pause would not help.
async fn back_off(error: &io::Error) {
    warn!(%error, "a connection could not be accepted");
    sleep(ACCEPT_AGAIN).await;
}

/// The connections that are being served, oldest first.
#[derive(Debug, Default)]
struct Places(VecDeque<Place>);

#[derive(Debug)]
struct Place {
    task: AbortHandle,
    /// Whether it waits for an answer.
    busy: Arc<AtomicBool>,
}

impl Places {
    fn take<S>(&mut self, stream: S, peer: Option<Peer>, router: Router)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.0.retain(|place| !place.task.is_finished());
        if self.0.len() >= PLACES {
            let idle = self.0.iter().position(|place| !place.busy.load(Ordering::Relaxed));
            if let Some(place) = self.0.remove(idle.unwrap_or(0)) {
                place.task.abort();
            }
        }
        let busy = Arc::new(AtomicBool::new(false));
        let served = caught("a connection", serve(stream, peer, router, Arc::clone(&busy)));
        let task = tokio::spawn(served).abort_handle();
        self.0.push_back(Place { task, busy });
    }
}

async fn serve<S>(stream: S, peer: Option<Peer>, router: Router, busy: Arc<AtomicBool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        busy.store(true, Ordering::Relaxed);
        let (router, busy) = (TowerToHyperService::new(router.clone()), Arc::clone(&busy));
        async move {
            let answer = router.call(request).await;
            // A stream of events goes on after this; it is the first to go when places run out.
            busy.store(false, Ordering::Relaxed);
            answer
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        debug!(%error, "connection ended");
    }
}

/// Connections of each listener at a time.
const PLACES: usize = 256;
/// For a request's head, and between two requests.
const HEADER: Duration = Duration::from_secs(10);
const MAX_HEAD_BYTES: usize = 64 << 10;
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
