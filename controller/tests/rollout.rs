//! The rollout's state machine in a world of random answers, faults, deaths and crashes.
//!
//! Every run comes from a seed that a failure prints; `CUTOVER_SEED=n cargo test --test rollout`
//! plays that one alone, and `CUTOVER_RUNS=n` plays more of them.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cutover_controller::executor::actions::{
    Action, Ending, Event, Millis, Outcome, Rest, Set, Side,
};
use cutover_controller::executor::machine::{Limits, Member, Origin, Rollout};
use cutover_controller::executor::phase::Phase;
use cutover_proxy::table::{Generation, Hangup};

#[test]
fn no_interleaving_of_faults_and_crashes_breaks_an_invariant() {
    let runs = number("CUTOVER_RUNS").unwrap_or(12_000);
    let seeds = match number("CUTOVER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..runs,
    };
    let mut endings = BTreeMap::new();
    let mut crashes = 0;
    for seed in seeds {
        let world = World::play(seed);
        *endings.entry(format!("{:?}", world.endings.last())).or_insert(0) += 1;
        crashes += world.crashes;
    }
    println!("endings {endings:?}, {crashes} crashes");
    if number("CUTOVER_SEED").is_none() {
        assert!(endings.len() >= 4, "the world is too kind or too cruel: {endings:?}");
        assert!(crashes > runs / 10, "hardly anything crashed");
    }
}

#[test]
fn a_rollout_without_trouble_is_done_in_order() {
    let mut world = World::new(7, 1, 1, Origin::Created);
    world.kind = true;
    world.run();
    assert_eq!(world.endings, [Ending::Done]);
    let phases: Vec<_> = world.machine.spans().iter().map(|s| s.phase).collect();
    assert_eq!(phases, &Phase::ALL[..11]);
}

