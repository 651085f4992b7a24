//! `cutover proxy`: the process that parses the internet.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cutover_proxy::{Listener, Proxy, Settings, serve_link};
use tokio::sync::oneshot;

use super::handoff::inherited::Inherited;
use super::memory::Code;
use super::signals::Orders;
use crate::process::confine;
use crate::process::handoff::{Handoff, Order};
use crate::process::sockets::{SocketFile, bind_http, processors};

/// What a proxy is started with.
#[derive(Clone, Debug)]
pub(crate) struct ProxyOptions {
    /// Where to listen, without a supervisor.
    pub listen: Vec<SocketAddr>,
    /// Where to wait for a controller, without a supervisor.
    pub link: PathBuf,
    /// Threads, without a supervisor; `None` is one per processor.
    pub workers: Option<usize>,
    /// How long requests may finish.
    pub shutdown_timeout: Duration,
    /// The user to become where started as root; `None` stays root.
    pub user: Option<u32>,
    /// Standard input is the connection to a supervisor.
    pub handoff: bool,
}

/// Runs until told to stop.
///
/// # Errors
/// A socket cannot be bound or a thread not started; the supervisor has gone; or a second order to
/// end came, and the process is to end at once.
pub(crate) fn run(options: &ProxyOptions) -> Result<()> {
    // Before there is a second thread, which would not inherit it.
    rustix::thread::set_no_new_privs(true).context("no_new_privs")?;
    // What is read but once, such as the size of a page, is read while it can be.
    let _read = cutover_proxy::process_stats();
    let code = Code::mapped();
    let handoff = options.handoff.then(Handoff::from_stdin).transpose().context("the handoff")?;
    // Kept until the end: the listener of a link of our own.
    let mut own_link = None;
    let (http, link) = match &handoff {
        Some(handoff) => {
            // First of all: it would clear what is to happen when the supervisor dies.
            become_user(options.user)?;
            let inherited = Inherited::take(handoff)?;
            (inherited.http, inherited.link.context("no link came over the handoff")?)
        }
        None => {
            let workers = options.workers.unwrap_or_else(processors);
            let http = bind_http(&options.listen, workers)?;
            let file = SocketFile::bind(&options.link, 0o600).context("--link")?;
            let link = file.listener.try_clone()?;
            own_link = Some(file);
            // Only now: a port below 1024 may need root.
            become_user(options.user)?;
            (http, link)
        }
    };
    // Before the first worker, which is to have no more than this thread.
    confine::confine();
    let listeners = http.into_iter().map(|(address, sockets)| Listener { address, sockets });
    let settings = Settings {
        listeners: listeners.collect(),
        shutdown_timeout: options.shutdown_timeout,
        trim: Some(super::memory::trim),
    };
    let proxy = Proxy::start(settings).context("starting the workers")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        tokio::spawn(code.unmap_start());
        let mut orders = Orders::new(handoff, options.shutdown_timeout)?;
        let handle = proxy.handle();
        tokio::select! {
            ended = serve_link(link, handle) => ended.context("the link"),
            ended = obey(proxy, &mut orders) => ended,
        }
    });
    drop(own_link);
    result
}

/// Gives up root, if that is what we are.
fn become_user(user: Option<u32>) -> Result<()> {
    match user {
        _ if !rustix::process::geteuid().is_root() => Ok(()),
        Some(user) => confine::become_user(user).with_context(|| {
            format!("cannot become user {user} (as root it needs CAP_SETUID and CAP_SETGID)")
        }),
        None => {
            tracing::warn!("runs as root; give it a --user");
            Ok(())
        }
    }
}

async fn obey(proxy: Proxy, orders: &mut Orders) -> Result<()> {
    loop {
        match orders.next().await {
            None => bail!("the supervisor has gone"),
            Some(Order::Drain(_)) => break,
            Some(_) => {}
        }
    }
    tracing::info!("draining");
    // It blocks until the last worker has ended; the link goes on meanwhile.
    let (done, drained) = oneshot::channel();
    let end = move || {
        proxy.shutdown();
        // Nobody waits any more when a second order came.
        done.send(()).ok();
    };
    thread::Builder::new().name("shutdown".to_owned()).spawn(end)?;
    let told_again = async {
        loop {
            match orders.next().await {
                None => bail!("the supervisor has gone"),
                Some(Order::Drain(_)) => bail!("told again: ended at once"),
                Some(_) => {}
            }
        }
    };
    tokio::select! {
        _ = drained => Ok(()),
        again = told_again => again,
    }
}
