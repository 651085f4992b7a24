//! The controller against a proxy that keeps to the link's protocol and remembers its tables, and
//! endpoints that answer on real sockets.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use cutover_api::{Target, Weights};
use cutover_proxy::link::{FromProxy, ToProxy};
use cutover_proxy::table::{Color, Pause, PoolStats, ServiceName, TableSpec};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::*;
use crate::config::{ProbeKind, ServiceConfig, StaticEndpoint};
use crate::serving::outside::Outside;
use crate::state::lock_owner::LockOwner;
use crate::state::store::{Disk, Store};

/// What the proxy at the other end of the link has seen, and what it is to say.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    tables: Mutex<Vec<TableSpec>>,
    hangups: Mutex<Vec<ToProxy>>,
    retired: Mutex<Vec<PoolStats>>,
    /// Refuses every table.
    refuses: AtomicBool,
}

impl Peer {
    fn listen(self: &Arc<Self>, path: &Path) {
        drop(std::fs::remove_file(path));
        let listener = UnixListener::bind(path).unwrap();
        tokio::spawn({
            let peer = Arc::clone(self);
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let mut stream = BufReader::new(stream);
                    let hello = FromProxy::Hello {
                        version: "0".into(),
                        pid: 1,
                        generation: peer.generation(),
                    };
                    let mut reply = Some(hello);
                    let mut line = String::new();
                    while let Some(message) = reply.take() {
                        let mut bytes = serde_json::to_vec(&message).unwrap();
                        bytes.push(b'\n');
                        if stream.write_all(&bytes).await.is_err() {
                            break;
                        }
                        line.clear();
                        if stream.read_line(&mut line).await.unwrap_or(0) > 0 {
                            reply = Some(peer.answer(serde_json::from_str(&line).unwrap()));
                        }
                    }
                }
            }
        });
    }

    fn answer(&self, message: ToProxy) -> FromProxy {
        match message {
            ToProxy::Apply(_) if self.refuses.load(Ordering::Relaxed) => {
                FromProxy::Refused { message: "no".into() }
            }
            ToProxy::Apply(table) => {
                let generation = table.generation;
                assert!(generation > self.generation(), "generations only grow");
                self.tables.lock().unwrap().push(*table);
                FromProxy::Applied { generation, swap_ns: 41_000 }
            }
            ToProxy::Snapshot => FromProxy::Snapshot(Box::new(Snapshot {
                generation: self.generation(),
                pools: self.retired.lock().unwrap().clone(),
                ..Snapshot::default()
            })),
            hangup @ ToProxy::Hangup { .. } => {
                self.hangups.lock().unwrap().push(hangup);
                FromProxy::Done
            }
            ToProxy::AccessLog(_) => FromProxy::Done,
        }
    }

    fn generation(&self) -> Generation {
        self.tables.lock().unwrap().last().map_or(Generation(0), |table| table.generation)
    }

    /// The colors that serve, by service.
    fn serving(&self) -> Vec<(String, Vec<Color>)> {
        let tables = self.tables.lock().unwrap();
        let services = tables.last().map(|table| table.services.clone()).unwrap_or_default();
        let colors =
            |s: &cutover_proxy::table::ServiceSpec| s.pools.iter().map(|p| p.color).collect();
        services.iter().map(|s| (s.name.to_string(), colors(s))).collect()
    }

    fn retire(&self, color: Color, generation: Generation) {
        self.retired.lock().unwrap().push(PoolStats {
            service: "web".parse().unwrap(),
            color,
            generation,
            retired: true,
            requests: 1,
            streams: 1,
            endpoints: Vec::new(),
        });
    }
}

/// An app that is well as long as the flag says so.
pub(crate) async fn app() -> (SocketAddr, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let well = Arc::new(AtomicBool::new(true));
    let health = Arc::clone(&well);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let status = if health.load(Ordering::Relaxed) { "200 OK" } else { "503 Not Yet" };
            read_head(&mut stream).await;
            let reply =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(reply.as_bytes()).await.ok();
        }
    });
    (address, well)
}

async fn read_head(stream: &mut TcpStream) {
    let mut line = String::new();
    let mut reader = BufReader::new(stream);
    while reader.read_line(&mut line).await.is_ok_and(|n| n > 2) {
        line.clear();
    }
}

pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    peer: Arc<Peer>,
    pub(crate) controller: Controller,
    pub(crate) green: Arc<AtomicBool>,
    config: Config,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let peer = Arc::new(Peer::default());
        peer.listen(&dir.path().join("proxy.sock"));
        let (blue, _) = app().await;
        let (green, well) = app().await;
        let mut service = ServiceConfig {
            blue: vec![fixed(blue)],
            green: vec![fixed(green)],
            ..ServiceConfig::default()
        };
        service.probe.kind = root_path();
        service.probe.interval = Duration::from_millis(20);
        service.drain.timeout = Duration::from_millis(50);
        service.drain.streams = Duration::from_millis(300);
        let services =
            [("web".parse().unwrap(), service.clone()), ("api".parse().unwrap(), service)];
        let config = Config { services: services.into(), ..Config::default() };
        let controller = Self::start(&dir, &config);
        let fixture = Self { dir, peer, controller, green: well, config };
        fixture.until(|fixture| fixture.controller.unready().is_none()).await;
        fixture
    }

    fn start(dir: &tempfile::TempDir, config: &Config) -> Controller {
        let store = Arc::new(Disk::new(dir.path().join("state")));
        let link = dir.path().join("proxy.sock");
        let status = ConfigStatus { ok: true, ..ConfigStatus::default() };
        Controller::start(config.clone(), status, Outside::new(store, &link))
    }

    pub(crate) async fn until(&self, met: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !met(self) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), waiting).await.expect("it never came to be");
    }

    fn web(&self) -> Vec<Color> {
        self.colors("web")
    }

    /// The colors of a service in the table that is live.
    pub(crate) fn colors(&self, service: &str) -> Vec<Color> {
        let serving = self.peer.serving();
        serving
            .into_iter()
            .find(|(name, _)| name == service)
            .map(|(_, colors)| colors)
            .unwrap_or_default()
    }
}

impl Fixture {
    /// The endpoints of a service in the table that is live, and whether they are up.
    pub(crate) fn endpoints(&self, service: &str) -> Vec<(String, bool)> {
        let tables = self.peer.tables.lock().unwrap();
        let services = tables.last().map(|table| table.services.clone()).unwrap_or_default();
        let ours = services.iter().filter(|s| s.name.as_str() == service);
        let endpoints = ours.flat_map(|s| &s.pools).flat_map(|pool| &pool.endpoints);
        endpoints.map(|e| (e.id.to_string(), e.up)).collect()
    }
}

impl Controller {
    /// The name of a place of this controller where a panic may be injected.
    pub(crate) fn point(&self, name: &str) -> String {
        format!("{name} of {:p}", Arc::as_ptr(&self.0))
    }
}

fn root_path() -> ProbeKind {
    let (method, path) = ("GET".into(), "/".into());
    ProbeKind::Http { method, path, host: None, status: vec![(200, 399)] }
}

fn fixed(address: SocketAddr) -> StaticEndpoint {
    StaticEndpoint { host: address.ip().to_string(), port: address.port(), weight: 1 }
}

pub(crate) fn web() -> ServiceName {
    "web".parse().unwrap()
}

#[tokio::test]
async fn a_flip_answers_when_its_table_is_live() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.web(), [Color::Blue]);
    let flipped = fixture.controller.flip(&web(), Target::Green, false).await.unwrap();
    assert_eq!((flipped.from, flipped.to, flipped.flip_us), (Target::Blue, Target::Green, 41));
    assert_eq!(fixture.web(), [Color::Green]);
    assert_eq!(flipped.generation, fixture.peer.generation());
    assert_eq!(fixture.peer.serving().first(), Some(&("api".into(), vec![Color::Blue])));
}

#[test]
fn a_restarted_controller_serves_the_same_color_under_a_higher_number() {
    let life = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = life();
    let fixture = first.block_on(async {
        let fixture = Fixture::new().await;
        fixture.controller.flip(&web(), Target::Green, false).await.unwrap();
        fixture
    });
    drop(first);
    let tables = fixture.peer.tables.lock().unwrap().len();
    life().block_on(async {
        fixture.peer.listen(&fixture.dir.path().join("proxy.sock"));
        let again = Fixture::start(&fixture.dir, &fixture.config);
        fixture.until(|_| again.unready().is_none()).await;
    });
    // That the number is higher is asserted by the peer.
    assert!(fixture.peer.tables.lock().unwrap().len() > tables);
    assert_eq!(fixture.web(), [Color::Green]);
}

