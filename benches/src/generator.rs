//! A load generator: one thread, epoll; each client sends its next request at once, or when it is due.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::event::{Timespec, epoll};

use crate::client::{Ask, Client, Outcome};

/// The clients of a load.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// Whom they ask.
    pub target: SocketAddr,
    /// What each of them asks.
    pub asks: Vec<Ask>,
    /// Requests of all of them in a second. Each client has its own times, evenly spread; one that
    /// waits for its answer sends the next when that is there, and its latency counts from the time
    /// at which it was due.
    pub per_second: Option<f64>,
    /// How long to wait for answers once no more requests are to begin.
    pub grace: Duration,
}

/// Who is told what the clients see.
pub trait Observer {
    /// Whether more requests are to begin.
    fn goes_on(&mut self) -> bool;
    /// A client is about to send its first byte.
    fn began(&mut self, client: usize);
    /// It has its whole answer; `head` begins with the answer's head.
    fn answered(&mut self, client: usize, head: &[u8], latency: Duration);
    /// It will get none.
    fn failed(&mut self, client: usize, why: &str);
}

impl Crowd {
    /// Sends requests until the observer has seen enough.
    ///
    /// # Errors
    /// Fails when epoll itself fails; what goes wrong with a request is the observer's.
    pub fn run(&self, observer: &mut impl Observer) -> anyhow::Result<()> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let period =
            self.per_second.map(|rate| Duration::from_secs_f64(self.asks.len() as f64 / rate));
        let start = Instant::now();
        let slots = (0..).zip(&self.asks).map(|(nth, ask)| {
            let share = nth as f64 / self.asks.len() as f64;
            let due = start + period.unwrap_or_default().mul_f64(share);
            Slot { ask, client: None, due, since: None }
        });
        let slots = slots.collect();
        let mut run =
            Run { crowd: self, epoll, observer, slots, period, scratch: vec![0; 256 << 10] };
        run.until_done()
    }
}

struct Run<'a, O> {
    crowd: &'a Crowd,
    epoll: OwnedFd,
    observer: &'a mut O,
    slots: Vec<Slot<'a>>,
    /// Between two requests of one client.
    period: Option<Duration>,
    scratch: Vec<u8>,
}

struct Slot<'a> {
    ask: &'a Ask,
    client: Option<Client>,
    /// When the next request is to begin.
    due: Instant,
    /// From when the latency of the present request counts.
    since: Option<Instant>,
}

impl<O: Observer> Run<'_, O> {
    fn until_done(&mut self) -> anyhow::Result<()> {
        let mut events = Vec::with_capacity(256);
        let mut over = None;
        loop {
            let now = Instant::now();
            if !self.observer.goes_on() {
                let over = *over.get_or_insert(now);
                let waiting = self.slots.iter().any(|slot| slot.since.is_some());
                if !waiting || now >= over + self.crowd.grace {
                    break;
                }
            } else if self.next_due().is_some_and(|due| due <= now) {
                (0..self.slots.len()).try_for_each(|nth| self.begin_if_due(nth, now))?;
            }
            let wait =
                self.next_due().map_or(LONGEST_WAIT, |due| due.saturating_duration_since(now));
            let wait = Timespec::try_from(wait.min(LONGEST_WAIT))?;
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&wait))
            {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                self.drive(usize::try_from(event.data.u64())?)?;
            }
        }
        for (nth, _) in self.slots.iter().enumerate().filter(|(_, slot)| slot.since.is_some()) {
            if !self.crowd.grace.is_zero() {
                self.observer.failed(nth, "no answer in time");
            }
        }
        Ok(())
    }

    /// The earliest time at which an idle client is to send.
    fn next_due(&self) -> Option<Instant> {
        self.slots.iter().filter(|slot| slot.since.is_none()).map(|slot| slot.due).min()
    }

    fn begin_if_due(&mut self, nth: usize, now: Instant) -> anyhow::Result<()> {
        let due = self.slots.get(nth).is_some_and(|slot| slot.since.is_none() && slot.due <= now);
        if due { self.drive_new(nth) } else { Ok(()) }
    }

    /// Begins a request of an idle client.
    fn drive_new(&mut self, nth: usize) -> anyhow::Result<()> {
        let slot = self.slots.get_mut(nth).context("no such client")?;
        let now = Instant::now();
        // One that is late has been waiting since it was due.
        slot.since = Some(if self.period.is_some() { slot.due.min(now) } else { now });
        if let Some(client) = &mut slot.client {
            client.start();
        } else {
            match connect(&self.epoll, self.crowd.target, nth) {
                Ok(stream) => slot.client = Some(Client::new(stream)),
                Err(error) => {
                    self.observer.began(nth);
                    return self.end(nth, &Outcome::Failed(format!("connecting: {error}")));
                }
            }
        }
        self.observer.began(nth);
        self.drive(nth)
    }

    fn drive(&mut self, nth: usize) -> anyhow::Result<()> {
        let slot = self.slots.get_mut(nth).context("no such client")?;
        let (Some(client), Some(_)) = (&mut slot.client, slot.since) else {
            return Ok(()); // closed while it is idle: its next request will tell
        };
        match client.drive(&slot.ask.request, &mut self.scratch) {
            Outcome::Waits => Ok(()),
            outcome => self.end(nth, &outcome),
        }
    }

    /// A request is over, one way or the other.
    fn end(&mut self, nth: usize, outcome: &Outcome) -> anyhow::Result<()> {
        let slot = self.slots.get_mut(nth).context("no such client")?;
        let latency = slot.since.take().map(|since| since.elapsed()).unwrap_or_default();
        slot.due = match self.period {
            Some(period) => slot.due + period,
            None => Instant::now(),
        };
        match (outcome, &slot.client) {
            (Outcome::Failed(why), client) => {
                self.observer.failed(nth, why);
                if client.is_none() {
                    slot.due = slot.due.max(Instant::now() + AFTER_REFUSAL);
                }
                slot.client = None;
            }
            (_, Some(client)) => self.observer.answered(nth, client.head(), latency),
            (_, None) => {}
        }
        if slot.ask.close {
            slot.client = None;
        }
        Ok(())
    }
}

