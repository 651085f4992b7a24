//! The shell around the state machine: a task that journals each step and has its actions done.

mod acts;
mod tell;

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_api::RolloutEvent;
use cutover_proxy::table::{Color, ServiceName};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::Tools;
use super::actions::{Event, Millis};
use super::machine::Limits;
use super::phase::Phase;
use super::progress::Progress;
use super::record::{Part, Record};
use super::report::{Counted, PhaseTime};
use super::way_back::Side;
use crate::engine::{Image, Spec};
use crate::millis::millis;
use crate::registry::Logins;
use crate::serving::lock::RolloutLock;
use crate::state::DrainEnd;
use crate::state::holder::Holder;
use crate::state::journal::StoredRollout;

/// One rollout that is under way.
pub(super) struct Shell {
    tools: Tools,
    record: Record,
    progress: Progress,
    lock: Option<RolloutLock>,
    /// The caller's, until the image is here.
    logins: Logins,
    tell: mpsc::UnboundedSender<Note>,
    notes: mpsc::UnboundedReceiver<Note>,
    ended: watch::Sender<bool>,
    standing: watch::Sender<Standing>,
    started: Instant,
    /// Where the machine's clock was when this shell began.
    base: Millis,
    /// Everything that is being done. It ends with the shell.
    tasks: JoinSet<()>,
    /// Those who watch the new color.
    watchers: JoinSet<()>,
    /// What the first color's phases took, where both serve.
    phases: Vec<PhaseTime>,
    before: BTreeMap<ServiceName, Counted>,
    at_flip: BTreeMap<ServiceName, Counted>,
    drained: BTreeMap<ServiceName, DrainEnd>,
    words: BTreeMap<ServiceName, Vec<String>>,
    probes: BTreeMap<ServiceName, String>,
}

/// What comes back from what was asked for.
pub(super) enum Note {
    /// A replica is there.
    Created { service: ServiceName, replica: usize, id: String, spec: Box<Spec> },
    /// The old color has drained.
    Drained(ServiceName, DrainEnd),
    /// Something for the machine.
    Event(Event),
    /// The image is here.
    Pulled(ServiceName, Image),
    /// What a failed container printed last.
    Words(ServiceName, Vec<String>),
}

/// A way to talk to a rollout that is under way.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    tell: mpsc::UnboundedSender<Note>,
    ended: watch::Receiver<bool>,
    standing: watch::Receiver<Standing>,
}

/// Where a rollout stands, for those who would end it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Standing {
    /// The phase.
    pub phase: Phase,
    /// Whether the old colors have been asked to serve again.
    pub reverted: bool,
    /// Its services.
    pub sides: Vec<Side>,
}

impl Handle {
    /// Tells the machine something.
    pub(super) fn tell(&self, event: Event) {
        // One that has ended needs no telling.
        self.tell.send(Note::Event(event)).ok();
    }

    /// Where it stands now.
    pub(super) fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Waits until it stands somewhere; `None` when it has ended elsewhere.
    pub(super) async fn until(&mut self, there: impl FnMut(&Standing) -> bool) -> Option<Standing> {
        let mut there = there;
        let standing = self.standing.wait_for(|standing| there(standing)).await;
        standing.ok().map(|standing| standing.clone())
    }

    /// Waits for the end.
    pub(super) async fn ended(&mut self) {
        self.ended.wait_for(|ended| *ended).await.ok();
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        *self.ended.borrow() || self.tell.is_closed()
    }
}

impl Shell {
    pub(super) fn new(
        tools: Tools,
        record: Record,
        progress: Progress,
        lock: Option<RolloutLock>,
        logins: Logins,
    ) -> (Self, Handle) {
        let (tell, notes) = mpsc::unbounded_channel();
        let (ended, ending) = watch::channel(false);
        let (standing, stands) = watch::channel(record.standing(false));
        let handle = Handle { tell: tell.clone(), ended: ending, standing: stands };
        let shell = Self {
            base: record.clock,
            tools,
            record,
            progress,
            lock,
            logins,
            tell,
            notes,
            ended,
            standing,
            started: Instant::now(),
            tasks: JoinSet::new(),
            watchers: JoinSet::new(),
            phases: Vec::new(),
            before: BTreeMap::new(),
            at_flip: BTreeMap::new(),
            drained: BTreeMap::new(),
            words: BTreeMap::new(),
            probes: BTreeMap::new(),
        };
        (shell, handle)
    }