#[test]
fn a_flip_by_force_that_a_crash_cuts_short_is_finished_by_force() {
    let life = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = life();
    let fixture = first.block_on(async {
        let fixture = Fixture::new().await;
        fixture.green.store(false, Ordering::Relaxed);
        // Without the turn it comes no further than to its intent.
        let turn = fixture.controller.0.turn.lock().await;
        let flips = fixture.controller.clone();
        tokio::spawn(async move { flips.flip(&web(), Target::Green, true).await });
        let journal = || Disk::new(fixture.dir.path().join("state")).load().journal;
        fixture.until(|_| journal().intent.is_some()).await;
        drop(turn);
        fixture
    });
    drop(first);
    life().block_on(async {
        fixture.peer.listen(&fixture.dir.path().join("proxy.sock"));
        let again = Fixture::start(&fixture.dir, &fixture.config);
        let green_fails = |state: &State| {
            state.endpoints(&web(), Color::Green).into_iter().all(|endpoint| {
                let health = state.health(&(web(), Color::Green, endpoint.id));
                health.is_some_and(|health| health.last().is_some() && !health.up())
            })
        };
        fixture.until(|_| again.unready().is_none() && again.state(green_fails)).await;
        again.observe(|_| {}).await.unwrap();
    });
    assert_eq!(fixture.web(), [Color::Green]);
    assert!(fixture.endpoints("web").iter().all(|(_, up)| *up), "it fails its probes, and serves");
}

#[tokio::test]
async fn a_flip_to_what_serves_already_changes_nothing() {
    let fixture = Fixture::new().await;
    let tables = fixture.peer.tables.lock().unwrap().len();
    let flipped = fixture.controller.flip(&web(), Target::Blue, false).await.unwrap();
    assert_eq!((flipped.flip_us, flipped.generation), (0, fixture.peer.generation()));
    assert_eq!(fixture.peer.tables.lock().unwrap().len(), tables);
}

#[tokio::test]
async fn a_flip_to_a_color_that_is_not_well_is_refused_with_its_answer_unless_forced() {
    let fixture = Fixture::new().await;
    fixture.green.store(false, Ordering::Relaxed);
    let refused = fixture.controller.flip(&web(), Target::Green, false).await.unwrap_err();
    assert!(matches!(refused, Error::ProbeFailed { .. }), "{refused:?}");
    assert!(refused.to_string().contains("HTTP 503"), "{refused}");
    assert_eq!(fixture.web(), [Color::Blue]);
    fixture.controller.flip(&web(), Target::Green, true).await.unwrap();
    assert_eq!(fixture.web(), [Color::Green]);
}

#[tokio::test]
async fn a_panic_in_the_background_is_counted_and_the_work_begins_anew() {
    let fixture = Fixture::new().await;
    let config = fixture.config.services[&web()].clone();
    let green = SocketAddr::new("127.0.0.1".parse().unwrap(), config.green[0].port);
    let points = [
        format!("probe of {green}"),
        fixture.controller.point("publishing"),
        fixture.controller.point("watching drains"),
    ];
    let panics = crate::panics::count();
    points.iter().for_each(|point| crate::panics::inject(point));
    fixture.controller.flip(&web(), Target::Green, false).await.unwrap();
    // Each is seen to go on by what only it does.
    fixture.green.store(false, Ordering::Relaxed);
    let up = |fixture: &Fixture| {
        let tables = fixture.peer.tables.lock().unwrap();
        let web = tables.last().unwrap().services.iter().find(|s| s.name == web()).cloned();
        web.unwrap().pools[0].endpoints[0].up
    };
    fixture.until(|fixture| !up(fixture)).await;
    fixture.until(|fixture| fixture.controller.state(|state| state.drains().is_idle())).await;
    fixture.until(|_| points.iter().all(|point| !crate::panics::is_due(point))).await;
    assert!(crate::panics::count() >= panics + 3);
    let metrics = crate::http::metrics::render(&fixture.controller).await;
    assert!(!metrics.contains("cutover_panics_total 0\n"), "{metrics}");
    fixture.green.store(true, Ordering::Relaxed);
    fixture.until(up).await;
}

