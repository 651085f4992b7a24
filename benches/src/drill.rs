//! Many flips under load, each answer judged.

mod clock;
mod course;
mod watch;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use serde::Serialize;

use crate::client::Ask;
use crate::control::{Control, Flip, FlipTimes};
use crate::drill::clock::Clock;
use crate::drill::course::{Color, Course};
use crate::drill::watch::{Seen, Watch};
use crate::generator::Crowd;
use crate::peer::Peer;
use crate::proxy::{Proxy, Services, Site, Subject};
use crate::rig::{self, Placement};
use crate::summary::percentile;
use crate::upstream::{Reach, Upstream};

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Drill {
    /// Flips in all.
    pub flips: u64,
    /// Flips in each second that has some.
    pub flips_per_second: u64,
    /// Requests of all clients in a second.
    pub requests_per_second: u32,
    /// Worker threads of the proxy.
    pub workers: usize,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Requests that began.
    pub requests: u64,
    /// Those without a whole answer of 2xx.
    pub failures: u64,
    /// Why the first of them failed.
    pub reasons: Vec<String>,
    /// Answers of the old color to requests that began after the flip was acknowledged.
    pub late_answers: u64,
    /// Of requests that began in a second without flips.
    pub calm: Latency,
    /// Of requests that began in a second with flips.
    pub flipping: Latency,
    /// What the flips took.
    pub times: FlipTimes,
}

/// Latencies in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// The median.
    pub p50_ms: f64,
    /// What one in a hundred exceeds.
    pub p99_ms: f64,
    /// The longest.
    pub longest_ms: f64,
}

impl Drill {
    /// Starts Cutover in front of an upstream of each color, and flips from one to the other under
    /// load.
    ///
    /// # Errors
    /// Fails when something cannot be started, or a flip is refused.
    pub fn run(&self, cutover: &Path, directory: &Path) -> anyhow::Result<Report> {
        let placement = Placement::Free2;
        let upstream =
            |color: Color| Upstream::start(placement, Reach::OneAddress, Some(color.as_str()));
        let (blue, green) = (upstream(Color::Blue)?, upstream(Color::Green)?);
        let sections = format!(
            "[services.{SERVICE}]\nactive = \"blue\"\nblue = [\"{}\"]\ngreen = [\"{}\"]\n\
             [services.{SERVICE}.probe]\npath = \"/health\"\n",
            blue.address, green.address
        );
        let services = Some(Services { sections, host: None });
        let subject = Subject { services, ..Subject::new(Peer::Cutover, self.workers) };
        let site = Site { cutover, directory, upstream: blue.address, placement };
        let proxy = Proxy::start(&subject, &site)?;

        let target = proxy.address;
        let per_second = Some(f64::from(self.requests_per_second));
        let crowd = Crowd { target, asks: asks(&target.to_string()), per_second, grace: PATIENCE };
        let (course, over) = (Course::default(), AtomicBool::new(false));
        let clock = Clock::start();
        let mut watch = Watch::new(crowd.asks.len(), &course, clock, &over);
        let flips = thread::scope(|scope| {
            let flipper = scope.spawn(|| {
                let flips = self.flip(&proxy.control(), &course, clock);
                over.store(true, Ordering::SeqCst);
                flips
            });
            crowd.run(&mut watch)?;
            flipper.join().map_err(|_| anyhow!("the thread that flips has panicked"))?
        })?;
        Ok(Report::new(watch.seen, &flips))
    }

    fn flip(&self, control: &Control, course: &Course, clock: Clock) -> anyhow::Result<Vec<Flip>> {
        let mut flips = Vec::new();
        for nth in 0..self.flips {
            let due = clock.due(nth, self.flips_per_second);
            rig::pause(due.saturating_duration_since(Instant::now()));
            ensure!(due.elapsed() < PATIENCE, "{nth} flips took too long: --flips-per-second");
            let to = course.start_flip();
            flips.push(control.flip(SERVICE, to.as_str())?);
            course.finish_flip();
        }
        let end = clock.end(self.flips, self.flips_per_second);
        rig::pause(end.saturating_duration_since(Instant::now()));
        Ok(flips)
    }
}

impl Report {
    fn new(seen: Seen, flips: &[Flip]) -> Self {
        Self {
            requests: seen.requests,
            failures: seen.failures,
            reasons: seen.reasons,
            late_answers: seen.late,
            calm: Latency::of(seen.calm_ms),
            flipping: Latency::of(seen.flipping_ms),
            times: FlipTimes::of(flips),
        }
    }

    /// Whether nobody noticed a flip.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failures == 0 && self.late_answers == 0
    }

    /// The report in words.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { requests, failures, late_answers, calm, flipping, times, .. } = self;
        let mut out = format!(
            "{requests} requests, {} flips\nfailures: {failures}\nlate answers: {late_answers}\n\
             latency in seconds with flips: {}\nlatency in the others:         {}\n",
            times.flips,
            flipping.words(),
            calm.words(),
        );
        out += &format!(
            "flip, from the call to the live table: median {:.2} ms, p99 {:.2} ms\n\
             flip, the swap alone (flip_us): median {:.0} us, p99 {:.0} us\n",
            times.call_ms.spread.median,
            times.call_ms.p99,
            times.flip_us.spread.median,
            times.flip_us.p99,
        );
        for reason in &self.reasons {
            out += &format!("failed: {reason}\n");
        }
        out
    }
}

impl Latency {
    fn of(mut list_ms: Vec<f64>) -> Self {
        list_ms.sort_unstable_by(f64::total_cmp);
        let at = |percent| percentile(&list_ms, percent);
        Self { p50_ms: at(50), p99_ms: at(99), longest_ms: at(100) }
    }

    fn words(&self) -> String {
        let Self { p50_ms, p99_ms, longest_ms } = self;
        format!("p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, longest {longest_ms:.1} ms")
    }
}

/// Kept and fresh connections; every fourth client uploads.
fn asks(host: &str) -> Vec<Ask> {
    (0..KEPT + FRESH)
        .map(|nth| {
            let (path, bytes) = if nth % 4 == 3 { ("/post", UPLOAD_BYTES) } else { ("/1k", 0) };
            Ask::new(host, path, bytes, nth >= KEPT)
        })
        .collect()
}

const SERVICE: &str = "web";
/// Clients that keep their connection, and clients that open one for each request.
const KEPT: usize = 32;
const FRESH: usize = 16;
const UPLOAD_BYTES: usize = 64 << 10;
/// For the last answers, and for a flip that is late.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_clean_without_failures_and_late_answers() {
        let report = |failures, late| {
            let calm_ms = vec![3.0, 1.0, 2.0];
            Report::new(Seen { requests: 3, failures, late, calm_ms, ..Seen::default() }, &[])
        };
        assert!(report(0, 0).is_clean());
        assert!(!report(1, 0).is_clean() && !report(0, 1).is_clean());
        assert!(report(0, 0).words().contains("p50 2.00 ms, p99 3.00 ms, longest 3.0 ms"));
    }

    #[test]
    fn both_kinds_of_connections_get_and_post() {
        let asks = asks("app.test");
        for close in [false, true] {
            let posts =
                asks.iter().filter(|ask| ask.close == close && ask.request.starts_with(b"POST"));
            let gets =
                asks.iter().filter(|ask| ask.close == close && ask.request.starts_with(b"GET"));
            assert!(posts.count() > 0 && gets.count() > 0);
        }
    }
}
