//! The task that owns the connection to the proxy.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use cutover_proxy::link::{AccessLog, FromProxy, ToProxy};
use cutover_proxy::table::{Generation, TableSpec};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::connection::{Connect, Connection};
use super::{AccessLogTarget, Applied, Link};
use crate::error::Error;
use crate::panics::caught;

/// Where the reply to a request goes.
pub(super) type ReplyTo<T> = oneshot::Sender<Result<T, Error>>;

/// What a handle asks of the task.
#[derive(Debug)]
pub(super) enum Request {
    /// To have access log lines sent there, by every proxy to come as well.
    AccessLog(AccessLogTarget, ReplyTo<()>),
    /// To make a table live, in every proxy to come as well.
    Apply(Box<TableSpec>, ReplyTo<Applied>),
    /// To pass a message on to the proxy that is there now.
    Message(ToProxy, ReplyTo<FromProxy>),
}

/// The task behind an [`Edge`].
pub(super) struct Client {
    pub(super) proxy: Arc<dyn Connect>,
    pub(super) inbox: mpsc::Receiver<Request>,
    pub(super) link: watch::Sender<Link>,
    /// The newest generation that anyone may have seen.
    pub(super) last: Generation,
    /// What every proxy is to serve, and who waits to hear that it does.
    pub(super) table: Option<(TableSpec, Option<ReplyTo<Applied>>)>,
    pub(super) access_log: Option<AccessLogTarget>,
}

impl Client {
    pub(super) async fn run(mut self) {
        while caught("the link to the proxy", self.keep_up()).await.is_none() {
            self.link.send_replace(Link::Down);
            sleep(BACK_OFF_MIN).await;
        }
    }

    /// Ends when every handle has gone.
    async fn keep_up(&mut self) {
        let mut pause = BACK_OFF_MIN;
        loop {
            let (proxy, last) = (Arc::clone(&self.proxy), self.last);
            match self.meanwhile(meet(proxy.as_ref(), last)).await {
                None => return,
                Some(Ok((mut connection, hello))) => {
                    info!(pid = hello.pid, version = hello.version, "proxy connected");
                    let since = Instant::now();
                    let Err(error) = self.converse(connection.as_mut(), hello).await else {
                        return;
                    };
                    self.link.send_replace(Link::Down);
                    warn!(%error, "link to the proxy lost");
                    // One that breaks every link at once is not worth a busy loop.
                    if since.elapsed() > BACK_OFF_MAX {
                        pause = BACK_OFF_MIN;
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, proxy = ?self.proxy, "no proxy yet");
                }
            }
            if self.meanwhile(sleep(pause)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(BACK_OFF_MAX);
        }
    }

    /// Answers requests for want of a proxy until `work` is done. `None` when every handle
    /// has gone.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                request = self.inbox.recv() => match request? {
                    Request::Apply(table, answer) => {
                        // The table before it, if any, is answered by the drop of its sender.
                        self.table = Some((*table, Some(answer)));
                    }
                    Request::AccessLog(target, answer) => {
                        self.access_log = Some(target);
                        answer.send(Err(Error::ProxyUnavailable)).ok();
                    }
                    Request::Message(_, answer) => {
                        answer.send(Err(Error::ProxyUnavailable)).ok();
                    }
                },
            }
        }
    }

    /// Serves requests until every handle has gone (`Ok`) or the link breaks.
    async fn converse(&mut self, connection: &mut dyn Connection, hello: Hello) -> io::Result<()> {
        self.last = self.last.max(hello.generation);
        if let Some(target) = self.access_log.clone() {
            send_access_log(connection, &target).await?;
        }
        if let Some((table, waiting)) = self.table.take() {
            self.push(connection, table, waiting).await?;
        }
        // A proxy whose table is not ours (we were restarted) still has a number to show.
        let generation = if self.table.is_some() { self.last } else { hello.generation };
        let Hello { version, pid, .. } = hello;
        self.link.send_replace(Link::Up { pid, version, generation });
        loop {
            let request = tokio::select! {
                request = self.inbox.recv() => request,
                // Between requests the proxy has nothing to say but goodbye.
                gone = connection.closed() => return Err(gone),
            };
            match request {
                None => return Ok(()),
                Some(Request::Apply(table, answer)) => {
                    self.push(connection, *table, Some(answer)).await?;
                }
                Some(Request::AccessLog(target, answer)) => {
                    self.access_log = Some(target.clone());
                    send_access_log(connection, &target).await?;
                    answer.send(Ok(())).ok();
                }
                Some(Request::Message(message, answer)) => {
                    let reply = exchange(connection, &message).await?;
                    answer.send(Ok(reply)).ok();
                }
            }
        }
    }

    /// Gives the proxy a table under the next number, and keeps it for the next proxy unless it
    /// was refused.
    async fn push(
        &mut self,
        connection: &mut dyn Connection,
        mut table: TableSpec,
        waiting: Option<ReplyTo<Applied>>,
    ) -> io::Result<()> {
        let sent = self.last.next();
        table.generation = sent;
        let message = ToProxy::Apply(Box::new(table));
        let reply = match exchange(connection, &message).await {
            // Whatever is live there, it is not what we sent: its number must not become ours.
            Ok(FromProxy::Applied { generation, .. }) if generation != sent => {
                Err(io::Error::other(format!("table {sent} was answered with {generation}")))
            }
            reply => reply,
        };
        let ToProxy::Apply(table) = message else {
            return Ok(());
        };
        let outcome = match reply {
            Ok(FromProxy::Applied { generation, swap_ns }) => {
                self.last = generation;
                self.table = Some((*table, None));
                self.link.send_if_modified(|link| match link {
                    Link::Up { generation: live, .. } => {
                        *live = generation;
                        true
                    }
                    Link::Down => false,
                });
                Ok(Applied { generation, swap: Duration::from_nanos(swap_ns) })
            }
            Ok(FromProxy::Refused { message }) => {
                warn!(%message, "the proxy refused a table");
                Err(Error::Refused(message))
            }
            Ok(other) => Err(unexpected(&other)),
            Err(error) => {
                // It may be live or not: the next proxy gets it under a number of its own.
                self.last = table.generation;
                self.table = Some((*table, waiting));
                return Err(error);
            }
        };
        if let Some(answer) = waiting {
            answer.send(outcome).ok();
        }
        Ok(())
    }
}