#[tokio::test]
async fn a_panic_in_the_middle_of_a_change_is_an_error_and_the_next_change_goes_through() {
    let fixture = Fixture::new().await;
    crate::panics::inject(&fixture.controller.point("swap"));
    let error = fixture.controller.flip(&web(), Target::Green, false).await.unwrap_err();
    assert!(matches!(error, Error::Failed(_)), "{error:?}");
    assert_eq!(fixture.web(), [Color::Blue]);
    fixture.controller.flip(&web(), Target::Green, false).await.unwrap();
    assert_eq!(fixture.web(), [Color::Green]);
}

#[tokio::test]
async fn several_services_change_in_one_table() {
    let fixture = Fixture::new().await;
    let green = Weights::of(Target::Green);
    let changes = [(web(), green), ("api".parse().unwrap(), green)];
    let applied = fixture.controller.set_weights(&changes, None).await.unwrap();
    let tables = fixture.peer.tables.lock().unwrap().clone();
    let table = tables.iter().find(|table| table.generation == applied.generation).unwrap();
    assert!(table.services.iter().all(|s| s.pools.iter().all(|p| p.color == Color::Green)));
    for older in tables.iter().filter(|table| table.generation < applied.generation) {
        assert!(older.services.iter().all(|s| s.pools.iter().all(|p| p.color == Color::Blue)));
    }
}

#[tokio::test]
async fn a_refused_table_leaves_the_old_color_in_world_and_journal() {
    let fixture = Fixture::new().await;
    fixture.peer.refuses.store(true, Ordering::Relaxed);
    let error = fixture.controller.flip(&web(), Target::Green, true).await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
    let journal = Disk::new(fixture.dir.path().join("state")).load().journal;
    assert_eq!(journal.services[&web()].weights, Some(Weights::of(Target::Blue)));
    assert_eq!(journal.intent, None);
}