    /// Runs to the end, whether the client is there or not.
    pub(super) async fn run(mut self, first: Event) {
        self.before = self.count().await;
        self.at_flip = self.before.clone();
        self.step(first).await;
        loop {
            self.until_ended().await;
            let Some(next) = self.record.follow_up(self.now()) else { break };
            self.phases.extend(self.phases_of(&self.record));
            self.record = next;
            self.step(Event::Begin).await;
        }
        self.ended.send_replace(true);
    }

    async fn until_ended(&mut self) {
        while self.record.machine.phase() != Phase::Ended {
            let due = self.record.machine.deadline().map(|at| self.instant(at));
            let tick = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                note = self.notes.recv() => match note {
                    Some(note) => self.note(note).await,
                    None => break,
                },
                () = tick => self.tick().await,
                Some(ended) = self.tasks.join_next() => pass_on(ended),
                Some(ended) = self.watchers.join_next() => pass_on(ended),
            }
        }
    }

    async fn tick(&mut self) {
        if self.record.machine.phase() == Phase::KeepWarm {
            // The warm color was made to serve again by hand: it is nobody's to stop.
            if self.old_serves() {
                return self.step(Event::Handover).await;
            }
            let services = self.services();
            let holder = Holder::new(self.record.kind.as_str(), Some(&self.record.by));
            self.lock = self.tools.controller.lock(&services, &holder).ok();
            if self.lock.is_none() {
                // Whoever has it will tell us to make room, or lets it go.
                tokio::time::sleep(LOCK_AGAIN).await;
                return;
            }
        }
        self.step(Event::Tick).await;
    }

    async fn note(&mut self, note: Note) {
        match note {
            Note::Created { service, replica, id, spec } => {
                if let Some(replica) =
                    self.part_mut(&service).and_then(|part| part.replicas.get_mut(replica))
                {
                    replica.id = Some(id);
                    replica.spec = Some(*spec);
                }
            }
            Note::Pulled(service, image) => {
                if let Some(part) = self.part_mut(&service) {
                    // What the history knows it by may be of a registry that is gone.
                    if part.registry_digest().is_none() {
                        part.digest = Some(image.pin(&part.image));
                    }
                    part.image_id = Some(image.id);
                }
            }
            Note::Drained(service, drained) => {
                self.drained.insert(service, drained);
            }
            Note::Words(service, words) => {
                self.words.insert(service, words);
            }
            Note::Event(Event::Supersede) if self.old_serves() => {
                self.step(Event::Handover).await;
            }
            Note::Event(event) => self.step(event).await,
        }
    }

    /// One step: the machine, the journal, then the actions.
    async fn step(&mut self, event: Event) {
        let before = self.record.machine.phase();
        if before.is_before_flip() || matches!(event, Event::Died { .. } | Event::Breach { .. }) {
            self.note_probes();
        }
        let now = self.now();
        let mut actions = self.record.machine.step(now, event);
        self.record.clock = now;
        // What a flip is about to change goes to the disk with the step that asks for it, and is
        // counted meanwhile: an instant rollback waits for one write.
        let intent = actions.iter().find_map(|action| self.shares_of(action));
        let written = match &intent {
            Some(shares) => {
                self.tools.controller.intend(shares);
                let (written, counted) = tokio::join!(self.journal(), self.count());
                if before.is_before_flip() {
                    self.at_flip = counted;
                }
                if written.is_err() {
                    self.tools.controller.forget_intent(shares);
                }
                written
            }
            None => self.journal().await,
        };
        if let Err(error) = written
            && self.record.machine.phase().is_before_flip()
        {
            let reason = error.to_string();
            actions = self.record.machine.step(now, Event::Abort { reason });
            if let Err(error) = self.journal().await {
                warn!(%error, "a rollout is undone without a journal");
            }
        }
        let after = self.record.machine.phase();
        if after != before {
            self.entered(after);
        }
        for action in actions {
            self.carry_out(action).await;
        }
    }

    fn entered(&mut self, phase: Phase) {
        let reverted = self.standing.borrow().reverted || phase == Phase::Revert;
        self.standing.send_replace(self.record.standing(reverted));
        info!(rollout = self.record.id, %phase, "rollout");
        if phase > Phase::Pull && self.record.pair.then.is_empty() {
            self.logins = Logins::default();
        }
        for part in &self.record.parts {
            self.tools.controller.rollout_phase(&part.service, phase.as_str());
            if phase != Phase::Ended {
                let (service, phase) = (part.service.clone(), phase.into());
                self.progress.say(RolloutEvent::Phase { service, phase });
            }
        }
        match phase {
            Phase::Monitor | Phase::Drain | Phase::KeepWarm if self.watchers.is_empty() => {
                self.watch_for_death();
            }
            Phase::Stop | Phase::Revert | Phase::Abandon | Phase::Ended => {
                self.watchers.abort_all();
            }
            _ => {}
        }
    }

    async fn journal(&self) -> Result<(), crate::error::Error> {
        let mut record = self.record.clone();
        record.phase = record.machine.phase();
        let written = match record.phase {
            Phase::Ended => match record.follow_up(self.now()) {
                Some(next) => serde_json::to_value(&next).ok(),
                None => None,
            },
            _ => serde_json::to_value(&record).ok(),
        };
        let (id, services) = (self.record.id.clone(), self.services());
        let written = written.map(|record| StoredRollout { services, record });
        let controller = &self.tools.controller;
        controller.remember_all(|journal| match written {
            // A rollback takes the place of the rollout whose warm color it uses.
            Some(rollout) => journal.replace_rollouts(id, rollout),
            None => journal.end_rollout(&id),
        });
        controller.save().await
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
        let count = |service: ServiceName| {
            let counted = Counted::of(&snapshot, &service);
            (service, counted)
        };
        self.services().into_iter().map(count).collect()
    }

    fn old_serves(&self) -> bool {
        let mut parts = self.record.parts.iter();
        parts.any(|part| part.both.is_none() && self.serves(&part.service, part.from))
    }

    fn serves(&self, service: &ServiceName, color: Color) -> bool {
        self.tools.controller.state(|state| state.weights(service)).serves(color)
    }

    fn services(&self) -> Vec<ServiceName> {
        self.record.services()
    }

    fn limits(&self, service: &ServiceName) -> Limits {
        let mut members = self.record.machine.members().iter();
        let member = members.find(|member| member.service == *service);
        member.map_or_else(Limits::default, |member| member.limits)
    }

    fn part(&self, service: &ServiceName) -> Option<&Part> {
        self.record.parts.iter().find(|part| part.service == *service)
    }

    fn part_mut(&mut self, service: &ServiceName) -> Option<&mut Part> {
        self.record.parts.iter_mut().find(|part| part.service == *service)
    }

    /// The machine's clock goes on from where the journal left it, whatever the wall clock does.
    fn now(&self) -> Millis {
        self.base.after(millis(self.started.elapsed()))
    }

    fn instant(&self, at: Millis) -> Instant {
        self.started + Duration::from_millis(at.since(self.base))
    }
}

impl Record {
    fn standing(&self, reverted: bool) -> Standing {
        let side = |part: &Part| Side {
            service: part.service.clone(),
            revision: part.revision,
            from: part.from,
            to: part.to,
            both: part.both.is_some(),
        };
        let sides = self.parts.iter().map(side).collect();
        Standing { phase: self.machine.phase(), reverted, sides }
    }
}

/// What a task was to tell will never come: its panic is that of the whole rollout.
fn pass_on(ended: Result<(), JoinError>) {
    if let Some(Ok(payload)) = ended.err().map(JoinError::try_into_panic) {
        std::panic::resume_unwind(payload);
    }
}

const LOCK_AGAIN: Duration = Duration::from_secs(1);
