//! One life of the controller: from its start to its end, or to where it is killed.

use std::sync::Arc;
use std::time::Duration;

use super::apps::FakeApps;
use super::world::World;
use crate::config::Config;
use crate::executor::Rollouts;
use crate::process::controller::assembly::{Parts, assemble};
use crate::serving::Controller;
use crate::serving::outside::Outside;
use crate::testing::host_clock;
use cutover_api::ConfigStatus;

/// A controller that lives.
#[derive(Clone, Debug)]
pub(super) struct Alive {
    pub(super) world: World,
    pub(super) controller: Controller,
    pub(super) rollouts: Rollouts,
}

/// A runtime on paused time. Whatever lives in it ends with it.
pub(super) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

impl World {
    /// Starts a controller on what is there, after `pause`, and drives it. `None` where it was killed.
    pub(super) fn live<T>(
        &self,
        pause: Duration,
        drive: impl AsyncFnOnce(Alive) -> T,
    ) -> Option<T> {
        let runtime = runtime();
        let outcome = runtime.block_on(async {
            self.engine.attach();
            host_clock::set(self.engine.date());
            tokio::spawn(self.points.clone().keep_pace());
            tokio::spawn(self.proxy.clone().serve());
            tokio::spawn(self.clone().watch());
            tokio::time::sleep(pause).await;
            let alive = self.start();
            let outcome = tokio::select! {
                biased;
                () = self.points.stopped() => None,
                outcome = drive(alive) => Some(outcome),
            };
            self.engine.detach();
            outcome
        });
        drop(runtime);
        host_clock::unset();
        match (&outcome, self.points.places().last()) {
            (None, Some(place)) => {
                self.tell(format!("KILLED at {} {place}", self.points.count()));
            }
            _ => self.tell("the controller ends"),
        }
        // A life that does not come to where it was to be killed ends in the middle of something, too.
        self.hung_up();
        self.points.reset();
        outcome
    }

    fn start(&self) -> Alive {
        self.tell("a controller starts");
        let outside = Outside {
            store: Arc::new(self.store.clone()),
            proxy: Arc::new(self.proxy.clone()),
            apps: Some(Arc::new(FakeApps(self.engine.clone()))),
        };
        let parts = Parts { outside, engine: Some(self.engine.containers()), own: Vec::new() };
        let status = ConfigStatus { ok: true, ..ConfigStatus::default() };
        let (controller, rollouts) = assemble(Config::default(), status, parts);
        Alive { world: self.clone(), controller, rollouts: rollouts.unwrap() }
    }
}

impl Alive {
    /// Waits until nothing is under way any more.
    pub(super) async fn rest(&self) {
        let mut quiet = 0;
        for _ in 0..PATIENCE {
            quiet = if self.is_quiet() { quiet + 1 } else { 0 };
            if quiet > QUIET {
                return;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        self.world.violated(format!("it does not come to rest: {}", self.why_busy().join(", ")));
    }

    /// Waits until something holds, for so long at most. Says whether it does.
    pub(super) async fn within(&self, time: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let end = self.world.engine.now() + time;
        while !holds(self) && self.world.engine.now() < end {
            tokio::time::sleep(LOOK_SOON).await;
        }
        holds(self)
    }

    /// The end of a life: where it is the last, things calm down, and all comes to rest.
    pub(super) async fn end(&self, last: bool) {
        if last {
            self.world.calm_down();
            self.rest().await;
        } else {
            // A kill is still to come; perhaps it does not.
            tokio::time::sleep(LONG).await;
        }
    }

    fn is_quiet(&self) -> bool {
        self.why_busy().is_empty()
    }

    fn why_busy(&self) -> Vec<String> {
        let mut why = self.controller.state(|state| {
            let rollouts = state.journal().rollouts();
            let mut why: Vec<_> =
                rollouts.map(|r| format!("{} is in {}", r.id, r.machine.phase())).collect();
            let locked = state.services().filter(|(name, _)| state.locks().is_taken(name));
            why.extend(locked.map(|(name, _)| format!("{name} is locked")));
            why.extend((!state.drains().is_idle()).then(|| "something drains".to_owned()));
            why.extend(state.journal_error().cloned());
            why.extend((!state.is_published()).then(|| "no table is live".to_owned()));
            why
        });
        why.extend(self.world.is_starving().then(|| "a service is starving".to_owned()));
        let waiting = self.world.waiting().into_iter();
        why.extend(waiting.map(|command| format!("{command:?} is not answered")));
        why
    }
}

const LOOK_SOON: Duration = Duration::from_millis(20);
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// For a play of which nothing more is to come.
const LONG: Duration = Duration::from_secs(20);
/// So many looks in a row find nothing under way.
const QUIET: usize = 12;
/// So many looks are waited: twenty minutes.
const PATIENCE: usize = 2_400;