fn connect(epoll: &OwnedFd, target: SocketAddr, nth: usize) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(target)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let edge = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
    epoll::add(epoll, &stream, epoll::EventData::new_u64(nth as u64), edge)?;
    Ok(stream)
}

/// How long nothing is looked at while no request is due.
const LONGEST_WAIT: Duration = Duration::from_millis(50);
/// Before a client that could not connect tries again.
const AFTER_REFUSAL: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::field;
    use crate::rig;
    use crate::upstream::{self, COLOR_FIELD};

    /// What the clients saw, and how many requests are enough.
    #[derive(Default)]
    struct Seen {
        enough: usize,
        begun: usize,
        colors: Vec<Vec<u8>>,
        failures: Vec<String>,
    }

    impl Observer for Seen {
        fn goes_on(&mut self) -> bool {
            self.begun < self.enough
        }

        fn began(&mut self, _: usize) {
            self.begun += 1;
        }

        fn answered(&mut self, _: usize, head: &[u8], _: Duration) {
            self.colors.push(field(head, COLOR_FIELD).unwrap().to_vec());
        }

        fn failed(&mut self, _: usize, why: &str) {
            self.failures.push(why.to_owned());
        }
    }

    fn crowd(target: SocketAddr, per_second: Option<f64>) -> Crowd {
        let ask = |close, bytes| Ask::new("app.test", "/post", bytes, close);
        let asks = vec![ask(false, 0), ask(true, 0), ask(false, 70_000), ask(true, 70_000)];
        Crowd { target, asks, per_second, grace: Duration::from_secs(10) }
    }

    #[test]
    fn every_request_that_began_is_answered() {
        let address = rig::free_address().unwrap();
        std::thread::spawn(move || upstream::serve(address, Some("blue")));
        rig::wait_until("the upstream", || Ok(TcpStream::connect(address).is_ok())).unwrap();
        for per_second in [None, Some(2000.0)] {
            let mut seen = Seen { enough: 200, ..Seen::default() };
            let start = Instant::now();
            crowd(address, per_second).run(&mut seen).unwrap();
            assert_eq!(seen.failures, Vec::<String>::new());
            assert!(seen.begun >= 200 && seen.colors.len() == seen.begun, "{}", seen.begun);
            assert!(seen.colors.iter().all(|color| color == b"blue"));
            if per_second.is_some() {
                assert!(start.elapsed() > Duration::from_millis(90), "{:?}", start.elapsed());
            }
        }
    }

    #[test]
    fn a_refused_connection_is_a_failure_and_is_tried_again() {
        let mut seen = Seen { enough: 8, ..Seen::default() };
        crowd(rig::free_address().unwrap(), None).run(&mut seen).unwrap();
        assert!(seen.begun >= 8 && seen.failures.len() == seen.begun, "{}", seen.begun);
        assert!(seen.failures.iter().all(|why| why.starts_with("connecting: ")));
    }
}
