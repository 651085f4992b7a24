//! Who asks whom: a task per endpoint that probes it, and a task per name that resolves it.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use cutover_proxy::table::{Color, HostPattern, ServiceName};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::Controller;
use crate::config::{ProbeConfig, ServiceConfig};
use crate::panics::forever;
use crate::serving::counters::Durations;
use crate::serving::probe::{self, Prober};
use crate::serving::resolver::{LookupError, look_again};
use crate::state::events::EventKind;
use crate::state::health::Answer;
use crate::state::{Endpoint, EndpointKey, State, authority};

/// The tasks there are. One that is taken out ends.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    probes: HashMap<EndpointKey, (ProbeTarget, Task)>,
    names: BTreeMap<String, (Arc<Notify>, Task)>,
}

impl Controller {
    /// Starts and ends tasks so that they match the state.
    pub(crate) fn sync_tasks(&self) {
        let (probes, names) = self.change_quietly(|state| {
            let probes = wanted_probes(state);
            state.probes_follow(&probes);
            (probes, state.host_names())
        });
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.probes.retain(|key, (target, _)| probes.get(key) == Some(target));
        for (key, target) in probes {
            tasks.probes.entry(key.clone()).or_insert_with(|| {
                let (this, probed) = (self.clone(), target.clone());
                let probe = move || this.clone().keep_probing(key.clone(), probed.clone());
                let task = Task::spawn(forever("a probe", probe));
                (target, task)
            });
        }
        tasks.names.retain(|name, _| names.contains(name));
        for name in names {
            tasks.names.entry(name.clone()).or_insert_with(|| {
                let look = Arc::new(Notify::new());
                let (this, told) = (self.clone(), Arc::clone(&look));
                let resolve = move || this.clone().keep_resolving(name.clone(), Arc::clone(&told));
                let task = Task::spawn(forever("a name", resolve));
                (look, task)
            });
        }
    }

    async fn keep_probing(self, key: EndpointKey, target: ProbeTarget) {
        let mut prober = Prober::default();
        let mut spread = Spread::of(&key);
        let durations = self.probe_durations(&key);
        loop {
            #[cfg(test)]
            crate::panics::point(&format!("probe of {}", target.address));
            let answer = self.ask_again(&mut prober, &target).await;
            durations.observe(answer.took);
            let wait = self.answered(&key, &target, answer);
            sleep(spread.next(wait, wait >= target.probe.interval)).await;
        }
    }

    /// Asks once, on a connection of its own.
    pub(super) async fn ask(&self, target: &ProbeTarget) -> Answer {
        match &self.0.apps {
            Some(apps) => apps.answer(target).await,
            None => {
                let _under_way = self.0.probe_limits.begin(target.address.ip()).await;
                probe::ask(target.address, &target.probe, &target.host).await
            }
        }
    }

    /// Asks as one of many times, on the connection of the last one where that is open.
    async fn ask_again(&self, prober: &mut Prober, target: &ProbeTarget) -> Answer {
        if let Some(apps) = &self.0.apps {
            return apps.answer(target).await;
        }
        let ProbeTarget { address, probe, host } = target;
        let _under_way = self.0.probe_limits.begin(address.ip()).await;
        let keep = (probe.interval <= KEPT_FOR).then(|| self.0.probe_limits.keep());
        prober.ask(*address, probe, host, keep.flatten()).await
    }

    /// Where it is counted how long the probes of an endpoint take.
    pub(super) fn probe_durations(&self, (service, color, _): &EndpointKey) -> Durations {
        self.counters(|counters| {
            counters.probes.entry((service.clone(), *color)).or_default().clone()
        })
    }

    /// Takes an answer into account. Gives how long to wait for the next probe.
    pub(crate) fn answered(
        &self,
        key: &EndpointKey,
        target: &ProbeTarget,
        answer: Answer,
    ) -> Duration {
        let failed = (!answer.passed).then(|| answer.text.clone());
        let (changed, wait) =
            self.change_quietly(|state| state.answered(key, answer, &target.probe));
        if failed.is_none() {
            self.end_force(key);
        }
        match (changed, failed) {
            (Some(true), _) => self.came_up(key, target),
            (Some(false), reason) => {
                let (service, color, _) = key.clone();
                let reason = reason.unwrap_or_default();
                let endpoint = target.address.to_string();
                warn!(%service, %color, endpoint, reason, "endpoint down");
                self.0.events.send(EventKind::EndpointDown { service, color, endpoint, reason });
                self.0.stale.notify_one();
                self.look_names_up();
            }
            (None, Some(_)) => self.look_names_up(),
            (None, None) => {}
        }
        wait
    }

