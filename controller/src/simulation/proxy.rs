//! A proxy in memory, which outlives the controller as the real one does: it keeps its table, its
//! pools and their work, and can crash, hang up or refuse.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use cutover_harness::Dice;
use cutover_proxy::link::{FromProxy, ToProxy};
use cutover_proxy::table::{Color, ServiceName};
use tokio::sync::Notify;

use super::pools::Pools;
use crate::engine::fake::FakeEngine;
use crate::serving::edge::connection::{Connect, Connection};
use crate::testing::crash_points::CrashPoints;

/// The proxy. Clones are the same one.
#[derive(Clone)]
pub(super) struct FakeProxy {
    shared: Arc<Shared>,
}

struct Shared {
    engine: FakeEngine,
    points: CrashPoints,
    process: Mutex<Process>,
    /// Its table or its links have changed.
    changed: Notify,
}

/// What is gone with the process, and what goes wrong.
struct Process {
    pid: u32,
    up: bool,
    /// Links of before are broken.
    link: u64,
    pools: Pools,
    dice: Dice,
    /// The answer to the next table gets lost, once it is live.
    mute: bool,
}

impl FakeProxy {
    pub(super) fn new(engine: FakeEngine, points: CrashPoints, seed: u64) -> Self {
        let process = Process {
            pid: 1,
            up: true,
            link: 0,
            pools: Pools::default(),
            dice: Dice::new(seed),
            mute: false,
        };
        let shared = Shared { engine, points, process: process.into(), changed: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Goes on in this runtime: links of the one before are broken, and clients ask on.
    pub(super) async fn serve(self) {
        self.hang_up();
        loop {
            tokio::time::sleep(TRAFFIC).await;
            let mut process = self.process();
            let Process { pools, dice, up: true, .. } = &mut *process else { continue };
            pools.traffic(&self.shared.engine, dice);
        }
    }

    /// Breaks the link.
    pub(super) fn hang_up(&self) {
        self.process().link += 1;
        self.shared.changed.notify_waiters();
    }

    /// Its process ends, and all its work with it.
    pub(super) fn crash(&self) {
        {
            let mut process = self.process();
            process.up = false;
            process.pools = Pools::default();
        }
        self.hang_up();
    }

    /// Another process of it starts, with nothing.
    pub(super) fn come_back(&self) {
        let mut process = self.process();
        process.up = true;
        process.pid += 1;
    }

    /// Makes the next table live and says nothing: its link breaks.
    pub(super) fn lose_an_answer(&self) {
        self.process().mute = true;
    }

    /// Whether it is up.
    pub(super) fn is_up(&self) -> bool {
        self.process().up
    }

    /// Waits until its table or its links have changed.
    pub(super) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// A client begins a stream on a container that serves, and never ends it.
    pub(super) fn hold_stream(&self, container: &str) {
        self.process().pools.hold_stream(container);
    }

    /// How much a container has in flight.
    pub(super) fn in_flight(&self, container: &str) -> usize {
        self.process().pools.in_flight(container)
    }

    /// Whether the live table names a container.
    pub(super) fn names(&self, container: &str) -> bool {
        self.process().pools.names(container)
    }

    /// The colors of a service in the live table.
    pub(super) fn colors(&self, service: &ServiceName) -> Vec<Color> {
        self.process().pools.colors(service)
    }

    /// Containers that requests of a service can go to now, and that answer.
    pub(super) fn serving(&self, service: &ServiceName) -> Vec<(Color, String)> {
        self.process().pools.serving(&self.shared.engine, service)
    }

    /// Its process, with what is over by now.
    fn process(&self) -> MutexGuard<'_, Process> {
        let mut process = self.shared.process.lock().unwrap();
        process.pools.advance(&self.shared.engine);
        process
    }

    /// What a message does, and the answer; `None` is lost with the link.
    fn take(&self, message: &ToProxy, link: u64) -> Option<FromProxy> {
        let mut process = self.process();
        if !process.up || process.link != link {
            return None;
        }
        Some(match message {
            ToProxy::Apply(table) => {
                if table.generation <= process.pools.generation() {
                    return Some(FromProxy::Refused { message: "no".into() });
                }
                process.pools.apply(table.as_ref().clone());
                if std::mem::take(&mut process.mute) {
                    process.link += 1;
                    return None;
                }
                FromProxy::Applied { generation: table.generation, swap_ns: 41_000 }
            }
            ToProxy::Snapshot => FromProxy::Snapshot(Box::new(process.pools.snapshot())),
            ToProxy::Hangup { service, color, before, what } => {
                process.pools.hang_up(service, *color, *before, *what);
                FromProxy::Done
            }
            ToProxy::AccessLog(_) => FromProxy::Done,
        })
    }
}

impl fmt::Debug for FakeProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeProxy")
    }
}

#[async_trait]
impl Connect for FakeProxy {
    async fn connect(&self) -> io::Result<Box<dyn Connection>> {
        self.shared.points.point("connect").await;
        let process = self.process();
        if !process.up {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let generation = process.pools.generation();
        let hello = FromProxy::Hello { version: "0".into(), pid: process.pid, generation };
        let (proxy, link) = (self.clone(), process.link);
        Ok(Box::new(FakeConnection { proxy, link, reply: Some((hello, None)) }))
    }
}

/// A link to it.
#[derive(Debug)]
struct FakeConnection {
    proxy: FakeProxy,
    link: u64,
    /// What is to be read next, and the place that is passed with it.
    reply: Option<(FromProxy, Option<String>)>,
}

#[async_trait]
impl Connection for FakeConnection {
    async fn write(&mut self, message: &ToProxy, _: Option<&File>) -> io::Result<()> {
        let place = place(message);
        self.proxy.shared.points.point(place.clone()).await;
        let reply = self.proxy.take(message, self.link);
        let changes = matches!(message, ToProxy::Apply(_) | ToProxy::Hangup { .. });
        self.reply = reply.map(|reply| (reply, changes.then(|| format!("{place}: done"))));
        self.proxy.shared.changed.notify_waiters();
        Ok(())
    }

    async fn read(&mut self) -> io::Result<FromProxy> {
        let Some((reply, place)) = self.reply.take() else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        if let Some(place) = place {
            self.proxy.shared.points.point(place).await;
        }
        Ok(reply)
    }

    async fn closed(&mut self) -> io::Error {
        loop {
            let changed = self.proxy.shared.changed.notified();
            if self.proxy.process().link != self.link {
                return io::ErrorKind::UnexpectedEof.into();
            }
            changed.await;
        }
    }
}

/// What a message is called in a trace.
fn place(message: &ToProxy) -> String {
    match message {
        ToProxy::Apply(table) => {
            let colors = table.services.iter().map(|service| {
                let colors: Vec<_> = service.pools.iter().map(|p| p.color.as_str()).collect();
                format!("{}={}", service.name, colors.join("+"))
            });
            format!("Apply {} {}", table.generation, colors.collect::<Vec<_>>().join(" "))
        }
        ToProxy::Snapshot => "Count".into(),
        ToProxy::Hangup { service, color, what, .. } => {
            format!("Hangup {service} {color} {what:?}")
        }
        ToProxy::AccessLog(_) => "AccessLog".into(),
    }
}

/// Between two requests of a service.
const TRAFFIC: Duration = Duration::from_millis(250);
