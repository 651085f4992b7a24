//! What a worker does beside its requests: commands, ticks, the end.

use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::context::Worker;
use super::lifecycle::Phase;
use crate::time::TICK;

/// What the main thread tells a worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Command {
    /// Retired pools have been hung up.
    Hangup,
    /// Finish what is in flight.
    Shutdown,
    /// There is a new table.
    Table,
}

/// Carries out commands until shutdown; `grace` is the longest it then waits for connections.
pub(crate) async fn run(
    worker: &Rc<Worker>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    grace: Duration,
) {
    let ticker = tokio::task::spawn_local(tick(Rc::clone(worker)));
    loop {
        match commands.recv().await {
            Some(Command::Table) => {
                worker.renew_view();
                worker.life.advance(Phase::Serving);
            }
            Some(Command::Hangup) => worker.timers.wake_all(),
            Some(Command::Shutdown) | None => break,
        }
    }
    finish(worker, grace).await;
    ticker.abort();
}

/// A short lame duck, so that who is just connecting still gets an answer; then the rest.
async fn finish(worker: &Worker, grace: Duration) {
    let deadline = Instant::now() + grace;
    let enter = |phase| {
        worker.life.advance(phase);
        worker.timers.wake_all();
    };
    enter(Phase::LameDuck);
    tokio::time::sleep(LAME_DUCK.min(grace / 4)).await;
    enter(Phase::Draining);
    worker.life.emptied(deadline).await;
    // Those that are left end in a reset: a plain close would make what was sent look whole.
    enter(Phase::Over);
    worker.life.emptied(Instant::now() + TICK * 5).await;
}

/// How long a worker that shuts down still takes new connections.
const LAME_DUCK: Duration = Duration::from_millis(500);

async fn tick(worker: Rc<Worker>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        interval.tick().await;
        // Without ticks no deadline of this worker would ever come.
        if panic::catch_unwind(AssertUnwindSafe(|| tick_once(&worker))).is_err() {
            worker.slot.panics.add(1);
            tracing::error!("a panic has ended the work of one tick");
        }
    }
}

fn tick_once(worker: &Worker) {
    worker.timers.tick();
    if worker.timers.now().is_multiple_of(SWEEP_TICKS) {
        worker.with_view(|view| view.sweep(worker.timers.now()));
        if worker.life.take_freed()
            && let Some(trim) = worker.shared.trim
        {
            trim();
        }
    }
}

/// What is done once a second: idle upstream connections, freed memory.
const SWEEP_TICKS: u64 = 10;
