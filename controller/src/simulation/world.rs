//! All that outlives the controller: the engine, the proxy, the disk; and what has been seen of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use cutover_api::Report;
use cutover_harness::Dice;
use cutover_proxy::table::ServiceName;

use super::client::Command;
use super::proxy::FakeProxy;
use crate::engine::fake::{Call, FakeEngine, Fault};
use crate::state::store::Memory;
use crate::testing::crash_points::CrashPoints;

/// All of it. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) engine: FakeEngine,
    pub(super) proxy: FakeProxy,
    pub(super) store: Memory,
    pub(super) points: CrashPoints,
    seen: Arc<Mutex<Seen>>,
}

/// What has been seen.
#[derive(Debug)]
struct Seen {
    /// What has happened, for a failure to be understood.
    story: Vec<String>,
    /// What must not be.
    violations: Vec<String>,
    /// Services that have served.
    served: BTreeSet<ServiceName>,
    /// Since when a service does not serve though it could.
    starving: BTreeMap<ServiceName, Duration>,
    /// How long that may last.
    grace: Duration,
    /// How often calls of the engine fail: one in so many; 0 is never.
    hiccups: usize,
    dice: Dice,
    /// What clients were told.
    reports: Vec<Report>,
    /// Who serves was changed by a failover or by hand, and not by a rollout alone.
    meddled: bool,
    /// What clients have asked for that have not been answered.
    waiting: Vec<Command>,
}

impl World {
    /// A host without containers; runs in this runtime.
    pub(super) fn new(seed: u64, grace: Duration) -> Self {
        let points = CrashPoints::default();
        points.take_turns(seed);
        let engine = FakeEngine::new(points.clone());
        let seen = Seen {
            story: Vec::new(),
            violations: Vec::new(),
            served: BTreeSet::new(),
            starving: BTreeMap::new(),
            grace,
            hiccups: 0,
            dice: Dice::new(seed ^ 0x5eed),
            reports: Vec::new(),
            meddled: false,
            waiting: Vec::new(),
        };
        let world = Self {
            proxy: FakeProxy::new(engine.clone(), points.clone(), seed),
            store: Memory::new(points.clone()),
            engine,
            points,
            seen: Arc::new(Mutex::new(seen)),
        };
        let host = world.clone();
        world.engine.on_call(move |call, target| host.on_call(call, target));
        let host = world.clone();
        world.points.on_pass(move |place| host.tell(format!("  {place}")));
        world
    }

