//! What the supervisor hands over before a child begins.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::process::handoff::{Handoff, Order};

/// The sockets that the supervisor keeps open.
#[derive(Debug, Default)]
pub(in crate::process) struct Inherited {
    pub(in crate::process) http: Vec<(SocketAddr, Vec<TcpListener>)>,
    pub(in crate::process) link: Option<UnixListener>,
    pub(in crate::process) control: Option<UnixListener>,
    pub(in crate::process) admin: Option<TcpListener>,
}

impl Inherited {
    /// Takes what comes until [`Order::Start`]. From here on the death of the supervisor is ours.
    pub(in crate::process) fn take(handoff: &Handoff) -> Result<Self> {
        // The end of the handoff says it too; the kernel does even if no thread of ours can run.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        let mut inherited = Self::default();
        loop {
            let order = handoff.receive().context("reading the handoff")?;
            let (order, fds) = order.context("the supervisor has gone")?;
            match order {
                Order::Start => return Ok(inherited),
                Order::Http(address) => {
                    let sockets = fds.into_iter().map(TcpListener::from);
                    match inherited.http.iter_mut().find(|(known, _)| *known == address) {
                        Some((_, known)) => known.extend(sockets),
                        None => inherited.http.push((address, sockets.collect())),
                    }
                }
                Order::Link => inherited.link = Some(only(fds)?.into()),
                Order::Control => inherited.control = Some(only(fds)?.into()),
                Order::Admin => inherited.admin = Some(only(fds)?.into()),
                Order::Drain(_) => bail!("told to end before the start"),
                Order::ReopenLog | Order::Retire => {}
            }
        }
    }
}

fn only(fds: Vec<OwnedFd>) -> Result<OwnedFd> {
    fds.into_iter().next().context("an order came without its socket")
}
