//! The controller: one state, one table at a time.
//!
//! Everything that changes what is served takes the *turn*, changes the [`State`], and publishes
//! one table. Everything else looks at the state for a moment and leaves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cutover_api::{ConfigStatus, Ending};
use cutover_proxy::table::{Generation, ServiceName, Snapshot};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::probe_limits::ProbeLimits;
use super::probing::Tasks;
use crate::config::{Config, DrainConfig};
use crate::error::Error;
use crate::panics::{detached, forever};
use crate::serving::counters::{Counters, Rates};
use crate::serving::edge::{AccessLogTarget, Applied, Edge, Link};
use crate::serving::outside::{Apps, Outside};
use crate::serving::resolver::Resolver;
use crate::serving::table;
use crate::state::events::{EventKind, Events};
use crate::state::locks::Locks;
use crate::state::store::Loaded;
use crate::state::writer::Writer;
use crate::state::{DrainKey, State};

/// A handle to the controller; clones share it.
#[derive(Clone, Debug)]
pub struct Controller(pub(in crate::serving) Arc<Inner>);

/// What the handles share.
#[derive(Debug)]
pub(in crate::serving) struct Inner {
    pub(crate) edge: Edge,
    pub(crate) events: Events,
    pub(crate) resolver: Resolver,
    /// Who answers probes instead of the network.
    pub(crate) apps: Option<Arc<dyn Apps>>,
    /// Locked for a look or a change, never across an await.
    state: Mutex<State>,
    /// Locked like the state; what metrics count beside it.
    pub(crate) counters: Mutex<Counters>,
    /// Locked like the state.
    pub(crate) tasks: Mutex<Tasks>,
    pub(crate) probe_limits: ProbeLimits,
    /// Held by whoever is about to change what is served, until it is live.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// Who writes the journal.
    pub(crate) writer: Writer,
    /// The state has changed by itself: a table is due.
    pub(crate) stale: Notify,
    /// Whether the first look at the containers is over. Before that no table goes out by itself:
    /// one without them would take from a proxy that serves what it serves.
    pub(crate) containers_known: watch::Sender<bool>,
    /// Something may have to serve instead of something else.
    pub(crate) failover: Notify,
    /// Something may be draining.
    pub(crate) drains: Notify,
    /// The end is near.
    retiring: AtomicBool,
    /// Ticks when a drain has ended or a color has come back.
    pub(crate) drain_ended: watch::Sender<()>,
}

impl Controller {
    /// Starts from what config and journal say, and goes on by itself: links, tables, probes, names.
    ///
    /// Needs a tokio runtime.
    #[must_use]
    pub fn start(config: Config, config_status: ConfigStatus, outside: Outside) -> Self {
        let Outside { store, proxy, apps } = outside;
        let Loaded { journal, notes } = store.load();
        let journal = journal.with_edge_name();
        let edge = Edge::connect(proxy, journal.generation);
        let mut state = State::new(config, config_status, journal);
        state.journal_found(notes);
        let controller = Self(Arc::new(Inner {
            edge,
            events: Events::default(),
            resolver: Resolver::system(),
            apps,
            state: Mutex::new(state),
            counters: Mutex::default(),
            tasks: Mutex::default(),
            probe_limits: ProbeLimits::default(),
            turn: tokio::sync::Mutex::default(),
            writer: Writer::new(store),
            stale: Notify::new(),
            containers_known: watch::Sender::new(true),
            failover: Notify::new(),
            drains: Notify::new(),
            drain_ended: watch::Sender::new(()),
            retiring: AtomicBool::new(false),
        }));
        controller.sync_tasks();
        controller.tell_journal_notes();
        controller.keep("writing the journal", Self::keep_journal);
        controller.keep("publishing", Self::republish);
        controller.keep("watching drains", Self::watch_drains);
        controller.keep("failing over", Self::keep_failing_over);
        controller.keep("watching the link", Self::watch_link);
        controller.keep("counting", Self::keep_counting);
        controller
    }

    /// Has some work done in the background, from now on.
    fn keep<W>(&self, what: &'static str, work: fn(Self) -> W)
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let this = self.clone();
        tokio::spawn(forever(what, move || work(this.clone())));
    }

