//! The host that the fake engine runs on: what there is, and what happens by itself.
//!
//! No await in here: every change is whole under one lock.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::behaviour::Answer;
use super::image::Images;
use super::network::Network;
use super::workload::Workload;
use crate::engine::change::ChangeSender;
use crate::engine::container::Wellness;
use crate::engine::{Change, Changes, Signal, State, Transition, WorkloadId};

/// All of it.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) now: Duration,
    pub(super) up: bool,
    pub(super) images: Images,
    pub(super) registry: Images,
    pub(super) networks: BTreeMap<String, Network>,
    pub(super) workloads: BTreeMap<String, Workload>,
    /// IDs count up, so that none is used twice.
    pub(super) last_id: u64,
    timers: BTreeMap<(Duration, u64), (String, Timer)>,
    last_timer: u64,
    watchers: Vec<Watcher>,
}

#[derive(Debug)]
struct Watcher {
    lanes: ChangeSender,
    /// A look at everything that there was no room for.
    owed: bool,
}

/// What happens to a container at a time; void if it has started or ended since.
#[derive(Clone, Copy, Debug)]
enum Timer {
    Die { epoch: u64, code: i64 },
    Health { epoch: u64, passes: bool },
    Restart { epoch: u64 },
}

impl Default for Host {
    fn default() -> Self {
        Self {
            now: Duration::ZERO,
            up: true,
            images: Images::default(),
            registry: Images::default(),
            networks: BTreeMap::new(),
            workloads: BTreeMap::new(),
            last_id: 0,
            timers: BTreeMap::new(),
            last_timer: 0,
            watchers: Vec::new(),
        }
    }
}

impl Host {
    /// Carries out what has come due, each at its own time.
    pub(super) fn advance(&mut self, now: Duration) {
        while let Some((&(at, number), _)) = self.timers.first_key_value() {
            if at > now {
                break;
            }
            self.now = self.now.max(at);
            if let Some((id, timer)) = self.timers.remove(&(at, number)) {
                self.ring(&id, timer);
            }
        }
        self.now = self.now.max(now);
        self.pay();
    }

    /// When the next thing happens by itself.
    pub(super) fn next_timer(&self) -> Option<Duration> {
        let owed = self.watchers.iter().any(|watcher| watcher.owed);
        let pay = owed.then_some(self.now + PAY_AGAIN);
        let timer = self.timers.first_key_value().map(|((at, _), _)| *at);
        timer.into_iter().chain(pay).min()
    }

    /// A container by ID, by the beginning of its ID, or by name.
    pub(super) fn find(&self, id: &str) -> Option<&Workload> {
        let short = || self.workloads.values().find(|w| id.len() >= 12 && w.id.starts_with(id));
        let named = self.workloads.values().find(|workload| workload.name == id);
        self.workloads.get(id).or(named).or_else(short)
    }

    pub(super) fn find_mut(&mut self, id: &str) -> Option<&mut Workload> {
        let id = self.find(id)?.id.clone();
        self.workloads.get_mut(&id)
    }

    pub(super) fn start(&mut self, id: &str) {
        let now = self.now;
        let Some(workload) = self.workloads.get_mut(id) else { return };
        if workload.runs() {
            return;
        }
        workload.state = State::Running;
        workload.started = Some(now);
        workload.epoch += 1;
        workload.told_to_stop = false;
        let checked = workload.health_checked();
        workload.wellness = if checked { Wellness::Starting } else { Wellness::Unchecked };
        let (epoch, behaviour) = (workload.epoch, workload.behaviour.clone());
        for (name, address) in &mut workload.networks {
            *address = self.networks.get_mut(name).and_then(Network::take);
        }
        self.emit(id, Transition::Started);
        if let Some((after, code)) = behaviour.dies_after {
            self.set(after, id, Timer::Die { epoch, code });
        }
        if checked {
            let (after, passes) = match behaviour.ready_after {
                Some(after) if behaviour.status < 400 => (after, true),
                _ => (UNHEALTHY_AFTER, false),
            };
            self.set(after, id, Timer::Health { epoch, passes });
        }
    }

    /// Sends a signal; by hand or to stop it.
    pub(super) fn signal(&mut self, id: &str, signal: Signal) {
        let Some(workload) = self.workloads.get_mut(id).filter(|workload| workload.runs()) else {
            return;
        };
        let own = workload.stop_signal();
        let ends = signal.ends(None) || signal == own;
        workload.told_to_stop |= ends;
        let (epoch, stops_after) = (workload.epoch, workload.behaviour.stops_after);
        let frozen = workload.state == State::Paused;
        self.emit(id, Transition::Signalled(signal));
        match stops_after {
            _ if signal == Signal::KILL => self.end(id, 137),
            Some(after) if ends && !frozen => self.set(after, id, Timer::Die { epoch, code: 0 }),
            _ => {}
        }
    }

    /// Stops a container as Docker does, with SIGKILL after its grace. It may take its time.
    pub(super) fn stop(&mut self, id: &str) {
        let Some(workload) = self.workloads.get_mut(id) else { return };
        if workload.state == State::Restarting {
            workload.state = State::Stopped;
            workload.epoch += 1;
            return;
        }
        let (signal, grace, epoch) = (workload.stop_signal(), workload.grace(), workload.epoch);
        self.signal(id, signal);
        self.set(grace, id, Timer::Die { epoch, code: 137 });
    }

