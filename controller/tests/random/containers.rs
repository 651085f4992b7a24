//! What is true on the engine: which containers there are, and which have been ready since when.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cutover_harness::Answer;
use serde_json::Value;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(200);
/// For a container's answer to our own probe.
const PATIENCE: Duration = Duration::from_secs(2);

/// A container as it was last seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) project: String,
    pub(crate) image: String,
    pub(crate) state: String,
    /// Its labels are known ones: it can be served, and has a claim to its host.
    pub(crate) readable: bool,
    /// Since when it has passed its own probe at every look.
    pub(crate) ready: Option<Instant>,
}

/// Looks at the engine all the time.
#[derive(Debug)]
pub(crate) struct Containers {
    seen: Arc<Mutex<Look>>,
    stop: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
pub(crate) struct Look {
    pub(crate) all: BTreeMap<String, Seen>,
    /// When a container of a service that was ready was not any more, and which.
    pub(crate) losses: Vec<(Instant, Seen)>,
    /// The IDs of those beside which no other one was ready then.
    pub(crate) last: BTreeSet<String>,
    /// Services whose owner had no container while somebody else claimed them: who has them now is
    /// open until the other has gone.
    pub(crate) disputed: BTreeMap<String, Instant>,
    /// When that was last over.
    pub(crate) settled: BTreeMap<String, Instant>,
    /// How many looks there have been.
    pub(crate) number: u64,
    /// The services, and the project that each belongs to.
    owners: Vec<(String, String)>,
}

impl Look {
    /// The containers of a project's service, in any state.
    pub(crate) fn of<'l>(
        &'l self,
        service: &'l str,
        project: &'l str,
    ) -> impl Iterator<Item = &'l Seen> {
        self.all.values().filter(move |seen| seen.service == service && seen.project == project)
    }

    /// The earliest moment from which on one and the same container has been ready.
    pub(crate) fn ready_since(&self, service: &str, project: &str) -> Option<Instant> {
        self.of(service, project).filter_map(|seen| seen.ready).min()
    }

    /// When a ready one was last lost.
    pub(crate) fn last_loss(&self, service: &str) -> Option<Instant> {
        let mut losses = self.losses.iter().rev();
        losses.find(|(_, seen)| seen.service == service).map(|(at, _)| *at)
    }
}

impl Containers {
    /// Of one test, by the label that its containers carry.
    pub(crate) fn watch(engine: PathBuf, label: String, owners: Vec<(String, String)>) -> Self {
        let seen = Arc::new(Mutex::new(Look { owners, ..Look::default() }));
        let stop = Arc::new(AtomicBool::new(false));
        let (into, until) = (Arc::clone(&seen), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                // An engine that is busy is asked again.
                if let Some(found) = list(&engine, &label) {
                    let answers = probe_all(&found);
                    note(&mut into.lock().unwrap_or_else(PoisonError::into_inner), found, &answers);
                }
                std::thread::park_timeout(INTERVAL);
            }
        });
        Self { seen, stop }
    }

    pub(crate) fn look(&self) -> MutexGuard<'_, Look> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a look that began after now.
    pub(crate) fn fresh(&self) -> MutexGuard<'_, Look> {
        let number = self.look().number;
        cutover_harness::eventually("the engine is looked at", || self.look().number >= number + 2);
        self.look()
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One container of the list, and where its own probe is to be asked, if it runs.
#[derive(Debug)]
struct Found {
    seen: Seen,
    probe: Option<(SocketAddr, String)>,
}

fn list(engine: &Path, label: &str) -> Option<Vec<Found>> {
    let mut stream = UnixStream::connect(engine).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let filter = label.replace('=', "%3D");
    let target = format!("/containers/json?all=1&filters=%7B%22label%22%3A%5B%22{filter}%22%5D%7D");
    write!(stream, "GET {target} HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.contains(" 200 ").then_some(())?;
    let all: Vec<Value> = serde_json::from_str(body).ok()?;
    Some(all.iter().filter_map(found).collect())
}

fn found(container: &Value) -> Option<Found> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let label = |name: &str| text(&container["Labels"][name]);
    let state = text(&container["State"]);
    let networks = container["NetworkSettings"]["Networks"].as_object()?;
    let address = networks.values().find_map(|n| n["IPAddress"].as_str().filter(|a| !a.is_empty()));
    let address = address.and_then(|address| Some(SocketAddr::new(address.parse().ok()?, 8000)));
    let seen = Seen {
        id: text(&container["Id"]),
        name: text(&container["Names"][0]).trim_start_matches('/').to_owned(),
        service: label("cutover.service"),
        // A copy has the labels of what it copies.
        project: label("com.docker.compose.project"),
        image: text(&container["Image"]),
        readable: label("cutover.nonsense").is_empty(),
        ready: None,
        state,
    };
    // One with a label that nobody knows is left out, whatever it answers.
    let runs = seen.state == "running" && seen.readable;
    let probe = address.filter(|_| runs).map(|address| (address, label("cutover.probe.path")));
    Some(Found { seen, probe })
}

fn probe_all(found: &[Found]) -> Vec<Option<Answer>> {
    std::thread::scope(|scope| {
        let probes: Vec<_> = found
            .iter()
            .map(|found| {
                scope.spawn(|| found.probe.as_ref().and_then(|(at, path)| probe(*at, path)))
            })
            .collect();
        probes.into_iter().map(|probe| probe.join().unwrap()).collect()
    })
}

fn probe(address: SocketAddr, path: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    cutover_harness::ask(&mut stream, "probe.test", path).ok()
}

fn note(look: &mut Look, found: Vec<Found>, answers: &[Option<Answer>]) {
    let now = Instant::now();
    let mut all = BTreeMap::new();
    for (Found { mut seen, .. }, answer) in found.into_iter().zip(answers) {
        let before = look.all.get(&seen.id);
        if answer.as_ref().is_some_and(|answer| answer.status == 200) {
            seen.ready = before.and_then(|before| before.ready).or(Some(now));
        }
        // One whose labels say another service, or none, is lost to this one.
        all.insert(seen.id.clone(), seen);
    }
    for (id, before) in &look.all {
        let now_ready = all.get(id).is_some_and(|seen| seen.ready.is_some());
        if before.ready.is_some() && !now_ready {
            let mut lost = before.clone();
            lost.state = all.get(id).map_or("removed", |seen| &seen.state).to_owned();
            let beside = |seen: &Seen| {
                seen.ready.is_some() && seen.service == lost.service && seen.project == lost.project
            };
            if !all.values().any(beside) {
                look.last.insert(id.clone());
            }
            look.losses.push((now, lost));
        }
    }
    look.all = all;
    look.number += 1;
    let projects: Vec<_> = look.owners.iter().map(|(_, project)| project.clone()).collect();
    let other = look.all.values().any(|seen| !projects.contains(&seen.project));
    for (service, project) in look.owners.clone() {
        if other && !look.of(&service, &project).any(|seen| seen.readable) {
            look.disputed.insert(service, now);
        } else if !other && look.disputed.remove(&service).is_some() {
            look.settled.insert(service, now);
        }
    }
}
