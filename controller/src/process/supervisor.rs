//! `cutover run`: binds the sockets, starts proxy and controller, restarts what dies, ends in order.
//!
//! Small and dull on purpose: it is PID 1, the one process whose crash nobody repairs, so it parses
//! nothing that a client or Docker sent.

use std::ffi::OsString;
use std::future::pending;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Resource, Rlimit, WaitOptions, WaitStatus};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::child::{Backoff, Child, Role};
use super::handoff::Order;
use super::memory::Code;
use super::sockets::Sockets;
use crate::config::Config;

/// What a child may need beyond the deadline it was given, to say goodbye.
const MARGIN: Duration = Duration::from_secs(2);
/// How long the controller has to write down what it knows.
const CONTROLLER_STOP: Duration = Duration::from_secs(3);
/// Between `/readyz` failing and the listeners closing: who polls it may look elsewhere.
const LAME_DUCK: Duration = Duration::from_millis(200);

/// Runs until told to stop.
///
/// # Errors
/// A socket cannot be bound, or a child did not end in time.
pub(crate) fn run(config: &Config, config_path: Option<&Path>) -> Result<()> {
    // From here on no child can gain a privilege, not even by a set-user-ID file.
    rustix::thread::set_no_new_privs(true).context("no_new_privs")?;
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::spawn(Code::mapped().unmap_start());
        let sockets = bind(config).await?;
        let mut signals = Signals::new()?;
        let mut family = Family::new(config, config_path, sockets);
        family.serve(&mut signals).await?;
        family.stop(&mut signals).await
    })
}

/// The children of a supervisor that was just killed may hold its sockets for a moment longer.
async fn bind(config: &Config) -> Result<Sockets> {
    let mut patience = 10;
    let sockets = loop {
        match Sockets::bind(config) {
            Err(_) if patience > 0 => patience -= 1,
            other => break other?,
        }
        sleep(Duration::from_millis(50)).await;
    };
    for (address, listeners) in &sockets.http {
        tracing::info!(%address, workers = listeners.len(), "listening");
    }
    Ok(sockets)
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Event {
    ChildEnded,
    End,
    ReopenLog,
}

#[derive(Debug)]
struct Signals {
    child: Signal,
    terminate: Signal,
    interrupt: Signal,
    reopen: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self {
            child: signal(SignalKind::child())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: signal(SignalKind::user_defined1())?,
        })
    }

    /// Cancel safe: a signal that is not taken stays.
    async fn next(&mut self) -> Event {
        tokio::select! {
            Some(()) = self.child.recv() => Event::ChildEnded,
            Some(()) = self.terminate.recv() => Event::End,
            Some(()) = self.interrupt.recv() => Event::End,
            Some(()) = self.reopen.recv() => Event::ReopenLog,
            else => pending().await,
        }
    }
}

/// The two children, and what to start them with.
#[derive(Debug)]
struct Family<'c> {
    config: &'c Config,
    sockets: Sockets,
    proxy: Seat,
    controller: Seat,
}

/// The place of one child.
#[derive(Debug)]
struct Seat {
    role: Role,
    arguments: Vec<OsString>,
    child: Option<Child>,
    backoff: Backoff,
    /// When to start the next, while there is none.
    next: Instant,
}

impl Seat {
    fn new(role: Role, arguments: Vec<OsString>) -> Self {
        let now = Instant::now();
        Self { role, arguments, child: None, backoff: Backoff::new(now), next: now }
    }

    fn order(&self, order: Order) {
        if let Some(child) = &self.child {
            child.order(order);
        }
    }

    fn vacate(&mut self) {
        self.child = None;
        let now = Instant::now();
        self.next = now + self.backoff.ended(now);
    }
}

impl<'c> Family<'c> {
    fn new(config: &'c Config, config_path: Option<&Path>, sockets: Sockets) -> Self {
        let absolute =
            config_path.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        let mut controller: Vec<OsString> = match absolute {
            Some(path) => vec!["--config".into(), path.into()],
            None => Vec::new(),
        };
        // Where a controller that dies while the file is broken finds the config that is live.
        let last_good = config.runtime.state_dir.join("config.last-good.toml");
        // One of a former life says nothing: the file that this life begins with is valid.
        std::fs::remove_file(&last_good).ok();
        controller.extend(["--last-good".into(), last_good.into()]);
        let limit = humantime::format_duration(config.runtime.shutdown_timeout).to_string();
        let user = config.runtime.proxy_user.to_string();
        let proxy = vec!["--shutdown-timeout".into(), limit.into(), "--user".into(), user.into()];
        Self {
            config,
            sockets,
            proxy: Seat::new(Role::Proxy, proxy),
            controller: Seat::new(Role::Controller, controller),
        }
    }

