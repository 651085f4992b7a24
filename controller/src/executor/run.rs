//! One rollout under way: a task that journals each step and has its actions carried out.

mod act;
mod conclude;
mod handle;
mod message;
mod wait;

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_api::RolloutEvent;
use cutover_proxy::table::ServiceName;
use cutover_rollout::{Action, Event, Limits, Millis, Phase, Set};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

pub(super) use self::handle::{Handle, Side, Standing};
use self::message::Message;
use super::Tools;
use super::progress::Progress;
use crate::error::Error;
use crate::millis::millis;
use crate::registry::Logins;
use crate::serving::ready::Ready;
use crate::state::counted::Counted;
use crate::state::lock_owner::LockOwner;
use crate::state::locks::RolloutLock;
use crate::state::rollout::{Baseline, Record};
use crate::time_of_day::unix_ms;

/// One rollout under way.
pub(super) struct Execution {
    tools: Tools,
    record: Record,
    progress: Progress,
    lock: Option<RolloutLock>,
    /// The caller's, until the image is here.
    logins: Logins,
    inbox: mpsc::UnboundedReceiver<Message>,
    send: mpsc::UnboundedSender<Message>,
    standing: watch::Sender<Standing>,
    /// When this began, and where the machine's clock was then.
    started: (Instant, Millis),
    /// What was asked for and is to be answered. It ends with the way forward, and with this.
    tasks: JoinSet<()>,
    /// Those who watch the new containers.
    watchers: JoinSet<()>,
    /// The last lines of containers that failed.
    logs: BTreeMap<ServiceName, Vec<String>>,
    /// The new sets that were found ready, until a flip consumes that.
    ready: BTreeMap<Set, Ready>,
    /// What the last probes of the new containers saw.
    probes: BTreeMap<ServiceName, String>,
}

impl Execution {
    /// Prepares to carry a rollout out, from wherever it stands.
    pub(super) fn new(
        tools: Tools,
        record: Record,
        progress: Progress,
        lock: Option<RolloutLock>,
        logins: Logins,
    ) -> (Self, Handle) {
        let (send, inbox) = mpsc::unbounded_channel();
        let (standing, stands) = watch::channel(Standing::of(&record, false));
        let handle = Handle::new(send.clone(), stands);
        // What has passed since it was written counts, however long nobody was there.
        let away = unix_ms().saturating_sub(record.written_ms);
        let execution = Self {
            started: (Instant::now(), record.clock.after(away)),
            tools,
            record,
            progress,
            lock,
            logins,
            inbox,
            send,
            standing,
            tasks: JoinSet::new(),
            watchers: JoinSet::new(),
            logs: BTreeMap::new(),
            ready: BTreeMap::new(),
            probes: BTreeMap::new(),
        };
        (execution, handle)
    }

