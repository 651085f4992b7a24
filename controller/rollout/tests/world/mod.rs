//! An engine, a proxy, a journal, a failover and a clock for one rollout.

mod check;
mod engine;
mod proxy;
pub(crate) mod random;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cutover_proxy::table::Generation;
use cutover_rollout::{
    Action, Ending, Event, Limits, Millis, Origin, Phase, Rollout, RolloutService, Set, Side,
    Strategy, Verdict,
};

use self::random::{Random, number};

/// What there is.
pub(crate) struct World {
    seed: u64,
    random: Random,
    now: Millis,
    pub(crate) machine: Rollout,
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
    pub(crate) endings: Vec<Ending>,
    pub(crate) reasons: Vec<Option<String>>,
    /// Neither faults nor deaths.
    calm: bool,
    /// So many requests to the engine or the proxy fail for a reason that passes.
    pub(crate) hiccups: u32,
    /// Docker and the proxy answer nothing but errors until then.
    outage: Millis,
    /// Since when no ready set of a service serves.
    starving: BTreeMap<String, Millis>,
    pub(crate) crashes: u64,
    pub(crate) failovers: u64,
    pub(crate) created: u64,
    /// The machine has heard that it was resumed.
    pub(crate) resumed: bool,
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
    /// Since when it is in no table, if it was in one.
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
    pub(crate) fn play(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let origin = if random.one_in(4) { Origin::Running } else { Origin::Created };
        let both = origin == Origin::Created && random.one_in(3);
        let strategy = |n: u64, random: &mut Random| match both && (n == 0 || random.one_in(2)) {
            true => Strategy::Both,
            false => Strategy::BlueGreen,
        };
        let services = 1 + random.below(3);
        let strategies: Vec<_> = (0..services).map(|n| strategy(n, &mut random)).collect();
        let mut world = Self::random(seed, &strategies, origin);
        world.run();
        world
    }

    /// A world in which nothing goes wrong by itself, and every step takes its time.
    pub(crate) fn calm(seed: u64, strategies: &[Strategy], origin: Origin) -> Self {
        let limits = Limits {
            deploy_ms: 60_000,
            drain_ms: 30_000,
            streams_ms: 60_000,
            monitor_ms: 20_000,
            keep_warm_ms: 60_000,
        };
        let mut world = Self::new(seed, strategies, origin, limits);
        for (_, containers) in world.sets.iter_mut().filter(|(set, _)| set.side == Side::Old) {
            containers.streams = Some(Millis(600_000));
        }
        world
    }

    fn random(seed: u64, strategies: &[Strategy], origin: Origin) -> Self {
        let mut random = Random::new(seed);
        let limits = Limits {
            deploy_ms: 20_000 + random.below(100_000),
            drain_ms: random.below(30_000),
            streams_ms: random.below(60_000),
            monitor_ms: random.below(3) * 20_000,
            keep_warm_ms: random.below(3) * 60_000,
        };
        Self { calm: random.one_in(8), random, ..Self::new(seed, strategies, origin, limits) }
    }

    fn new(seed: u64, strategies: &[Strategy], origin: Origin, limits: Limits) -> Self {
        let names = ["web", "api", "ws"].into_iter();
        let services: Vec<_> = names
            .zip(strategies)
            .map(|(name, strategy)| RolloutService {
                name: name.parse().unwrap(),
                strategy: *strategy,
                limits,
            })
            .collect();
        let now = Millis(1_000);
        let machine = Rollout::new(services, origin, now);
        let mut sets = BTreeMap::new();
        let mut table = BTreeSet::new();
        for service in machine.services() {
            for batch in (0..2).filter(|batch| machine.takes_part(service, *batch)) {
                let set = |side| Set { service: service.name.clone(), batch, side };
                let ready = Containers { state: State::Ready, ..Containers::default() };
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
            random: Random::new(seed),
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
            reasons: Vec::new(),
            calm: true,
            hiccups: 0,
            outage: Millis(0),
            starving: BTreeMap::new(),
            crashes: 0,
            failovers: 0,
            created: 0,
            resumed: false,
            steps: 0,
            traced: number("CUTOVER_SEED").is_some(),
            trace: Vec::new(),
        }
    }

    pub(crate) fn run(&mut self) {
        self.run_until(|_| false);
        self.check_end();
    }

    pub(crate) fn run_until(&mut self, stop: impl Fn(&Self) -> bool) {
        while self.machine.phase() != Phase::Ended
            || !self.agenda.is_empty()
            || !self.link.is_empty()
            || !self.mail.is_empty()
        {
            if stop(self) {
                return;
            }
            self.steps += 1;
            self.ensure(self.steps < 20_000, || "the run does not end".into());
            self.advance_clock();
            if !self.calm && self.machine.phase() != Phase::Ended {
                self.mischief();
            }
            self.traffic();
            self.carry_out();
            self.deliver();
            self.fail_over();
            self.check();
        }
    }

    /// The phases that are over.
    pub(crate) fn phases(&self) -> Vec<Phase> {
        self.machine.spans().iter().map(|span| span.phase).collect()
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
        let hop = self.now.after(1 + self.random.below(8_000));
        self.now = next.map_or(hop, |at| at.min(hop)).max(self.now.after(1));
    }

    /// Deaths, outages, orders and crashes.
    fn mischief(&mut self) {
        if self.random.one_in(150) {
            self.crash();
        }
        if self.now > Millis(900_000) {
            return; // a world that never rests proves nothing about ends
        }
        if self.random.one_in(200) {
            self.outage = self.now.after(self.random.below(150_000));
        }
        if self.random.one_in(100) {
            let sets: Vec<_> = self.sets.keys().cloned().collect();
            let victim = sets[self.random.below(sets.len() as u64) as usize].clone();
            self.die(&victim);
        }
        if self.random.one_in(100) && self.machine.phase() == Phase::Monitor {
            self.post(Event::Breach { reason: "5xx".into() });
        }
        if self.random.one_in(400) {
            self.post(Event::Abort { reason: "aborted by an operator".into() });
        }
        if self.random.one_in(100) && !self.machine.holds_lock() {
            self.post(Event::Supersede);
        }
    }

    fn deliver(&mut self) {
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.mail).into_iter().partition(|(at, _)| *at <= self.now);
        self.mail = later;
        for (_, event) in due {
            self.say(&event);
        }
        if self.machine.deadline().is_some_and(|at| at <= self.now) {
            self.say(&Event::Tick);
        }
    }