    /// Looks at who is ready and who serves, whenever either may have changed; for ever.
    pub(super) async fn watch(self) {
        loop {
            tokio::select! {
                biased;
                () = self.engine.changed() => {}
                () = self.proxy.changed() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            self.look();
        }
    }

    /// Whoever is ready must be sent requests, if nobody else of its service is.
    fn look(&self) {
        let now = self.engine.now();
        let truths = self.engine.truths();
        let ready: BTreeSet<ServiceName> =
            truths.iter().filter(|t| t.ready).filter_map(|t| t.service.parse().ok()).collect();
        let helpless = !self.proxy.is_up() || !self.engine.can_be_seen();
        let mut starved = Vec::new();
        let services = self.services();
        // One whose containers are all gone has nothing to serve with.
        self.seen().starving.retain(|service, _| services.contains(service));
        for service in &services {
            let serves = !self.proxy.serving(service).is_empty();
            let mut seen = self.seen();
            if serves {
                seen.served.insert(service.clone());
            }
            if serves || helpless || !ready.contains(service) || !seen.served.contains(service) {
                seen.starving.remove(service);
                continue;
            }
            let since = *seen.starving.entry(service.clone()).or_insert(now);
            if now.checked_sub(since).is_some_and(|time| time >= seen.grace) {
                starved.push(format!("{service} is ready and has not served since {since:?}"));
                seen.starving.insert(service.clone(), now + NEVER);
            }
        }
        starved.into_iter().for_each(|what| self.violated(what));
    }

    /// Whether a service is ready, does not serve, and still has time to.
    pub(super) fn is_starving(&self) -> bool {
        let now = self.engine.now();
        self.seen().starving.values().any(|since| *since <= now)
    }

    /// What becomes of a call of the engine; a stop of what is busy is a violation.
    fn on_call(&self, call: Call, target: &str) -> Option<Fault> {
        if call == Call::Stop {
            let busy = self.proxy.in_flight(target);
            let named = self.proxy.names(target);
            if busy > 0 {
                self.violated(format!("{target:.12} is stopped with {busy} in flight"));
            }
            if named && self.engine.truths().iter().any(|t| t.id == target && t.ready) {
                self.violated(format!("{target:.12} is stopped while the live table names it"));
            }
        }
        let mut seen = self.seen();
        let one_in = seen.hiccups;
        if one_in == 0 || !seen.dice.one_in(one_in) {
            return None;
        }
        let fault = match seen.dice.below(8) {
            0..=2 => Fault::Fail,
            3..=4 => Fault::FailAfter,
            5 => Fault::Delay(Duration::from_millis(seen.dice.below(3_000) as u64)),
            6 => Fault::Hang,
            _ => Fault::HangAfter,
        };
        drop(seen);
        self.tell(format!("{call:?} {target:.12}: {fault:?}"));
        Some(fault)
    }

    /// The services that containers say they are of.
    pub(super) fn services(&self) -> BTreeSet<ServiceName> {
        let truths = self.engine.truths();
        truths.iter().filter_map(|truth| truth.service.parse().ok()).collect()
    }

    /// Calls of the engine fail one in so many times from now on; 0 is never.
    pub(super) fn set_hiccups(&self, one_in: usize) {
        self.seen().hiccups = one_in;
    }

    /// Nothing goes wrong any more.
    pub(super) fn calm_down(&self) {
        self.set_hiccups(0);
        self.store.mend();
        self.engine.come_back();
        if !self.proxy.is_up() {
            self.proxy.come_back();
        }
    }

    /// Somebody has changed who serves.
    pub(super) fn meddle(&self) {
        self.seen().meddled = true;
    }

    /// Whether somebody has.
    pub(super) fn is_meddled(&self) -> bool {
        self.seen().meddled
    }

    /// A client asks for something.
    pub(super) fn asked(&self, command: Command) {
        self.seen().waiting.push(command);
    }

    /// A client has been answered.
    pub(super) fn answered(&self, command: &Command) {
        let mut seen = self.seen();
        let place = seen.waiting.iter().position(|waiting| waiting == command);
        place.map(|place| seen.waiting.remove(place));
    }

    /// The controller is gone, and with it whoever waits for an answer. A flip may have been done
    /// without one.
    pub(super) fn hung_up(&self) {
        let waiting = std::mem::take(&mut self.seen().waiting);
        if waiting.iter().any(|command| matches!(command, Command::Flip(..))) {
            self.meddle();
        }
    }

    /// What clients wait for.
    pub(super) fn waiting(&self) -> Vec<Command> {
        self.seen().waiting.clone()
    }

    /// A client was told how a rollout has ended.
    pub(super) fn reported(&self, report: Report) {
        self.tell(format!(
            "{} r{}: {} {:?}",
            report.service, report.revision, report.result, report.reason
        ));
        self.seen().reports.push(report);
    }

    /// The reports that clients were given.
    pub(super) fn reports(&self) -> Vec<Report> {
        self.seen().reports.clone()
    }

    /// Notes what happens.
    pub(super) fn tell(&self, what: impl Into<String>) {
        let (at, what) = (self.engine.now(), what.into());
        self.seen().story.push(format!("{:>8} {what}", at.as_millis()));
    }

    /// Notes what must not be.
    pub(super) fn violated(&self, what: impl Into<String>) {
        let what = what.into();
        self.tell(format!("VIOLATED: {what}"));
        self.seen().violations.push(what);
    }

    /// What must not be, and was.
    pub(super) fn violations(&self) -> Vec<String> {
        self.seen().violations.clone()
    }

    /// What has happened.
    pub(super) fn story(&self) -> Vec<String> {
        self.seen().story.clone()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }
}

const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// What was told once is not told again.
const NEVER: Duration = Duration::from_secs(86_400);