    /// Runs to the end, whether the client is there or not.
    pub(super) async fn run(mut self, first: Event) {
        if self.record.figures.is_empty() {
            let counted = self.count().await;
            let baseline = |before: Counted| Baseline { at_flip: before.clone(), before };
            self.record.figures = counted.into_iter().map(|(s, c)| (s, baseline(c))).collect();
        }
        self.step(first).await;
        while self.record.machine.phase() != Phase::Ended {
            let due = self.record.machine.deadline().map(|at| self.instant(at));
            let tick = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                message = self.inbox.recv() => match message {
                    Some(message) => self.take(message).await,
                    None => break,
                },
                () = tick => self.tick().await,
                Some(ended) = self.tasks.join_next() => pass_on(ended),
                Some(ended) = self.watchers.join_next() => pass_on(ended),
            }
        }
        self.show();
    }

    async fn tick(&mut self) {
        if self.record.machine.phase() == Phase::KeepWarm {
            // The warm color was made to serve again by hand: it is nobody's to stop.
            if self.old_serves() {
                return self.step(Event::Handover).await;
            }
            let services = self.record.services();
            if services.iter().any(|s| self.tools.controller.locks().check(s).is_err()) {
                // Whoever has the lock says what becomes of the warm color, or lets it go.
                return tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        self.step(Event::Tick).await;
    }

    async fn take(&mut self, message: Message) {
        match message {
            Message::Created { set, replica, id, spec } => {
                let part = self.record.part_mut(&set);
                if let Some(replica) = part.and_then(|part| part.replicas.get_mut(replica)) {
                    replica.id = Some(id);
                    replica.spec = Some(*spec);
                }
            }
            Message::Drained { set, end } => {
                self.record.drained.insert(set.service, end);
            }
            Message::Event(event) => self.hear(event).await,
            Message::Log(service, lines) => {
                self.logs.insert(service, lines);
            }
            Message::Ready(set, ready) => {
                self.ready.insert(set, ready);
            }
            Message::Pulled(service, image) => {
                for part in self.record.parts.iter_mut().filter(|part| part.service == service) {
                    // What the history knows it by may be of a registry that is gone.
                    if part.registry_digest().is_none() {
                        part.digest = Some(image.pin(&part.image));
                    }
                    part.image_id = Some(image.id.clone());
                }
            }
        }
    }

    /// What comes from outside may have to wait: to undo a rollout takes the lock.
    async fn hear(&mut self, event: Event) {
        let undoes = matches!(event, Event::Abort { .. } | Event::Died { .. } | Event::Handover);
        match event {
            Event::Supersede if self.old_serves() => self.step(Event::Handover).await,
            event if undoes && self.record.machine.phase() == Phase::Drain => {
                match self.relock() {
                    true => self.step(event).await,
                    // Another rollout has it: what serves is its business by now.
                    false if event == Event::Handover => self.say_later(event),
                    false => {
                        info!(rollout = self.record.id, ?event, "another rollout has the lock")
                    }
                }
            }
            event => self.step(event).await,
        }
    }

    /// One step: the machine, the journal, then the actions.
    async fn step(&mut self, event: Event) {
        let before = self.record.machine.step();
        if before.phase.is_before_flip()
            || matches!(event, Event::Died { .. } | Event::Breach { .. })
        {
            self.note_probes();
        }
        let now = self.now();
        let mut actions = self.record.machine.on(now, &event);
        let written = self.write(&actions).await;
        if let Err(error) = written
            && self.record.machine.phase().is_before_flip()
        {
            let reason = error.to_string();
            actions = self.record.machine.on(now, &Event::Abort { reason });
            if let Err(error) = self.journal().await {
                warn!(%error, "a rollout is undone without a journal");
            }
        }
        if self.record.machine.step() != before {
            self.entered(before.phase);
        }
        // The end is shown once the report is out.
        if self.record.machine.phase() != Phase::Ended {
            self.show();
        }
        for action in actions {
            self.carry_out(action).await;
        }
    }

    /// Writes the step. What a table is about to change goes to the disk with the step that asks
    /// for it, and is counted meanwhile: an instant rollback waits for one write.
    async fn write(&mut self, actions: &[Action]) -> Result<(), Error> {
        // The report goes into the history with the same write.
        if actions.iter().any(|action| matches!(action, Action::Report(_))) {
            self.put();
            return Ok(());
        }
        let Some(shares) = actions.iter().find_map(|action| self.shares_of(action)) else {
            return self.journal().await;
        };
        self.tools.controller.intend(&shares);
        self.put();
        let (written, counted) = tokio::join!(self.tools.controller.save(), self.count());
        if actions.iter().any(|action| matches!(action, Action::Flip { .. })) {
            for (service, counted) in counted {
                self.record.figures.entry(service).or_default().at_flip = counted;
            }
        }
        if written.is_err() {
            self.tools.controller.forget_intent(&shares);
        }
        written
    }

    /// Puts the rollout into the journal, for all its services at once.
    async fn journal(&mut self) -> Result<(), Error> {
        self.put();
        self.tools.controller.save().await
    }

    /// The same, for the next write.
    fn put(&mut self) {
        self.record.clock = self.now();
        self.record.written_ms = unix_ms();
        let record = self.record.clone();
        self.tools.controller.remember_all(|journal| match record.machine.phase() {
            Phase::Ended => journal.end_rollout(&record.id),
            phase => {
                if phase == Phase::Drain {
                    conclude::note_done(&record, journal);
                }
                journal.put_rollout(record);
            }
        });
    }

    /// A step has begun.
    fn entered(&mut self, before: Phase) {
        let (phase, batch) = (self.record.machine.phase(), self.record.machine.step().batch);
        info!(rollout = self.record.id, %phase, "rollout");
        self.hold_lock();
        if phase > Phase::Pull {
            self.logins = Logins::default();
        }
        for part in self.record.parts.iter().filter(|part| part.batch == batch) {
            if phase != Phase::Ended {
                let service = part.service.clone();
                self.progress.say(RolloutEvent::Phase { service, phase });
            }
        }
        if phase.is_undo() && !before.is_undo() {
            self.tasks.abort_all();
        }
        match phase {
            Phase::Monitor => self.watch_for_death(batch, false),
            Phase::Drain => {
                self.watchers.abort_all();
                for batch in 0..self.record.machine.flipped() {
                    self.watch_for_death(batch, true);
                }
            }
            Phase::KeepWarm
            | Phase::Stop
            | Phase::Revert
            | Phase::Abandon
            | Phase::PutBack
            | Phase::Ended => self.watchers.abort_all(),
            _ => {}
        }
    }

    /// Shows where it stands to those who have a handle.
    fn show(&self) {
        let phase = self.record.machine.phase();
        self.standing.send_modify(|standing| {
            let reverted = standing.reverted || phase == Phase::Revert;
            *standing = Standing::of(&self.record, reverted);
        });
    }

    /// Keeps the lock for as long as the rollout may change what serves.
    fn hold_lock(&mut self) {
        if !self.record.machine.holds_lock() {
            self.lock = None;
        } else if !self.relock() {
            warn!(rollout = self.record.id, "it is undone beside another rollout");
        }
    }

    /// Takes the lock, unless it is held already. False where another rollout has it.
    fn relock(&mut self) -> bool {
        if self.lock.is_none() {
            let owner = LockOwner::new(self.record.kind.as_str(), Some(&self.record.by));
            self.lock = self.tools.controller.locks().take(&self.record.services(), &owner).ok();
        }
        self.lock.is_some()
    }

    fn note_probes(&mut self) {
        for part in &self.record.parts {
            if let Some(answer) = self.tools.last_probe(part) {
                self.probes.insert(part.service.clone(), answer);
            }
        }
    }

    async fn count(&self) -> BTreeMap<ServiceName, Counted> {
        let snapshot = self.tools.controller.snapshot().await;
        let services = self.record.services().into_iter();
        services.map(|service| (service.clone(), Counted::of(&snapshot, &service))).collect()
    }

    /// Whether somebody else has made a former color serve again.
    fn old_serves(&self) -> bool {
        let mut parts = self.record.parts.iter().filter(|part| part.both.is_none());
        parts.any(|part| {
            self.tools.controller.state(|state| {
                let serves = state.weights(&part.service).serves(part.from);
                // By containers of a newer release it is another matter.
                serves && !state.serves_newer(&part.service, part.revision)
            })
        })
    }

    fn limits(&self, service: &ServiceName) -> Limits {
        let mut services = self.record.machine.services().iter();
        let found = services.find(|found| found.name == *service);
        found.map_or_else(Limits::default, |found| found.limits)
    }

    fn now(&self) -> Millis {
        let (started, base) = self.started;
        base.after(millis(started.elapsed()))
    }

    fn instant(&self, at: Millis) -> Instant {
        let (started, base) = self.started;
        started + Duration::from_millis(at.since(base))
    }
}

/// A task that panicked will never answer: its panic is that of the whole rollout.
fn pass_on(ended: Result<(), JoinError>) {
    if let Some(Ok(payload)) = ended.err().map(JoinError::try_into_panic) {
        std::panic::resume_unwind(payload);
    }
}

const LOOK_AGAIN: Duration = Duration::from_secs(1);
