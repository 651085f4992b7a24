//! The table: rollouts change it in order, and a failover changes it by itself.

use std::collections::BTreeSet;

use cutover_rollout::{Action, Event, Phase, Set, Side, Strategy};

use super::{State, World};

impl World {
    /// Applies what goes over the link.
    pub(super) fn apply(&mut self, action: Action, heard: bool) {
        if let Action::TakeOut(set) = action {
            return self.take_out(set, heard);
        }
        let down = self.now < self.outage;
        let hiccup = self.hiccups > 0;
        self.hiccups = self.hiccups.saturating_sub(u32::from(hiccup));
        let fails = down || hiccup || (!self.calm && self.random.one_in(20));
        let transient = hiccup || self.random.one_in(2);
        let (phase, batch) = match &action {
            Action::Flip { batch } => (Phase::Flip, *batch),
            Action::Revert { batch } => (Phase::Revert, *batch),
            Action::PutBack { batch } => (Phase::PutBack, *batch),
            _ => unreachable!("not for the proxy"),
        };
        let mut table = self.table.clone();
        let sets: Vec<Set> = self.sets.keys().filter(|s| s.batch == batch).cloned().collect();
        for set in sets {
            let both = self.strategy(&set) == Strategy::Both;
            let serves = match (phase, set.side) {
                (Phase::Flip, side) => side == Side::New,
                (Phase::Revert, side) => side == Side::Old && !both,
                (_, side) => match both {
                    true => side == Side::Old,
                    false => table.contains(&set),
                },
            };
            match serves {
                true => table.insert(set),
                false => table.remove(&set),
            };
        }
        // As the controller does: it refuses a table in which nobody is ready who does not serve
        // already.
        let fresh = table.difference(&self.table);
        let ready = fresh.into_iter().all(|set| self.sets[set].state == State::Ready)
            || phase == Phase::PutBack;
        let ready = ready && self.every_service_is_named(&table);
        if fails || !ready {
            if heard {
                let reason = "not ready".into();
                self.post(Event::NotApplied { phase, batch, reason, transient });
            }
            // The proxy may have it all the same.
            if !ready || down || self.random.one_in(2) {
                return;
            }
        }
        self.swap(table);
        if heard && !fails {
            self.post(Event::Applied { phase, batch, generation: self.generation });
        }
    }

    fn every_service_is_named(&self, table: &BTreeSet<Set>) -> bool {
        let mut services = self.machine.services().iter();
        services.all(|service| table.iter().any(|set| set.service == service.name))
    }

    fn take_out(&mut self, set: Set, heard: bool) {
        let down = self.now < self.outage;
        let mut table = self.table.clone();
        table.remove(&set);
        let mut others = table.iter().filter(|other| other.service == set.service);
        if down || !others.any(|other| self.sets[other].state == State::Ready) {
            if heard {
                let reason = "the other color is not ready".into();
                let (phase, transient) = (Phase::TakeOut, down);
                self.post(Event::Failed { phase, set, reason, transient });
            }
            return;
        }
        self.swap(table);
        if heard {
            self.agenda.push((self.now, Action::AwaitDrained(set)));
        }
    }

    fn swap(&mut self, table: BTreeSet<Set>) {
        for (set, containers) in &mut self.sets {
            match (self.table.contains(set), table.contains(set)) {
                (true, false) => containers.retired = Some(self.now),
                (false, true) => containers.retired = None,
                _ => {}
            }
        }
        self.table = table;
        self.generation = self.generation.next();
        self.note(|w| format!("table {} names {:?}", w.generation, w.table));
    }

    /// Where nothing that serves is ready for a while and another set is, that one serves. New sets
    /// are for the rollout until it has flipped to them.
    pub(super) fn fail_over(&mut self) {
        // Nobody can help while nothing answers.
        if self.now < self.outage {
            return self.starving.clear();
        }
        for service in self.machine.services().to_vec() {
            let ours = |set: &&Set| set.service == service.name;
            let ready = |set: &&Set| self.sets[*set].state == State::Ready;
            let eligible = |set: &&Set| {
                let stopping = self.agenda.iter().any(|(_, action)| {
                    matches!(action, Action::Abandon { set: s, .. } | Action::Stop { set: s, .. } if s == *set)
                });
                let flipped = set.batch < self.machine.flipped();
                !stopping && (set.side == Side::Old || flipped && !self.machine.phase().is_undo())
            };
            let starved = !self.table.iter().filter(ours).any(|set| ready(&set));
            let next = self.sets.keys().filter(ours).filter(ready).find(eligible).cloned();
            let name = service.name.to_string();
            let (true, Some(next)) = (starved, next) else {
                self.starving.remove(&name);
                continue;
            };
            let since = *self.starving.entry(name).or_insert(self.now);
            if self.now.since(since) < FAILOVER_MS {
                continue;
            }
            let mut table = self.table.clone();
            table.retain(|set| set.service != service.name);
            let replaced = next.side == Side::Old && next.batch < self.machine.flipped();
            table.insert(next);
            self.failovers += 1;
            self.note(|_| format!("{} fails over", service.name));
            self.swap(table);
            if replaced {
                self.post(Event::Handover);
            }
        }
    }
}

const FAILOVER_MS: u64 = 3_000;
