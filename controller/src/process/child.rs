//! A child process, and when to start the next.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Pid;
use tokio::time::Instant;

use super::handoff::{Handoff, Order};
use super::sockets::Sockets;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A child that lived this long did not fail to start: its successor is to serve within a second,
/// however often somebody kills one.
const SETTLED: Duration = Duration::from_secs(1);

/// The two kinds of children.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    Controller,
    Proxy,
}

impl Role {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Proxy => "proxy",
        }
    }
}

/// A running child.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: Pid,
    handoff: Handoff,
}

impl Child {
    /// Starts a child and hands it its sockets.
    pub(super) fn start(role: Role, arguments: &[OsString], sockets: &Sockets) -> Result<Self> {
        let (handoff, stdin) = Handoff::pair()?;
        // Not the path: the running version, even if the file has been replaced.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("cutover")
            .arg(role.as_str())
            .arg("--handoff")
            .args(arguments)
            .stdin(Stdio::from(stdin))
            // A terminal's Ctrl-C is for the supervisor, which tells the children in order.
            .process_group(0);
        if role == Role::Proxy {
            // Its environment may hold secrets.
            let log_level = std::env::var_os("RUST_LOG");
            command.current_dir("/").env_clear().envs(log_level.map(|level| ("RUST_LOG", level)));
        }
        let child = command.spawn().context("cannot start")?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.context("the kernel gave no process ID")?;
        let child = Self { pid, handoff };
        child.equip(role, sockets).context("it does not take its sockets")?;
        Ok(child)
    }

    /// Gives an order. A child that does not listen any more is about to be reaped.
    pub(super) fn order(&self, order: Order) {
        if let Err(error) = self.handoff.send(order, &[]) {
            tracing::debug!(pid = %self.pid.as_raw_nonzero(), ?order, %error, "order not taken");
        }
    }

    fn equip(&self, role: Role, sockets: &Sockets) -> Result<()> {
        match role {
            Role::Proxy => {
                for (address, listeners) in &sockets.http {
                    let fds: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
                    self.handoff.send(Order::Http(*address), &fds)?;
                }
                self.handoff.send(Order::Link, &[sockets.link.listener.as_fd()])?;
            }
            Role::Controller => {
                self.handoff.send(Order::Control, &[sockets.control.listener.as_fd()])?;
                if let Some(admin) = &sockets.admin {
                    self.handoff.send(Order::Admin, &[admin.as_fd()])?;
                }
            }
        }
        Ok(self.handoff.send(Order::Start, &[])?)
    }
}

/// How long to wait before the next start.
#[derive(Debug)]
pub(super) struct Backoff {
    pause: Duration,
    started: Instant,
}

impl Backoff {
    pub(super) fn new(now: Instant) -> Self {
        Self { pause: FIRST_PAUSE, started: now }
    }

    pub(super) fn started(&mut self, now: Instant) {
        self.started = now;
    }

    /// The child has ended: how long to wait.
    pub(super) fn ended(&mut self, now: Instant) -> Duration {
        if now.duration_since(self.started) >= SETTLED {
            self.pause = FIRST_PAUSE;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_five_seconds_and_starts_anew_after_a_settled_life() {
        let mut now = Instant::now();
        let mut backoff = Backoff::new(now);
        let pauses: Vec<u128> = (0..8).map(|_| backoff.ended(now).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.started(now);
        now += SETTLED;
        assert_eq!(backoff.ended(now), FIRST_PAUSE);
    }
}