    /// After a probe that passed: from then on the health of a color that was forced counts.
    pub(crate) fn end_force(&self, key: &EndpointKey) {
        if self.change_quietly(|state| state.passed(key)) {
            let (service, color, _) = key;
            info!(%service, %color, "its probes pass: it no longer serves by force");
            self.0.stale.notify_one();
            self.save_soon();
        }
    }

    pub(crate) fn came_up(&self, key: &EndpointKey, target: &ProbeTarget) {
        let (service, color, _) = key.clone();
        let endpoint = target.address.to_string();
        info!(%service, %color, endpoint, "endpoint up");
        self.0.events.send(EventKind::EndpointUp { service, color, endpoint });
        self.0.stale.notify_one();
    }

    /// A probe has failed: perhaps the container has moved.
    fn look_names_up(&self) {
        let tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        for (look, _) in tasks.names.values() {
            look.notify_one();
        }
    }

    async fn keep_resolving(self, name: String, look: Arc<Notify>) {
        loop {
            let found = timeout(LOOK_UP, self.0.resolver.look_up(&name)).await;
            let found = found.unwrap_or(Err(LookupError::Timeout));
            let wait = look_again(found.as_ref(), Instant::now());
            let found = found.map(|lookup| lookup.addresses).map_err(|error| error.to_string());
            let changed = self.change_quietly(|state| state.resolved(&name, found));
            if changed {
                self.sync_tasks();
                self.0.stale.notify_one();
            }
            let asked_for = async {
                sleep(LOOK_UP_PAUSE).await;
                look.notified().await;
            };
            timeout(wait, asked_for).await.ok();
        }
    }
}

/// Whom a probe asks, and how.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProbeTarget {
    pub(crate) address: SocketAddr,
    pub(crate) probe: ProbeConfig,
    pub(crate) host: String,
}

impl ProbeTarget {
    pub(crate) fn new(address: SocketAddr, service: &ServiceConfig) -> Self {
        let exact = service.hosts.iter().find_map(|host| match host {
            HostPattern::Exact(host) => Some(host.clone()),
            HostPattern::Any | HostPattern::Wildcard(_) => None,
        });
        let fixed = service.host.clone();
        let host =
            fixed.or(exact).unwrap_or_else(|| authority(&address.ip().to_string(), address.port()));
        Self { address, probe: service.probe.clone(), host }
    }
}

fn wanted_probes(state: &State) -> HashMap<EndpointKey, ProbeTarget> {
    let mut wanted = HashMap::new();
    // Each by the settings of its own container, where it has one.
    let mut ask = |name: &ServiceName, color, endpoint: &Endpoint, service: &ServiceConfig| {
        if let Some(address) = endpoint.address {
            let settings = endpoint.settings.as_deref().unwrap_or(service);
            let key = (name.clone(), color, endpoint.id.clone());
            wanted.insert(key, ProbeTarget::new(address, settings));
        }
    };
    for (name, service) in state.services() {
        for color in Color::ALL {
            for endpoint in state.endpoints(name, color) {
                ask(name, color, &endpoint, service);
            }
        }
    }
    for spare in &state.discovered().spares {
        ask(&spare.service, spare.color, &Endpoint::from(spare), &spare.settings);
    }
    wanted
}

/// When the next probe is due: ten thousand endpoints that came at once are not asked at once.
///
/// Which endpoint it is decides, and not chance: a simulation asks at the same moments again.
#[derive(Debug)]
struct Spread {
    endpoint: u64,
    round: u64,
    /// Whether the endpoint has its own place within the interval.
    placed: bool,
}

impl Spread {
    fn of(endpoint: &EndpointKey) -> Self {
        Self { endpoint: hash(endpoint), round: 0, placed: false }
    }

    /// How long to wait instead of `wait`. The first whole interval is cut to a random share of it,
    /// any other wait is up to a tenth longer or shorter.
    fn next(&mut self, wait: Duration, is_interval: bool) -> Duration {
        self.round += 1;
        let random = u32::try_from(hash(&(self.endpoint, self.round)) % 1000).unwrap_or(0);
        if is_interval && !self.placed {
            self.placed = true;
            return wait * random / 1000;
        }
        wait * (900 + random / 5) / 1000
    }
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// A task that ends when this goes.
#[derive(Debug)]
struct Task(AbortHandle);

impl Task {
    fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work).abort_handle())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection is kept between probes that follow each other within this; apps close it later.
const KEPT_FOR: Duration = Duration::from_secs(2);
/// For one lookup, search list and retries included.
const LOOK_UP: Duration = Duration::from_secs(10);
/// Failing probes do not ask the name server more often than this.
const LOOK_UP_PAUSE: Duration = Duration::from_secs(1);
