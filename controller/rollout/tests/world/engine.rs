//! Containers: what is done to them, what they do themselves, and what they have in flight.

use cutover_rollout::{Action, Event, Phase, Set, Side, StopReason};

use super::{State, World};

impl World {
    pub(super) fn die(&mut self, victim: &Set) {
        let containers = self.sets.get_mut(victim).unwrap();
        if !matches!(containers.state, State::Running | State::Ready) {
            return;
        }
        containers.state = State::Dead;
        containers.in_flight = None;
        containers.streams = None;
        self.note(|_| format!("{victim:?} died"));
        if victim.side == Side::New {
            self.post(Event::Died { reason: "exit 1".into() });
        }
    }

    /// Requests begin on what the table names and end when they like. The drain deadlines are the
    /// controller's: they hold whatever the rollout does.
    pub(super) fn traffic(&mut self) {
        let now = self.now;
        let limits = self.machine.services()[0].limits;
        for (set, containers) in &mut self.sets {
            if let Some(retired) = containers.retired {
                let end = |ms| retired.after(ms);
                let hangup = end(limits.drain_ms);
                containers.in_flight = containers.in_flight.map(|at| at.min(hangup));
                let hangup = end(limits.drain_ms.max(limits.streams_ms));
                containers.streams = containers.streams.map(|at| at.min(hangup));
            }
            containers.in_flight = containers.in_flight.filter(|end| *end > now);
            containers.streams = containers.streams.filter(|end| *end > now);
            if self.table.contains(set) && containers.state == State::Ready {
                containers.served = true;
                let patience = if self.random.one_in(10) { 600_000 } else { 3_000 };
                let end = now.after(self.random.below(patience));
                containers.in_flight = containers.in_flight.max(Some(end));
                if self.random.one_in(10) {
                    let end = now.after(self.random.below(900_000));
                    containers.streams = containers.streams.max(Some(end));
                }
            }
        }
    }

    pub(super) fn carry_out(&mut self) {
        while self.link.front().is_some_and(|(at, _)| *at <= self.now) {
            let (_, action) = self.link.pop_front().unwrap();
            self.apply(action, true);
        }
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.agenda).into_iter().partition(|(at, _)| *at <= self.now);
        self.agenda = later;
        for (_, action) in due {
            self.perform(action, true);
        }
    }

    /// Does what an action asks for; `heard` is false where nobody lives to hear the answer.
    pub(super) fn perform(&mut self, action: Action, heard: bool) {
        let down = self.now < self.outage;
        let hiccup = self.hiccups > 0 && !matches!(action, Action::Watch(_));
        self.hiccups = self.hiccups.saturating_sub(u32::from(hiccup && self.hiccups < u32::MAX));
        let fails = down || hiccup || (!self.calm && self.random.one_in(25));
        let transient = down || hiccup || self.random.one_in(2);
        // An answer that got lost comes when the engine is asked again, or not at all.
        let mute = !heard || (!self.calm && self.random.one_in(60));
        let (phase, set) = match &action {
            Action::Pull(service) => {
                let batch = self.sets.keys().find(|set| set.service == *service).unwrap().batch;
                let set = Set { service: service.clone(), batch, side: Side::New };
                (Phase::Pull, set)
            }
            Action::Create(set) => (Phase::Create, set.clone()),
            Action::Start(set) => (Phase::Start, set.clone()),
            Action::AwaitReady(set) => (Phase::Ready, set.clone()),
            Action::Stop { set, .. } => (Phase::Stop, set.clone()),
            Action::Abandon { set, .. } => (Phase::Abandon, set.clone()),
            Action::Clean(set) => (Phase::Clean, set.clone()),
            Action::AwaitDrained(set) => {
                let set = set.clone();
                return self.await_drained(action, set, heard);
            }
            Action::Watch(_) => return,
            Action::Flip { .. }
            | Action::Revert { .. }
            | Action::PutBack { .. }
            | Action::TakeOut(_)
            | Action::Report(_) => unreachable!("goes by the link"),
        };
        // A failure may come before or after the deed.
        let acts = !down && (!fails || self.random.one_in(2));
        let Some(succeeds) = self.act(&action, &set, acts, down) else { return };
        if mute {
            return;
        }
        self.post(match fails && succeeds {
            true => Event::Failed { phase, set, reason: "docker says no".into(), transient },
            false => Event::Done { phase, set },
        });
    }

    /// What an action changes. `None` where there is never an answer; false where it cannot fail.
    fn act(&mut self, action: &Action, set: &Set, acts: bool, down: bool) -> Option<bool> {
        // The executor looks before it stops or removes: a failover may have come in between.
        let handed_over = self.failovers > 0 && self.table.contains(set);
        match action {
            Action::Stop { .. } | Action::Clean(_) if handed_over => {}
            Action::Stop { reason, .. } | Action::Abandon { reason, .. } => {
                self.stop(set, *reason, down);
            }
            Action::Create(_) | Action::Start(_) | Action::Clean(_) if acts => {
                let containers = self.sets.get_mut(set).unwrap();
                let (from, to) = match action {
                    Action::Create(_) => (State::Absent, State::Created),
                    Action::Start(_) => (State::Created, State::Running),
                    _ => (containers.state, State::Absent),
                };
                self.created += u64::from(to == State::Created && containers.state == from);
                if containers.state == from {
                    containers.state = to;
                }
            }
            Action::AwaitReady(_) => {
                let containers = self.sets.get_mut(set).unwrap();
                if containers.state != State::Running || (!self.calm && self.random.one_in(8)) {
                    return None; // never ready
                }
                containers.state = State::Ready;
                return Some(false);
            }
            _ => {}
        }
        Some(true)
    }

    fn await_drained(&mut self, action: Action, set: Set, heard: bool) {
        if !heard {
            return;
        }
        let containers = self.sets[&set];
        let (serves, now) = (self.table.contains(&set), self.now);
        // Somebody else has made it serve again.
        if serves && set.side == Side::Old {
            return self.post(Event::Handover);
        }
        if containers.in_flight.max(containers.streams).is_some() || serves {
            if self.machine.phase() != Phase::Ended {
                self.agenda.push((now.after(500), action));
            }
            return;
        }
        self.post(Event::Drained { set, reason: StopReason::Idle });
    }

    fn stop(&mut self, set: &Set, reason: StopReason, down: bool) {
        let containers = self.sets[set];
        let serves = self.table.contains(set);
        self.ensure(!serves, || format!("{set:?} was stopped while it serves"));
        let busy = containers.in_flight.max(containers.streams).is_some();
        let justified = match reason {
            StopReason::NeverServed => !containers.served || set.side == Side::New && !busy,
            StopReason::Idle | StopReason::OutOfTime => !busy,
        };
        self.ensure(justified, || format!("{set:?} was stopped too early: {reason:?}"));
        let containers = self.sets.get_mut(set).unwrap();
        if !down && containers.state != State::Absent {
            containers.state = State::Stopped;
        }
    }
}
