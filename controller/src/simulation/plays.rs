//! Plays: what is on the host, and what is asked for and happens, at which time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::client::Command;
use super::host::Layout;
use super::life::{Alive, runtime};
use super::world::World;
use crate::engine::State;
use cutover_api::Target;

/// What happens at a time.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Somebody asks for something.
    Ask(Command),
    /// A container of a service that serves, or one that does not, ends by itself.
    Crash(&'static str, bool),
    /// The same, by `docker rm -f`.
    Remove(&'static str, bool),
    /// The engine goes away, for so long.
    EngineAway(Duration),
    /// The proxy's process ends, and another one starts after so long.
    ProxyAway(Duration),
    /// The link breaks.
    HangUp,
    /// The next table goes live, and the link breaks before that is said.
    LoseAnswer,
    /// The disk is full, for so long.
    DiskFull(Duration),
    /// Compose starts another release beside the one that runs.
    ScaleUp(&'static str, &'static str),
}

/// A play.
#[derive(Clone, Debug)]
pub(super) struct Play {
    pub(super) name: &'static str,
    /// Services, how they are laid out and what they run.
    pub(super) services: Vec<(&'static str, Layout, &'static str)>,
    /// Services of which both colors serve.
    pub(super) both: Vec<&'static str>,
    /// What is done in peace before.
    pub(super) before: Vec<Command>,
    /// What happens, each so many milliseconds after the beginning.
    pub(super) acts: Vec<(u64, Act)>,
    /// How long a service that is ready may not serve.
    pub(super) grace: Duration,
}

/// What is still to happen, over several lives.
#[derive(Clone, Debug)]
pub(super) struct Agenda(Arc<Mutex<VecDeque<(Duration, Act)>>>);

impl Play {
    /// The host of this play, with all that is there before it begins.
    pub(super) fn stage(&self, seed: u64) -> World {
        let runtime = runtime();
        let world = runtime.block_on(async {
            let world = World::new(seed, self.grace);
            world.engine.add_images();
            for (service, layout, image) in &self.services {
                world.engine.bring_up(service, *layout, image);
            }
            world.engine.detach();
            world
        });
        drop(runtime);
        world
    }

    /// What is to happen, from now on.
    pub(super) fn agenda(&self, world: &World) -> Agenda {
        let now = world.engine.now();
        let mut acts: Vec<_> = self.acts.clone();
        acts.sort_by_key(|(at, _)| *at);
        let due = acts.into_iter().map(|(at, act)| (now + Duration::from_millis(at), act));
        Agenda(Arc::new(Mutex::new(due.collect())))
    }
}

impl Alive {
    /// Brings a play to where it begins.
    pub(super) async fn begin(&self, play: &Play) {
        self.until_all_serve().await;
        for service in &play.both {
            self.carry_out(Command::Flip(service, Target::Both, false)).await;
        }
        for command in &play.before {
            self.carry_out(command.clone()).await;
        }
    }

    /// Has everything happen at its time.
    pub(super) async fn follow(&self, agenda: &Agenda) {
        loop {
            let next = agenda.0.lock().unwrap().front().map(|(at, _)| *at);
            let Some(at) = next else { return };
            tokio::time::sleep(at.saturating_sub(self.world.engine.now())).await;
            let act = agenda.0.lock().unwrap().pop_front();
            if let Some((_, act)) = act {
                self.perform(act);
            }
        }
    }

    fn perform(&self, act: Act) {
        let world = &self.world;
        if !matches!(act, Act::Ask(_)) {
            world.tell(format!("{act:?}"));
        }
        match act {
            Act::Ask(command) => self.ask(command),
            Act::Crash(service, serves) => {
                if let Some(id) = self.victim(service, serves) {
                    world.engine.crash(&id, 1);
                }
            }
            Act::Remove(service, serves) => {
                if let Some(id) = self.victim(service, serves) {
                    world.engine.remove_by_hand(&id);
                }
            }
            Act::EngineAway(time) => {
                world.engine.go_away();
                self.later(time, |world| world.engine.come_back());
            }
            Act::ProxyAway(time) => {
                world.proxy.crash();
                self.later(time, |world| {
                    if !world.proxy.is_up() {
                        world.proxy.come_back();
                    }
                });
            }
            Act::HangUp => world.proxy.hang_up(),
            Act::LoseAnswer => world.proxy.lose_an_answer(),
            Act::DiskFull(time) => {
                world.store.set_full(true);
                self.later(time, |world| world.store.set_full(false));
            }
            Act::ScaleUp(service, image) => world.engine.scale_up(service, image, 7),
        }
    }

    fn later(&self, time: Duration, then: impl FnOnce(&World) + Send + 'static) {
        let world = self.world.clone();
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            then(&world);
        });
    }

    /// A container that runs: one that the live table names, or another one.
    fn victim(&self, service: &str, serves: bool) -> Option<String> {
        let truths = self.world.engine.truths();
        let mut ours = truths.into_iter().filter(|truth| {
            truth.service == service
                && truth.state == State::Running
                && self.world.proxy.names(&truth.id) == serves
        });
        ours.next().map(|truth| truth.id)
    }
}