    /// Keeps both children alive until a signal says to stop.
    async fn serve(&mut self, signals: &mut Signals) -> Result<()> {
        loop {
            self.fill_seats();
            let next =
                [&self.proxy, &self.controller].into_iter().filter(|seat| seat.child.is_none());
            let next = next.map(|seat| seat.next).min();
            tokio::select! {
                () = wait_until(next) => {}
                event = signals.next() => match event {
                    Event::ChildEnded => self.reap(),
                    Event::End => return Ok(()),
                    Event::ReopenLog => self.controller.order(Order::ReopenLog),
                },
            }
        }
    }

    /// Ends in order: `/readyz` fails, the proxy finishes its requests, the controller goes last.
    async fn stop(mut self, signals: &mut Signals) -> Result<()> {
        let limit = self.config.runtime.shutdown_timeout;
        tracing::info!(within = ?limit, "stopping: requests in flight may finish");
        self.controller.order(Order::Retire);
        let begun = Instant::now();
        self.wait_for(signals, begun + LAME_DUCK.min(limit), |_| false).await?;
        self.proxy.order(Order::drain(limit.saturating_sub(begun.elapsed())));
        // The proxy holds its own; once it closes them, a connection is refused, not lost.
        self.sockets.http.clear();
        let proxy_gone = |family: &Self| family.proxy.child.is_none();
        let proxy = self.wait_for(signals, begun + limit + MARGIN, proxy_gone).await?;
        self.controller.order(Order::drain(CONTROLLER_STOP));
        let controller_gone = |family: &Self| family.controller.child.is_none();
        let last = Instant::now() + CONTROLLER_STOP + MARGIN;
        let controller = self.wait_for(signals, last, controller_gone).await?;
        if !(proxy && controller) {
            bail!("a child did not end in time and was ended by force");
        }
        tracing::info!("stopped");
        Ok(())
    }

    /// Reaps until `done` or the deadline; says which. A second signal is an error: end at once.
    async fn wait_for(
        &mut self,
        signals: &mut Signals,
        deadline: Instant,
        done: impl Fn(&Self) -> bool,
    ) -> Result<bool> {
        self.reap();
        while !done(self) {
            match timeout_at(deadline, signals.next()).await {
                Ok(Event::ChildEnded) => self.reap(),
                Ok(Event::End) => bail!("a second signal came: ended at once"),
                Ok(Event::ReopenLog) => {}
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    fn fill_seats(&mut self) {
        let now = Instant::now();
        for seat in [&mut self.proxy, &mut self.controller] {
            if seat.child.is_some() || seat.next > now {
                continue;
            }
            let role = seat.role.as_str();
            seat.backoff.started(now);
            match Child::start(seat.role, &seat.arguments, &self.sockets) {
                Ok(child) => {
                    tracing::info!(role, pid = child.pid.as_raw_nonzero(), "started");
                    seat.child = Some(child);
                }
                Err(error) => {
                    seat.vacate();
                    tracing::error!(role, retry_in = ?(seat.next - now), "{error:#}");
                }
            }
        }
    }

    /// Takes every dead process: our children, and as PID 1 whatever was left to us.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            for seat in [&mut self.proxy, &mut self.controller] {
                if seat.child.as_ref().is_some_and(|child| child.pid == pid) {
                    seat.vacate();
                    report(seat, pid, status);
                }
            }
        }
    }
}

fn report(seat: &Seat, pid: Pid, status: WaitStatus) {
    let role = seat.role.as_str();
    let pid = pid.as_raw_nonzero();
    match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => tracing::info!(role, pid, "ended"),
        (Some(code), _) => tracing::error!(role, pid, code, "failed"),
        (None, signal) => tracing::error!(role, pid, signal, "killed"),
    }
}

async fn wait_until(next: Option<Instant>) {
    match next {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}

/// Two sockets for each connection: the soft limit of 1024 is a limit of another age.
fn raise_file_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
