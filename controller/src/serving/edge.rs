//! The controller's end of the link: tables go out, counts come back.
//!
//! One task owns the connection and sends one request at a time. It remembers the newest table and
//! the access log, and gives both to every proxy that it meets, so that a proxy that was restarted
//! serves again before anyone has noticed.

mod client;
pub(crate) mod connection;

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use cutover_proxy::link::{FromProxy, ToProxy};
use cutover_proxy::table::{Color, Generation, Hangup, ServiceName, Snapshot, TableSpec};
use tokio::sync::{mpsc, oneshot, watch};

use self::client::{Client, Request, unexpected};
use self::connection::Connect;
use crate::error::Error;

/// A handle to the link. Clones share it; the last one to go ends it.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    requests: mpsc::Sender<Request>,
    link: watch::Receiver<Link>,
}

/// Whether a proxy is there.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Link {
    /// Nobody answers.
    #[default]
    Down,
    /// A proxy has said hello and has been given what we had for it.
    Up {
        /// Its process.
        pid: u32,
        /// Its version.
        version: String,
        /// The table that is live in it.
        generation: Generation,
    },
}

/// A table is live.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Applied {
    /// Its number.
    pub generation: Generation,
    /// What the swap itself took.
    pub swap: Duration,
}

/// Where access log lines go; a file is opened by us, for the proxy opens nothing.
#[derive(Clone, Debug)]
pub enum AccessLogTarget {
    /// To this file.
    File(Arc<File>),
    /// Nowhere.
    Off,
    /// To the proxy's standard output.
    Stdout,
}

impl Edge {
    /// Starts the task that connects to the proxy, again and again.
    ///
    /// `last` is the newest generation that anyone may have seen; numbers go on from there.
    #[must_use]
    pub(crate) fn connect(proxy: Arc<dyn Connect>, last: Generation) -> Self {
        let (requests, inbox) = mpsc::channel(64);
        let (link, link_rx) = watch::channel(Link::Down);
        let client = Client { proxy, inbox, link, last, table: None, access_log: None };
        tokio::spawn(client.run());
        Self { requests, link: link_rx }
    }

    /// Makes a table live. The generation in `table` is ignored: the link numbers its tables.
    ///
    /// While no proxy is there the newest table waits for one.
    ///
    /// # Errors
    /// [`Error::ProxyUnavailable`] when the link breaks or a newer table takes this one's place
    /// before it went live, [`Error::Refused`] when the proxy does not take it.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the table back.
    pub(crate) async fn apply(&self, table: TableSpec) -> Result<Applied, Error> {
        let (answer, applied) = oneshot::channel();
        self.send(Request::Apply(Box::new(table), answer), applied).await
    }

    /// Counts what there is.
    ///
    /// # Errors
    /// [`Error::ProxyUnavailable`] at once when no proxy is there.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot, Error> {
        match self.exchange(ToProxy::Snapshot).await? {
            FromProxy::Snapshot(snapshot) => Ok(*snapshot),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends work of a color's retired pools by force.
    ///
    /// # Errors
    /// [`Error::ProxyUnavailable`] at once when no proxy is there.
    pub(crate) async fn hangup(
        &self,
        service: ServiceName,
        color: Color,
        before: Generation,
        what: Hangup,
    ) -> Result<(), Error> {
        match self.exchange(ToProxy::Hangup { service, color, before, what }).await? {
            FromProxy::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends access log lines somewhere else from now on, and from every proxy to come.
    ///
    /// # Errors
    /// [`Error::ProxyUnavailable`] when no proxy has heard of it yet.
    pub(crate) async fn access_log(&self, target: AccessLogTarget) -> Result<(), Error> {
        let (answer, done) = oneshot::channel();
        self.send(Request::AccessLog(target, answer), done).await
    }

    /// Whether a proxy is there, now and as it changes.
    #[must_use]
    pub(crate) fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// Whether a proxy is there that has what was live last: one that has just died has nothing.
    pub(crate) fn is_up(&self) -> bool {
        *self.link.borrow() != Link::Down
    }

    /// Sends a message and waits for what the proxy answers.
    async fn exchange(&self, message: ToProxy) -> Result<FromProxy, Error> {
        let (answer, reply) = oneshot::channel();
        self.send(Request::Message(message, answer), reply).await
    }

    async fn send<T>(
        &self,
        request: Request,
        answer: oneshot::Receiver<Result<T, Error>>,
    ) -> Result<T, Error> {
        self.requests.send(request).await.map_err(|_| Error::ProxyUnavailable)?;
        answer.await.unwrap_or(Err(Error::ProxyUnavailable))
    }
}

#[cfg(test)]
mod tests;
