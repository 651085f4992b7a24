//! An engine in memory, complete enough that the controller cannot tell the difference.
//!
//! It has images with behaviours, a registry, networks whose addresses are reused at once,
//! containers with restart policies, health, stop signals and grace, and the same events as Docker.
//! Time is tokio's, so tests pause it. [`FakeEngine`] outlives a runtime: after a crash of the
//! controller the next runtime calls [`FakeEngine::attach`].
//!
//! Three sides of it: the trait [`Engine`] for the controller, [`commands`] for what people do with
//! `docker` by hand, and [`FakeEngine::answer`] for whoever connects to an address.

mod behaviour;
mod calls;
mod clock;
mod commands;
mod faults;
mod host;
mod image;
mod inspect;
mod network;
mod truth;
#[cfg(test)]
mod tests;
mod workload;

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

pub(crate) use self::behaviour::{Answer, Behaviour};
use self::clock::Clock;
pub(crate) use self::commands::Run;
use self::faults::Faults;
pub(crate) use self::faults::{Call, Fault};
use self::host::Host;
pub(crate) use self::image::FakeImage;
pub(super) use self::inspect::merged;
pub(crate) use self::truth::Truth;
use super::{Containers, EngineError};
use crate::testing::crash_points::CrashPoints;

/// An engine in memory. Clones are the same one.
#[derive(Clone)]
pub(crate) struct FakeEngine {
    shared: Arc<Shared>,
}

struct Shared {
    host: Mutex<Host>,
    clock: Clock,
    faults: Mutex<Faults>,
    points: CrashPoints,
    /// Something has changed: timers, or what a call waits for.
    changed: Notify,
    /// How many calls hang that ask for all containers.
    unseen: AtomicUsize,
}

impl FakeEngine {
    /// An engine without anything; runs in this runtime.
    ///
    /// Needs a tokio runtime.
    pub(crate) fn new(points: CrashPoints) -> Self {
        let shared = Shared {
            host: Mutex::default(),
            clock: Clock::default(),
            faults: Mutex::default(),
            points,
            changed: Notify::new(),
            unseen: AtomicUsize::new(0),
        };
        let this = Self { shared: Arc::new(shared) };
        this.attach();
        this
    }

    /// Goes on in this runtime, at the moment when the former one ended.
    ///
    /// Needs a tokio runtime; the one before must have been dropped.
    pub(crate) fn attach(&self) {
        self.shared.clock.attach();
        self.host().forget_watchers();
        tokio::spawn(self.clone().run());
    }

    /// Its time stands still until it is attached again: the current runtime is about to end.
    pub(crate) fn detach(&self) {
        self.shared.clock.detach();
    }

    /// As what the controller works with.
    pub(crate) fn containers(&self) -> Containers {
        let engine: Arc<dyn super::Engine> = Arc::new(self.clone());
        engine.into()
    }

    /// What whoever connects to an address gets now.
    pub(crate) fn answer(&self, address: IpAddr) -> Answer {
        self.advanced().answer(address)
    }

    /// What becomes of calls from now on.
    pub(crate) fn on_call(&self, script: impl FnMut(Call, &str) -> Option<Fault> + Send + 'static) {
        self.faults().script(Box::new(script));
    }

    /// What becomes of the nth call of a kind from now, the next being 1.
    pub(crate) fn on_nth(&self, call: Call, nth: usize, fault: Fault) {
        self.faults().nth(call, nth, fault);
    }

    /// The engine's process goes away; containers go on. Calls fail until it is back.
    pub(crate) fn go_away(&self) {
        self.advanced().set_up(false);
    }

    /// The engine's process is back.
    pub(crate) fn come_back(&self) {
        self.advanced().set_up(true);
        self.shared.changed.notify_waiters();
    }

    /// Carries out timers as they come due; for ever.
    async fn run(self) {
        loop {
            let changed = self.shared.changed.notified();
            let next = self.advanced().next_timer();
            match next {
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(self.shared.clock.instant(at)) => {
                        self.shared.changed.notify_waiters();
                    }
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }

    /// The host at this moment.
    fn advanced(&self) -> MutexGuard<'_, Host> {
        let now = self.shared.clock.now();
        let mut host = self.host();
        host.advance(now);
        host
    }

    fn host(&self) -> MutexGuard<'_, Host> {
        self.shared.host.lock().unwrap()
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.shared.faults.lock().unwrap()
    }
}

impl fmt::Debug for FakeEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeEngine")
    }
}

fn refused(call: &'static str, status: u16, message: impl Into<String>) -> EngineError {
    EngineError::Refused { call, status, message: message.into() }
}

/// What the real engine's calls are given.
const CALL: Duration = Duration::from_secs(10);