#[test]
fn a_crash_before_the_flip_leaves_the_old_color_alone() {
    for phase in &Phase::ALL[1..5] {
        let mut world = World::new(11, 1, 1, Origin::Created);
        world.kind = true;
        world.run_until(|w| w.machine.phase() == *phase);
        world.crash();
        world.run();
        assert_eq!(world.endings, [Ending::Refused], "crashed in {phase}");
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Docker, the proxy, the journal and the clock.
struct World {
    seed: u64,
    dice: Dice,
    now: Millis,
    machine: Rollout,
    /// What the journal holds: the machine before the actions of its last step were carried out.
    journal: Rollout,
    sets: BTreeMap<Set, Containers>,
    /// The sets that the live table names.
    table: BTreeSet<Set>,
    generation: Generation,
    /// What has been asked for and not yet been carried out, with the time at which it will be.
    agenda: Vec<(Millis, Action)>,
    /// Table changes keep their order, as on the link.
    link: VecDeque<(Millis, Action)>,
    mail: Vec<(Millis, Event)>,
    endings: Vec<Ending>,
    /// Neither faults nor deaths.
    kind: bool,
    /// Docker and the proxy answer nothing but errors until then.
    outage: Millis,
    starved: Option<Millis>,
    crashes: u64,
    steps: u32,
    traced: bool,
    trace: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Containers {
    state: State,
    /// Requests and streams in flight, each with the moment of its own end.
    in_flight: Option<Millis>,
    streams: Option<Millis>,
    /// Whether the machine has been told that it is ready.
    known: bool,
    retired: Option<Millis>,
    served: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    #[default]
    Absent,
    Created,
    Running,
    Ready,
    Dead,
    Stopped,
}

impl World {
    fn play(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let members = 1 + dice.below(3) as usize;
        let passes = 1 + usize::from(dice.one_in(3));
        let origin = if dice.one_in(4) { Origin::Running } else { Origin::Created };
        let mut world = Self::new(seed, members, passes, origin);
        world.dice = dice;
        world.kind = world.dice.one_in(8);
        world.run();
        world
    }

    fn new(seed: u64, members: usize, passes: usize, origin: Origin) -> Self {
        let mut dice = Dice::new(seed);
        let limits = Limits {
            deploy_ms: 20_000 + dice.below(100_000),
            drain_ms: dice.below(30_000),
            streams_ms: dice.below(60_000),
            monitor_ms: dice.below(3) * 20_000,
            keep_warm_ms: dice.below(3) * 60_000,
        };
        let members: Vec<_> = ["web", "api", "ws"]
            .into_iter()
            .take(members)
            .map(|name| Member { service: name.parse().unwrap(), passes, limits })
            .collect();
        let now = Millis(1_000);
        let machine = Rollout::new(members.clone(), origin, now);
        let mut sets = BTreeMap::new();
        let mut table = BTreeSet::new();
        for member in &members {
            for pass in 0..passes {
                let set = |side| Set { service: member.service.clone(), pass, side };
                let ready =
                    Containers { state: State::Ready, known: true, ..Containers::default() };
                sets.insert(set(Side::Old), Containers { served: true, ..ready });
                let new = match origin {
                    Origin::Created => Containers::default(),
                    Origin::Running => ready,
                };
                sets.insert(set(Side::New), new);
                table.insert(set(Side::Old));
            }
        }
        Self {
            seed,
            dice,
            now,
            journal: machine.clone(),
            machine,
            sets,
            table,
            generation: Generation(1),
            agenda: Vec::new(),
            link: VecDeque::new(),
            mail: vec![(now, Event::Begin)],
            endings: Vec::new(),
            kind: false,
            outage: Millis(0),
            starved: None,
            crashes: 0,
            steps: 0,
            traced: number("CUTOVER_SEED").is_some(),
            trace: Vec::new(),
        }
    }

    fn run(&mut self) {
        self.run_until(|_| false);
        self.check_end();
    }

    fn run_until(&mut self, stop: impl Fn(&Self) -> bool) {
        while self.machine.phase() != Phase::Ended
            || !self.agenda.is_empty()
            || !self.mail.is_empty()
        {
            if stop(self) {
                return;
            }
            self.steps += 1;
            self.ensure(self.steps < 20_000, || "the run does not end".into());
            self.advance_clock();
            if !self.kind && self.machine.phase() != Phase::Ended {
                self.mischief();
            }
            self.traffic();
            self.carry_out();
            self.deliver();
            self.check();
        }
    }

    fn advance_clock(&mut self) {
        let next = self
            .mail
            .iter()
            .map(|(at, _)| *at)
            .chain(self.agenda.iter().map(|(at, _)| *at))
            .chain(self.link.front().map(|(at, _)| *at))
            .chain(self.machine.deadline())
            .min();
        let hop = self.now.after(1 + self.dice.below(8_000));
        self.now = next.map_or(hop, |at| at.min(hop)).max(self.now.after(1));
    }

    /// Deaths, recoveries, outages and crashes.
    fn mischief(&mut self) {
        if self.dice.one_in(150) {
            self.crash();
        }
        if self.now > Millis(900_000) {
            return; // a world that never rests proves nothing about ends
        }
        if self.dice.one_in(200) {
            self.outage = self.now.after(self.dice.below(150_000));
        }
        if self.dice.one_in(100) {
            let sets: Vec<_> = self.sets.keys().cloned().collect();
            let victim = sets[self.dice.below(sets.len() as u64) as usize].clone();
            self.die(&victim);
        }
        if self.dice.one_in(100) && self.machine.phase() == Phase::Monitor {
            let service = self.machine.members()[0].service.clone();
            self.post(Event::Breach { service, reason: "5xx".into() });
        }
        if self.dice.one_in(400) {
            self.post(Event::Abort { reason: "operator".into() });
        }
        if self.dice.one_in(100) {
            self.post(Event::Supersede);
        }
    }

    fn die(&mut self, victim: &Set) {
        let containers = self.sets.get_mut(victim).unwrap();
        if !matches!(containers.state, State::Running | State::Ready) {
            return;
        }
        containers.state = State::Dead;
        containers.in_flight = None;
        containers.streams = None;
        self.note(|_| format!("{victim:?} died"));
        if victim.side == Side::New {
            self.post(Event::Died { service: victim.service.clone(), reason: "exit 1".into() });
        }
    }

    /// Requests begin on what the table names and end when they like.
    fn traffic(&mut self) {
        for (set, containers) in &mut self.sets {
            let now = self.now;
            containers.in_flight = containers.in_flight.filter(|end| *end > now);
            containers.streams = containers.streams.filter(|end| *end > now);
            if self.table.contains(set) && containers.state == State::Ready {
                containers.served = true;
                let patience = if self.dice.one_in(10) { 600_000 } else { 3_000 };
                containers.in_flight =
                    containers.in_flight.max(Some(now.after(self.dice.below(patience))));
                if self.dice.one_in(10) {
                    containers.streams =
                        containers.streams.max(Some(now.after(self.dice.below(900_000))));
                }
            }
        }
    }

    fn carry_out(&mut self) {
        while self.link.front().is_some_and(|(at, _)| *at <= self.now) {
            let (_, action) = self.link.pop_front().unwrap();
            self.apply(&action, true);
        }
        let (due, later) =
            std::mem::take(&mut self.agenda).into_iter().partition(|(at, _)| *at <= self.now);
        self.agenda = later;
        let due: Vec<(Millis, Action)> = due;
        for (_, action) in due {
            self.perform(action, true);
        }
    }

    /// Does what an action asks for; `heard` is false where nobody lives to hear the answer.
    fn perform(&mut self, action: Action, heard: bool) {
        let down = self.now < self.outage;
        let fails = down || (!self.kind && self.dice.one_in(25));
        let mute = !heard || (!self.kind && self.dice.one_in(60));
        let failed = |phase, set: &Set| Event::Failed {
            phase,
            service: set.service.clone(),
            reason: "docker says no".into(),
        };
        let answer = match &action {
            Action::Pull(service) => {
                let set = Set { service: service.clone(), pass: 0, side: Side::New };
                if fails { failed(Phase::Pull, &set) } else { done(Phase::Pull, &set) }
            }
            Action::Create(set) | Action::Start(set) => {
                let (phase, from, to) = match action {
                    Action::Create(_) => (Phase::Create, State::Absent, State::Created),
                    _ => (Phase::Start, State::Created, State::Running),
                };
                // A failure may come before or after the deed.
                let acts = !down && (!fails || self.dice.one_in(2));
                let containers = self.sets.get_mut(set).unwrap();
                if acts && containers.state == from {
                    containers.state = to;
                }
                if fails { failed(phase, set) } else { done(phase, set) }
            }
            Action::AwaitReady(set) => {
                let containers = self.sets.get_mut(set).unwrap();
                if containers.state != State::Running || (!self.kind && self.dice.one_in(8)) {
                    return; // never ready
                }
                containers.state = State::Ready;
                containers.known = !mute;
                done(Phase::Ready, set)
            }
            Action::AwaitDrained(set) => {
                let phase = match set.side {
                    Side::New => Phase::RevertDrain,
                    Side::Old => Phase::Drain,
                };
                let containers = self.sets[set];
                let busy = containers.in_flight.max(containers.streams);
                if busy.is_some() || self.table.contains(set) {
                    if heard && self.machine.phase() != Phase::Ended {
                        let again = self.now.after(500);
                        self.agenda.push((again, action));
                    }
                    return;
                }
                done(phase, set)
            }
            Action::Hangup { set, what } => {
                let containers = self.sets.get_mut(set).unwrap();
                if !down && !self.table.contains(set) {
                    containers.in_flight = None;
                    if *what == Hangup::Everything {
                        containers.streams = None;
                    }
                }
                return;
            }
            Action::Stop { set, rest } => {
                self.stop(set, *rest, down);
                if fails { failed(Phase::Stop, set) } else { done(Phase::Stop, set) }
            }
            Action::Abandon { set, rest } => {
                self.stop(set, *rest, down);
                if fails { failed(Phase::Abandon, set) } else { done(Phase::Abandon, set) }
            }
            Action::Clean(set) => {
                if fails {
                    failed(Phase::Clean, set)
                } else {
                    self.sets.get_mut(set).unwrap().state = State::Absent;
                    done(Phase::Clean, set)
                }
            }
            Action::Watch(_) | Action::Report(_) => return,
            Action::Flip { .. } | Action::Revert => unreachable!("goes by the link"),
        };
        if !mute {
            self.post(answer);
        }
    }

    fn apply(&mut self, action: &Action, heard: bool) {
        let down = self.now < self.outage;
        let fails = down || (!self.kind && self.dice.one_in(20));
        let (phase, to) = match action {
            Action::Flip { .. } => (Phase::Flip, Side::New),
            _ => (Phase::Revert, Side::Old),
        };
        let flipped: Vec<usize> = match action {
            Action::Flip { pass } if self.sets_run_already() => (0..=*pass + 1).collect(),
            Action::Flip { pass } => vec![*pass],
            _ => vec![0, 1],
        };
        let moving: Vec<Set> = self
            .sets
            .keys()
            .filter(|set| flipped.contains(&set.pass) && set.side == to)
            .cloned()
            .collect();
        // As the controller does: it refuses a table whose target is not ready.
        let ready = moving
            .iter()
            .all(|set| self.sets[set].state == State::Ready || self.table.contains(set));
        if fails || !ready {
            if heard {
                self.post(Event::NotApplied { phase, reason: "not ready".into() });
            }
            // The proxy may have it all the same.
            if !ready || down || self.dice.one_in(2) {
                return;
            }
        }
        for set in moving {
            let mut other = set.clone();
            other.side = match to {
                Side::New => Side::Old,
                Side::Old => Side::New,
            };
            if self.table.remove(&other) {
                self.sets.get_mut(&other).unwrap().retired = Some(self.now);
            }
            self.sets.get_mut(&set).unwrap().retired = None;
            self.table.insert(set);
        }
        self.generation = self.generation.next();
        self.note(|w| format!("table {} names {:?}", w.generation, w.table));
        if heard && !fails {
            self.post(Event::Applied { phase, generation: self.generation });
        }
    }

    fn sets_run_already(&self) -> bool {
        !self.machine.spans().iter().any(|s| s.phase == Phase::Pull)
    }

    fn stop(&mut self, set: &Set, rest: Rest, down: bool) {
        let containers = self.sets[set];
        let serves = self.table.contains(set);
        self.ensure(!serves, || format!("{set:?} was stopped while it serves"));
        let busy = containers.in_flight.max(containers.streams).is_some();
        let limits = self.machine.members()[0].limits;
        let patience = limits.drain_ms.max(limits.streams_ms);
        let waited = containers.retired.is_some_and(|at| self.now.since(at) >= patience);
        let justified = match rest {
            Rest::NeverServed => !containers.served || set.side == Side::New && !busy,
            Rest::Idle => !busy,
            Rest::OutOfTime => waited || !busy,
        };
        self.ensure(justified, || format!("{set:?} was stopped too early: {rest:?}"));
        let containers = self.sets.get_mut(set).unwrap();
        if !down && containers.state != State::Absent {
            containers.state = State::Stopped;
        }
    }

    fn deliver(&mut self) {
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.mail).into_iter().partition(|(at, _)| *at <= self.now);
        self.mail = later;
        for (_, event) in due {
            self.step(event);
        }
        if self.machine.deadline().is_some_and(|at| at <= self.now) {
            self.step(Event::Tick);
        }
    }

    fn step(&mut self, event: Event) {
        let before = self.machine.phase();
        let actions = self.machine.step(self.now, event.clone());
        self.note(|w| {
            let after = w.machine.phase();
            format!("{before} + {event:?} = {after}: {actions:?}")
        });
        if !self.kind && self.dice.one_in(300) {
            self.crash(); // before the journal knew
            return;
        }
        self.journal = self.machine.clone();
        if !self.kind && self.dice.one_in(300) {
            self.crash(); // before anything was asked for
            return;
        }
        for action in actions {
            let at = self.now.after(self.dice.below(3_000));
            match action {
                Action::Report(Outcome { result, .. }) => self.endings.push(result),
                Action::Flip { .. } | Action::Revert => {
                    let after = self.link.back().map_or(at, |(last, _)| at.max(*last));
                    self.link.push_back((after, action));
                }
                action => self.agenda.push((at, action)),
            }
        }
    }

    /// The controller dies and comes back: what was under way may or may not have happened.
    fn crash(&mut self) {
        self.crashes += 1;
        self.note(|_| "crash".into());
        for (_, action) in std::mem::take(&mut self.link) {
            if self.dice.one_in(2) {
                self.apply(&action, false);
            }
        }
        for (_, action) in std::mem::take(&mut self.agenda) {
            if self.dice.one_in(2) {
                self.perform(action, false);
            }
        }
        self.mail.clear();
        let written = serde_json::to_string(&self.journal).unwrap();
        self.machine = serde_json::from_str(&written).unwrap();
        self.ensure(self.machine == self.journal, || "the journal lost something".into());
        let pass = self.machine.pass();
        let flipped = self.table.iter().any(|set| set.side == Side::New && set.pass == pass);
        self.mail.push((self.now, Event::Resumed { flipped }));
        if self.machine.phase() == Phase::Plan {
            self.mail.push((self.now.after(1), Event::Begin));
        }
        // Deaths during the crash are seen by the first look at Docker.
        let dead: Vec<_> = self
            .sets
            .iter()
            .filter(|(set, c)| set.side == Side::New && c.state == State::Dead)
            .map(|(set, _)| set.service.clone())
            .collect();
        for service in dead {
            self.post(Event::Died { service, reason: "found dead".into() });
        }
    }

    fn post(&mut self, event: Event) {
        let at = self.now.after(self.dice.below(200));
        self.mail.push((at, event));
    }

    fn check(&mut self) {
        for member in self.machine.members() {
            let serving = self.table.iter().filter(|set| set.service == member.service).count();
            self.ensure(serving == member.passes, || {
                format!("{} has {serving} active sets", member.service)
            });
        }
        self.check_starvation();
    }

    /// If anything is ready, something ready serves: at most for as long as a look, a table and its
    /// retries take.
    fn check_starvation(&mut self) {
        let over = matches!(self.machine.phase(), Phase::Ended | Phase::Stop | Phase::Clean);
        let starved = self.machine.members().iter().any(|member| {
            let ready = |set: &Set| {
                set.service == member.service
                    && self.sets[set].state == State::Ready
                    && self.sets[set].known
            };
            let stopping = |set: &Set| {
                self.agenda.iter().any(|(_, action)| {
                    matches!(action, Action::Abandon { set: s, .. } | Action::Stop { set: s, .. } if s == set)
                })
            };
            let mut sets = self.sets.keys();
            !self.table.iter().any(ready) && sets.any(|set| ready(set) && !stopping(set))
        });
        // The flip of a group waits for all of it, and nobody can help while nothing answers.
        let excused = over
            || self.now < self.outage
            || self.machine.members().len() > 1
            || self.machine.phase().is_undo();
        if !starved || excused {
            self.starved = None;
            return;
        }
        let since = *self.starved.get_or_insert(self.now);
        let fed = self.now.since(since) < 40_000;
        self.ensure(fed, || "something is ready and nothing serves".into());
    }

    fn check_end(&self) {
        let last = *self.endings.last().expect("every run is reported");
        let side = match last {
            Ending::Done => Side::New,
            Ending::Refused | Ending::RolledBack => Side::Old,
            Ending::Failed => return,
        };
        for set in &self.table {
            self.ensure(set.side == side, || format!("{last:?}, but {set:?} serves"));
        }
        for (set, containers) in &self.sets {
            let idle = matches!(
                containers.state,
                State::Absent | State::Created | State::Dead | State::Stopped
            );
            let fine = self.table.contains(set) || idle || self.machine.left_something();
            self.ensure(fine, || format!("{set:?} is an orphan: {containers:?}"));
            if self.table.contains(set) {
                let alive = !matches!(containers.state, State::Absent | State::Stopped);
                self.ensure(alive, || format!("{set:?} serves and was stopped"));
            }
        }
    }

    /// Only a replay writes down what happens: formatting it costs more than all the rest.
    fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.traced {
            let line = line(self);
            self.trace.push(format!("{:>8} {line}", self.now.0));
        }
    }

    fn ensure(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            let from = self.trace.len().saturating_sub(60);
            for line in &self.trace[from..] {
                println!("{line}");
            }
            panic!("{}; replay with CUTOVER_SEED={}", what(), self.seed);
        }
    }
}

fn done(phase: Phase, set: &Set) -> Event {
    Event::Done { phase, set: set.clone() }
}

/// xorshift64*, so that a seed is all that a run needs.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        dice.below(2);
        dice
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % end.max(1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
