//! What the clients see of the flips.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::client::field;
use crate::drill::clock::Clock;
use crate::drill::course::{Color, Course, Mark};
use crate::generator::Observer;
use crate::upstream::COLOR_FIELD;

/// Judges every answer.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    course: &'a Course,
    clock: Clock,
    over: &'a AtomicBool,
    /// Of each client's present request.
    began: Vec<(Mark, Instant)>,
    /// What was seen so far.
    pub(super) seen: Seen,
}

/// What all clients have seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Requests that have begun.
    pub(super) requests: u64,
    /// Those without an answer of 2xx in full, and why the first of them.
    pub(super) failures: u64,
    /// Why the first of them failed.
    pub(super) reasons: Vec<String>,
    /// Answers of the color that no longer served when the request began.
    pub(super) late: u64,
    /// Latencies in milliseconds, of the seconds without flips.
    pub(super) calm_ms: Vec<f64>,
    /// Latencies in milliseconds, of the seconds with flips.
    pub(super) flipping_ms: Vec<f64>,
}

impl<'a> Watch<'a> {
    /// Watches so many clients until it is over.
    pub(super) fn new(
        clients: usize,
        course: &'a Course,
        clock: Clock,
        over: &'a AtomicBool,
    ) -> Self {
        let began = vec![(Mark::default(), Instant::now()); clients];
        Self { course, clock, over, began, seen: Seen::default() }
    }
}

impl Observer for Watch<'_> {
    fn goes_on(&mut self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    fn began(&mut self, client: usize) {
        self.seen.requests += 1;
        if let Some(began) = self.began.get_mut(client) {
            *began = (self.course.mark(), Instant::now());
        }
    }

    fn answered(&mut self, client: usize, head: &[u8], latency: Duration) {
        let Some((mark, began)) = self.began.get(client) else { return };
        match field(head, COLOR_FIELD).and_then(Color::from_word) {
            Some(color) if self.course.allows(*mark, color) => {}
            Some(_) => self.seen.late += 1,
            None => return self.failed(client, "an answer without a color"),
        }
        let latency_ms = latency.as_secs_f64() * 1e3;
        match self.clock.second(*began) {
            0 => {} // warms up
            second if Clock::has_flips(second) => self.seen.flipping_ms.push(latency_ms),
            _ => self.seen.calm_ms.push(latency_ms),
        }
    }

    fn failed(&mut self, client: usize, why: &str) {
        self.seen.failures += 1;
        if self.seen.reasons.len() < REASONS {
            self.seen.reasons.push(format!("client {client}: {why}"));
        }
    }
}

/// As many failures are told.
const REASONS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const BLUE: &[u8] = b"HTTP/1.1 200 OK\r\nx-color: blue\r\n\r\n";
    const GREEN: &[u8] = b"HTTP/1.1 200 OK\r\nx-color: green\r\n\r\n";

    #[test]
    fn an_answer_of_the_old_color_is_late_only_after_the_acknowledgment() {
        let (course, over) = (Course::default(), AtomicBool::new(false));
        let mut watch = Watch::new(2, &course, Clock::start(), &over);
        watch.began(0);
        course.start_flip();
        watch.began(1);
        course.finish_flip();
        watch.answered(0, BLUE, Duration::ZERO);
        watch.answered(1, BLUE, Duration::ZERO);
        assert_eq!((watch.seen.late, watch.seen.requests), (0, 2));
        watch.began(0);
        watch.began(1);
        watch.answered(0, GREEN, Duration::ZERO);
        watch.answered(1, BLUE, Duration::ZERO);
        assert_eq!((watch.seen.late, watch.seen.failures), (1, 0));
    }

    #[test]
    fn an_answer_of_no_color_is_a_failure_and_the_first_few_are_told() {
        let (course, over) = (Course::default(), AtomicBool::new(false));
        let mut watch = Watch::new(1, &course, Clock::start(), &over);
        for _ in 0..20 {
            watch.began(0);
            watch.answered(0, b"HTTP/1.1 200 OK\r\n\r\n", Duration::ZERO);
        }
        assert_eq!((watch.seen.failures, watch.seen.reasons.len()), (20, REASONS));
        assert_eq!(watch.seen.reasons.first().unwrap(), "client 0: an answer without a color");
    }
}