struct Hello {
    version: String,
    pid: u32,
    generation: Generation,
}

/// Connects and hears the greeting. A proxy that is just being restarted lets us wait: its listener
/// outlives it. One whose number cannot come from us is not talked to: its successor could not
/// count on from there.
async fn meet(proxy: &dyn Connect, last: Generation) -> io::Result<(Box<dyn Connection>, Hello)> {
    let greeting = async {
        let mut connection = proxy.connect().await?;
        match connection.read().await? {
            FromProxy::Hello { generation, .. } if generation.0 > last.0.saturating_add(AHEAD) => {
                Err(io::Error::other(format!("its table {generation} is none of ours")))
            }
            FromProxy::Hello { version, pid, generation } => {
                Ok((connection, Hello { version, pid, generation }))
            }
            other => Err(io::Error::other(format!("greeted with {other:?}"))),
        }
    };
    timeout(ANSWER, greeting).await?
}

async fn exchange(connection: &mut dyn Connection, message: &ToProxy) -> io::Result<FromProxy> {
    timeout(ANSWER, async {
        connection.write(message, None).await?;
        connection.read().await
    })
    .await?
}

async fn send_access_log(
    connection: &mut dyn Connection,
    target: &AccessLogTarget,
) -> io::Result<()> {
    let (log, file) = match target {
        AccessLogTarget::File(file) => (AccessLog::File, Some(file.as_ref())),
        AccessLogTarget::Off => (AccessLog::Off, None),
        AccessLogTarget::Stdout => (AccessLog::Stdout, None),
    };
    let reply = timeout(ANSWER, async {
        connection.write(&ToProxy::AccessLog(log), file).await?;
        connection.read().await
    })
    .await??;
    if !matches!(reply, FromProxy::Done) {
        warn!(?reply, "the proxy did not take the access log");
    }
    Ok(())
}

pub(super) fn unexpected(reply: &FromProxy) -> Error {
    Error::Refused(match reply {
        FromProxy::Refused { message } => message.clone(),
        other => format!("an unexpected answer: {other:?}"),
    })
}

/// For one answer. The proxy answers from memory, so one that takes longer is stuck, and a new
/// connection is worth a try.
const ANSWER: Duration = Duration::from_secs(5);
/// How far a proxy's table may be ahead of what the journal knows, where that was lost: the tables
/// of ten years at three thousand a second.
const AHEAD: u64 = 1 << 40;
const BACK_OFF_MIN: Duration = Duration::from_millis(10);
const BACK_OFF_MAX: Duration = Duration::from_millis(250);