    /// Its process ends.
    pub(super) fn end(&mut self, id: &str, code: i64) {
        let Some(workload) = self.workloads.get_mut(id).filter(|workload| workload.runs()) else {
            return;
        };
        workload.epoch += 1;
        workload.exit_code = code;
        workload.wellness = Wellness::Unchecked;
        let again = !workload.told_to_stop && workload.restarts_after(code);
        workload.state = if again { State::Restarting } else { State::Stopped };
        let (epoch, restarts) = (workload.epoch, workload.restarts);
        let mut left = Vec::new();
        for (name, address) in &mut workload.networks {
            if let (Some(address), Some(network)) = (address.take(), self.networks.get_mut(name)) {
                network.free(address);
                left.push(name.clone());
            }
        }
        self.emit(id, Transition::Ended);
        for network in left {
            self.emit(id, Transition::Left(network));
        }
        if again {
            let doubled = FIRST_RESTART * 2_u32.pow(restarts.clamp(0, 9).try_into().unwrap_or(9));
            self.set(doubled, id, Timer::Restart { epoch });
        }
    }

    pub(super) fn remove(&mut self, id: &str) {
        if self.workloads.remove(id).is_some() {
            self.look_at(id);
        }
    }

    pub(super) fn leave(&mut self, id: &str, name: &str) {
        let Some(workload) = self.workloads.get_mut(id) else { return };
        let Some(address) = workload.networks.remove(name) else { return };
        if let (Some(address), Some(network)) = (address, self.networks.get_mut(name)) {
            network.free(address);
        }
        self.emit(id, Transition::Left(name.to_owned()));
    }

    pub(super) fn join(&mut self, id: &str, name: &str) {
        let Some(workload) = self.workloads.get_mut(id) else { return };
        let runs = workload.runs();
        let address = self.networks.get_mut(name).filter(|_| runs).and_then(Network::take);
        workload.networks.insert(name.to_owned(), address);
        self.look_at(id);
    }

    /// Who has an address, and what it says there.
    pub(super) fn answer(&self, address: IpAddr) -> Answer {
        let has = |workload: &&Workload| {
            workload.runs() && workload.networks.values().any(|own| *own == Some(address))
        };
        let Some(workload) = self.workloads.values().find(has) else {
            return Answer::Refused;
        };
        let since = self.now.saturating_sub(workload.started.unwrap_or_default());
        match workload.behaviour.ready_after {
            _ if workload.state == State::Paused => Answer::Silent,
            Some(after) if since >= after => {
                Answer::Status { container: workload.id.clone(), status: workload.behaviour.status }
            }
            _ => Answer::Refused,
        }
    }

    pub(super) fn watch(&mut self) -> Changes {
        let (lanes, changes) = ChangeSender::new();
        let first = if self.up { Change::Everything } else { Change::Gone(DOWN.into()) };
        lanes.look(first).ok();
        self.watchers.push(Watcher { lanes, owed: false });
        changes
    }

    /// Those of a runtime that has ended.
    pub(super) fn forget_watchers(&mut self) {
        self.watchers.clear();
    }

    /// Whether the engine itself answers. Containers do not notice.
    pub(super) fn set_up(&mut self, up: bool) {
        if self.up == up {
            return;
        }
        self.up = up;
        for watcher in &mut self.watchers {
            if up {
                watcher.owed = true;
            } else {
                watcher.lanes.look(Change::Gone(DOWN.into())).ok();
            }
        }
        self.pay();
    }

    /// Something about a container is to be looked at.
    pub(super) fn look_at(&mut self, id: &str) {
        let change = Change::Container(WorkloadId::local(id));
        self.each(|lanes| lanes.look(change.clone()));
    }

    fn emit(&mut self, id: &str, transition: Transition) {
        let id = WorkloadId::local(id);
        self.each(|lanes| lanes.happened(id.clone(), transition.clone()));
    }

    /// An engine that is away tells nothing; once it is back, a look at everything is owed.
    fn each(
        &mut self,
        mut send: impl FnMut(&ChangeSender) -> Result<bool, crate::engine::change::Closed>,
    ) {
        if !self.up {
            return;
        }
        self.watchers.retain_mut(|watcher| match send(&watcher.lanes) {
            Ok(has_room) => {
                watcher.owed |= !has_room;
                true
            }
            Err(_) => false,
        });
    }

    fn pay(&mut self) {
        if !self.up {
            return;
        }
        self.watchers.retain_mut(|watcher| {
            if !watcher.owed {
                return true;
            }
            let paid = watcher.lanes.look(Change::Everything);
            watcher.owed = matches!(paid, Ok(false));
            paid.is_ok()
        });
    }

    fn set(&mut self, after: Duration, id: &str, timer: Timer) {
        self.last_timer += 1;
        self.timers.insert((self.now + after, self.last_timer), (id.to_owned(), timer));
    }

    fn ring(&mut self, id: &str, timer: Timer) {
        let Some(workload) = self.workloads.get_mut(id) else { return };
        let now = workload.epoch;
        match timer {
            Timer::Die { epoch, code } if epoch == now => self.end(id, code),
            Timer::Health { epoch, passes } if epoch == now => {
                workload.wellness = match passes {
                    true => Wellness::Healthy,
                    false => Wellness::Unhealthy("it does not answer".into()),
                };
                self.look_at(id);
            }
            Timer::Restart { epoch } if epoch == now => {
                workload.restarts += 1;
                self.start(id);
            }
            Timer::Die { .. } | Timer::Health { .. } | Timer::Restart { .. } => {}
        }
    }
}

/// What is said of an engine that is away.
pub(super) const DOWN: &str = "connection refused";
const FIRST_RESTART: Duration = Duration::from_millis(100);
const UNHEALTHY_AFTER: Duration = Duration::from_secs(3);
/// Between two tries to ask for a look that there was no room for.
const PAY_AGAIN: Duration = Duration::from_millis(100);