    /// Tells the machine something, keeps it, and has its actions carried out.
    pub(crate) fn say(&mut self, event: &Event) {
        let before = self.machine.phase();
        let actions = self.machine.on(self.now, event);
        self.resumed |= matches!(event, Event::Resumed { .. });
        self.note(|w| format!("{before} + {event:?} = {}: {actions:?}", w.machine.phase()));
        if !self.calm && self.random.one_in(300) {
            self.crash(); // before the journal knew
            return;
        }
        self.journal = self.machine.clone();
        if !self.calm && self.random.one_in(300) {
            self.crash(); // before anything was asked for
            return;
        }
        for action in actions {
            let at = self.now.after(self.random.below(3_000));
            match action {
                Action::Report(Verdict { result, reason }) => {
                    self.endings.push(result);
                    self.reasons.push(reason);
                }
                Action::Flip { .. }
                | Action::Revert { .. }
                | Action::PutBack { .. }
                | Action::TakeOut(_) => {
                    let after = self.link.back().map_or(at, |(last, _)| at.max(*last));
                    self.link.push_back((after, action));
                }
                action => self.agenda.push((at, action)),
            }
        }
    }

    /// The controller dies and comes back: what was under way may or may not have happened.
    pub(crate) fn crash(&mut self) {
        self.crashes += 1;
        self.note(|_| "crash".into());
        for (_, action) in std::mem::take(&mut self.link) {
            if self.random.one_in(2) {
                self.apply(action, false);
            }
        }
        for (_, action) in std::mem::take(&mut self.agenda) {
            if self.random.one_in(2) {
                self.perform(action, false);
            }
        }
        self.mail.clear();
        let written = serde_json::to_string(&self.journal).unwrap();
        self.machine = serde_json::from_str(&written).unwrap();
        self.ensure(self.machine == self.journal, || "the journal lost something".into());
        let flipped = self.is_flipped();
        self.mail.push((self.now, Event::Resumed { flipped }));
        // Deaths during the crash are seen by the first look at the engine.
        let dead = self.sets.iter().any(|(set, c)| set.side == Side::New && c.state == State::Dead);
        if dead {
            self.post(Event::Died { reason: "found dead".into() });
        }
    }

    /// Whether every new set whose flip was asked for serves.
    fn is_flipped(&self) -> bool {
        let flipped = self.machine.flipped();
        let mut asked = self.sets.keys().filter(|s| s.side == Side::New && s.batch < flipped);
        flipped > 0 && asked.all(|set| self.table.contains(set))
    }

    fn post(&mut self, event: Event) {
        let at = self.now.after(self.random.below(200));
        self.mail.push((at, event));
    }

    fn strategy(&self, set: &Set) -> Strategy {
        let mut services = self.machine.services().iter();
        services.find(|m| m.name == set.service).unwrap().strategy
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
            for line in &self.trace[self.trace.len().saturating_sub(80)..] {
                println!("{line}");
            }
            panic!("{}; replay with CUTOVER_SEED={}", what(), self.seed);
        }
    }
}
