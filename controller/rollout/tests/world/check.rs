//! What must hold, whatever happens.

use cutover_rollout::{Ending, Side};

use super::{State, World};

impl World {
    /// Every service is in the table, and nobody starves beside somebody ready.
    pub(super) fn check(&mut self) {
        for service in self.machine.services() {
            let serving = self.table.iter().filter(|set| set.service == service.name).count();
            self.ensure(serving > 0, || format!("{} has no active set", service.name));
        }
        for (service, since) in &self.starving {
            let fed = self.now.since(*since) < 20_000;
            self.ensure(fed, || format!("a set of {service} is ready and nothing serves"));
        }
    }

    /// The right release serves, and nothing else is left running.
    pub(super) fn check_end(&self) {
        let last = *self.endings.last().expect("every run is reported");
        let side = match last {
            Ending::Done => Side::New,
            Ending::Refused | Ending::RolledBack => Side::Old,
            Ending::Failed => return,
        };
        for (set, containers) in self.sets.iter().filter(|(set, _)| self.table.contains(set)) {
            let alive = !matches!(containers.state, State::Absent | State::Stopped);
            self.ensure(alive, || format!("{set:?} serves and was stopped"));
        }
        // What failed over is where it was left, and is nobody's to stop.
        if self.failovers > 0 {
            return;
        }
        for set in &self.table {
            self.ensure(set.side == side, || format!("{last:?}, but {set:?} serves"));
        }
        for (set, containers) in &self.sets {
            let idle = matches!(
                containers.state,
                State::Absent | State::Created | State::Dead | State::Stopped
            );
            let serves = self.table.contains(set);
            let fine = serves || idle || self.machine.left_something();
            self.ensure(fine, || format!("{set:?} is an orphan: {containers:?}"));
            let named = serves || set.side != side;
            self.ensure(named, || format!("{last:?}, but {set:?} does not serve"));
        }
    }
}