#[tokio::test]
async fn what_is_live_already_is_no_intent_for_the_next_start() {
    let fixture = Fixture::new().await;
    let intent = || Disk::new(fixture.dir.path().join("state")).load().journal.intent;
    let blue = [(web(), Weights::of(Target::Blue))];
    // As a rollout that goes on after a crash notes again what it is about to do.
    fixture.controller.intend(&blue);
    fixture.controller.save().await.unwrap();
    assert!(intent().is_some());
    fixture.controller.set_weights(&blue, None).await.unwrap();
    fixture.until(|_| intent().is_none()).await;
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_refuses_flips_and_goes_on_serving() {
    let fixture = Fixture::new().await;
    let in_the_way = fixture.dir.path().join("state/state.json.new");
    fixture.until(|_| !in_the_way.exists()).await;
    std::fs::create_dir_all(&in_the_way).unwrap();
    let error = fixture.controller.flip(&web(), Target::Green, true).await.unwrap_err();
    assert!(matches!(error, Error::StateUnwritable { .. }), "{error:?}");
    assert_eq!(fixture.web(), [Color::Blue]);
    std::fs::remove_dir(&in_the_way).unwrap();
    fixture.controller.flip(&web(), Target::Green, true).await.unwrap();
    assert_eq!(fixture.web(), [Color::Green]);
}

#[tokio::test]
async fn deadlines_close_what_drains_first_requests_then_everything() {
    let fixture = Fixture::new().await;
    fixture.peer.retire(Color::Blue, fixture.peer.generation());
    let flipped = fixture.controller.flip(&web(), Target::Green, true).await.unwrap();
    fixture.until(|fixture| fixture.peer.hangups.lock().unwrap().len() > 3).await;
    let hangups = fixture.peer.hangups.lock().unwrap().clone();
    let wanted = |what| ToProxy::Hangup {
        service: web(),
        color: Color::Blue,
        before: flipped.generation,
        what,
    };
    assert_eq!(hangups.first(), Some(&wanted(cutover_proxy::table::Hangup::Requests)));
    assert_eq!(hangups.last(), Some(&wanted(cutover_proxy::table::Hangup::Everything)));
    fixture.peer.retired.lock().unwrap().clear();
    let drained =
        fixture.controller.drained(&web(), Color::Blue, flipped.generation).await.unwrap();
    assert!(drained.longest >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_flip_back_ends_the_deadlines() {
    let (fixture, web) = (Fixture::new().await, web());
    fixture.peer.retire(Color::Blue, fixture.peer.generation());
    let flipped = fixture.controller.flip(&web, Target::Green, true).await.unwrap();
    let waiting = fixture.controller.drained(&web, Color::Blue, flipped.generation);
    let (outcome, back) = tokio::join!(waiting, fixture.controller.flip(&web, Target::Blue, true));
    back.unwrap();
    assert_eq!(outcome, None);
    assert!(fixture.controller.state(|state| !state.drains().is_draining(
        &web,
        Color::Blue,
        Generation(u64::MAX),
        &[]
    )));
}

#[tokio::test]
async fn a_pause_reaches_the_table_and_outlives_a_restart() {
    let fixture = Fixture::new().await;
    let pause = Pause { writes_only: true, max_pause: Duration::from_secs(30) };
    fixture.controller.pause(&web(), pause).await.unwrap();
    let state = Disk::new(fixture.dir.path().join("state")).load().journal;
    assert_eq!(state.services[&web()].pause, Some(pause));
    fixture.controller.resume(&web()).await.unwrap();
    let table = fixture.peer.tables.lock().unwrap().last().cloned().unwrap();
    assert!(table.services.iter().all(|service| service.pause.is_none()));
}

#[tokio::test]
async fn a_locked_service_takes_no_flip_until_its_rollout_is_over() {
    let fixture = Fixture::new().await;
    let lock =
        fixture.controller.locks().take(&[web()], &LockOwner::new("deploy", Some("ann"))).unwrap();
    let refused = fixture.controller.flip(&web(), Target::Green, true).await.unwrap_err();
    assert!(matches!(refused, Error::RolloutInProgress { .. }));
    assert!(refused.to_string().contains("deploy by ann, since 2"), "{refused}");
    let other = LockOwner::new("rollback", None);

    assert!(fixture.controller.locks().take(&["api".parse().unwrap(), web()], &other).is_err());
    let waits = fixture.controller.clone();
    let waiting = tokio::spawn(async move {
        waits.locks().take_within(&[web()], &other, Duration::from_secs(20)).await.is_ok()
    });
    tokio::task::yield_now().await;
    drop(lock);
    assert!(waiting.await.unwrap());
}

#[tokio::test]
async fn until_ready_waits_for_an_app_that_starts_slowly_and_gives_up_with_its_last_answer() {
    let (fixture, web) = (Fixture::new().await, web());
    fixture.green.store(false, Ordering::Relaxed);
    let soon = Instant::now() + Duration::from_millis(100);
    let error = fixture.controller.until_ready(&web, Color::Green, &[], soon).await.unwrap_err();
    assert!(error.to_string().contains("HTTP 503"), "{error}");
    let later = Instant::now() + Duration::from_secs(20);
    let (ready, ()) =
        tokio::join!(fixture.controller.until_ready(&web, Color::Green, &[], later), async {
            fixture.green.store(true, Ordering::Relaxed)
        });
    assert_eq!(ready.unwrap().color(), Color::Green);
}

/// Apps of one address that take their time; and how many questions they had at once, at most.
async fn slow_apps(count: usize) -> (Vec<StaticEndpoint>, Arc<AtomicUsize>) {
    let (now, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let mut endpoints = Vec::new();
    for _ in 0..count {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        endpoints.push(fixed(listener.local_addr().unwrap()));
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                read_head(&mut stream).await;
                sleep(Duration::from_millis(20)).await;
                let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                now.fetch_sub(1, Ordering::Relaxed);
                stream.write_all(reply).await.ok();
            }
        });
    }
    (endpoints, most)
}

#[tokio::test]
async fn no_more_than_64_of_an_address_are_asked_at_once_be_it_for_a_flip() {
    let (green, most) = slow_apps(200).await;
    let dir = tempfile::tempdir().unwrap();
    Arc::new(Peer::default()).listen(&dir.path().join("proxy.sock"));
    let mut service = ServiceConfig { green, ..ServiceConfig::default() };
    service.probe.kind = root_path();
    let config = Config { services: [(web(), service)].into(), ..Config::default() };
    let controller = Fixture::start(&dir, &config);
    let ready = controller.ready_now(&web(), Color::Green).await.unwrap();
    assert_eq!(ready.endpoints().len(), 200);
    let most = most.load(Ordering::Relaxed);
    assert!((33..=64).contains(&most), "{most}");
}