    /// Holds the first table back until [`Controller::containers_known`].
    pub fn await_containers(&self) {
        self.0.containers_known.send_replace(false);
    }

    /// The containers have been looked at, or cannot be: tables go out from now on.
    pub fn containers_known(&self) {
        self.0.containers_known.send_replace(true);
        self.0.stale.notify_one();
    }

    /// The config that is live.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.state(|state| Arc::clone(state.config()))
    }

    /// What happens, as it happens.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.0.events
    }

    /// Changes what has been seen of containers, and makes that what we go by.
    ///
    /// # Errors
    /// [`Error::Refused`]. Without a proxy the change is live as soon as there is one.
    ///
    /// # Cancel safety
    /// Once begun it goes on to the end.
    pub(crate) async fn observe(
        &self,
        change: impl FnOnce(&mut State) + Send + 'static,
    ) -> Result<(), Error> {
        let this = self.clone();
        detached(async move {
            this.change_quietly(change);
            // Its table is the first one, which somebody waits to let go.
            if !*this.0.containers_known.borrow() {
                this.reclassify();
                return Ok(());
            }
            let published = {
                let _turn = this.0.turn.lock().await;
                this.publish(None).await
            };
            match published.inspect_err(|_| this.0.stale.notify_one()) {
                // It goes out with the first table that a proxy takes.
                Err(Error::ProxyUnavailable) | Ok(_) => Ok(()),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Counts afresh; without a proxy, the last counts there were.
    pub async fn snapshot(&self) -> Snapshot {
        match self.count().await {
            Ok(snapshot) => snapshot,
            Err(_) => self.state(|state| state.snapshot().clone()),
        }
    }

    /// Counts afresh.
    ///
    /// # Errors
    /// [`Error::ProxyUnavailable`].
    pub(crate) async fn count(&self) -> Result<Snapshot, Error> {
        let counted = timeout(SNAPSHOT, self.0.edge.snapshot()).await;
        let snapshot = counted.unwrap_or(Err(Error::ProxyUnavailable))?;
        Ok(self.change_quietly(|state| {
            state.counted(snapshot);
            state.snapshot().clone()
        }))
    }

    /// Whether a proxy is there, now and as it changes.
    pub(crate) fn link(&self) -> watch::Receiver<Link> {
        self.0.edge.link()
    }

    /// Where access log lines go from now on.
    ///
    /// # Errors
    /// When no proxy has heard of it yet; the next one will.
    pub async fn access_log(&self, target: AccessLogTarget) -> Result<(), Error> {
        self.0.edge.access_log(target).await
    }

    /// The live table; 0 before the first.
    #[must_use]
    pub fn generation(&self) -> Generation {
        match &*self.0.edge.link().borrow() {
            Link::Up { generation, .. } => *generation,
            Link::Down => self.state(|state| state.journal().generation),
        }
    }

    /// Why this Cutover should get no new clients now; `None` is ready.
    #[must_use]
    pub fn unready(&self) -> Option<&'static str> {
        let live = |link: &Link| matches!(link, Link::Up { generation, .. } if generation.0 > 0);
        if self.0.retiring.load(Ordering::Relaxed) {
            Some("shutting down")
        } else if !live(&self.0.edge.link().borrow()) || !self.state(|state| state.is_published()) {
            Some("no table is live")
        } else {
            None
        }
    }

    /// From now on [`Controller::unready`] says that the end is near.
    pub fn retire(&self) {
        self.0.retiring.store(true, Ordering::Relaxed);
    }

    /// Requests per second by service and color, over the last seconds.
    #[must_use]
    pub fn rates(&self) -> Rates {
        self.counters(|counters| counters.rates.per_second.clone())
    }

    /// The locks of all services.
    pub(crate) fn locks(&self) -> Locks {
        self.state(|state| state.locks().clone())
    }

    /// Counts a rollout that has ended.
    pub(crate) fn count_rollout(&self, service: &ServiceName, result: Ending) {
        self.counters(|counters| {
            *counters.rollouts.entry((service.clone(), result)).or_default() += 1;
        });
    }

    /// Looks at the state.
    pub(crate) fn state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the state in a way that neither probes nor names have to follow.
    pub(crate) fn change_quietly<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the state; probes and names follow.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = self.change_quietly(change);
        self.sync_tasks();
        changed
    }

    pub(crate) fn counters<T>(&self, change: impl FnOnce(&mut Counters) -> T) -> T {
        change(&mut self.0.counters.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the state as it is the live table. The caller has the turn.
    ///
    /// `drain` is for the colors that stop serving with it; `None` is what the config says.
    pub(crate) async fn publish(&self, drain: Option<DrainConfig>) -> Result<Applied, Error> {
        // A table without containers would take from a proxy that serves what it serves.
        self.0.containers_known.subscribe().wait_for(|known| *known).await.ok();
        self.reclassify();
        let linked = self.0.edge.is_up();
        let (table, live, same) = self.state(|state| {
            let table = table::build(state);
            let same = linked && state.has_live(&table);
            (table, state.shares(), same)
        });
        if same {
            // Nothing that the proxy knows of has changed: the health of an idle color, say.
            self.change_quietly(State::end_boot);
            let generation = self.generation();
            return Ok(Applied { generation, swap: Duration::ZERO });
        }
        let applied = timeout(APPLY, self.0.edge.apply(table.clone())).await;
        let applied = applied.unwrap_or(Err(Error::ProxyUnavailable));
        let begun = self.change_quietly(|state| {
            // After a failure nobody knows what is live.
            state.sent(applied.is_ok().then_some(table));
            match applied {
                Ok(Applied { generation, .. }) => state.went_live(live, generation, drain),
                Err(_) => Vec::new(),
            }
        });
        for DrainKey { service, color, .. } in begun {
            self.0.events.send(EventKind::DrainStarted { service, color });
        }
        let applied = applied?;
        self.0.drains.notify_one();
        self.0.drain_ended.send_replace(());
        // A full disk must not stop what serves; flips have asked the disk before.
        self.save_soon();
        Ok(applied)
    }

    /// Brings the state up to date with what has been seen; probes and names follow.
    fn reclassify(&self) {
        let changed = self.change_quietly(|state| state.reclassify(Instant::now()));
        if changed.discovery {
            self.sync_tasks();
        }
        self.0.failover.notify_one();
        if changed.journal {
            self.save_soon();
        }
    }

    /// Publishes whenever the state has changed by itself, until the proxy has it.
    async fn republish(self) {
        let mut link = self.0.edge.link();
        // At the start, and after a panic, nobody knows what is live.
        self.0.stale.notify_one();
        loop {
            self.0.stale.notified().await;
            #[cfg(test)]
            crate::panics::point(&self.point("publishing"));
            let mut known = self.0.containers_known.subscribe();
            if known.wait_for(|known| *known).await.is_err() {
                return;
            }
            loop {
                let published = {
                    let _turn = self.0.turn.lock().await;
                    self.publish(None).await
                };
                match published {
                    Ok(_) => break,
                    Err(Error::ProxyUnavailable) => {
                        if link.wait_for(|link| *link != Link::Down).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        warn!(%error, "the table before it stays live");
                        break;
                    }
                }
            }
        }
    }

    /// Looks at the counts now and then, for the rates.
    async fn keep_counting(self) {
        loop {
            let snapshot = self.snapshot().await;
            self.counters(|counters| counters.rates.count(&snapshot, Instant::now()));
            sleep(RATES).await;
        }
    }

    async fn watch_link(self) {
        let mut link = self.0.edge.link();
        let mut known = None;
        while link.changed().await.is_ok() {
            let now = match &*link.borrow_and_update() {
                Link::Down => None,
                Link::Up { pid, version, .. } => Some((*pid, version.clone())),
            };
            match &now {
                _ if now == known => continue,
                Some((pid, version)) => {
                    let (pid, version) = (*pid, version.clone());
                    self.0.events.send(EventKind::ProxyConnected { pid, version });
                    self.0.drains.notify_one();
                }
                None => self.0.events.send(EventKind::ProxyLost),
            }
            known = now;
        }
    }
}

/// For a table to go live. It takes milliseconds; a proxy that was killed is back within a second.
const APPLY: Duration = Duration::from_secs(3);
/// For counts, which are only looked at.
const SNAPSHOT: Duration = Duration::from_secs(1);
/// Between two looks at the counts.
const RATES: Duration = Duration::from_secs(2);

#[cfg(test)]
pub(crate) mod tests;
