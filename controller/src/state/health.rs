//! How an endpoint is: what the answers of its probes add up to.

use std::time::Duration;

/// What one probe saw.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Whether it passes.
    pub passed: bool,
    /// Whether anybody took the connection, and kept it.
    pub reached: bool,
    /// For people: `HTTP 200`, `connection refused`.
    pub text: String,
    /// How long it took.
    pub took: Duration,
}

/// What the answers of one endpoint add up to: it takes several in a row to change our mind, so
/// that one slow answer does not empty a pool and one lucky answer does not fill it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Health {
    verdict: Verdict,
    /// Answers in a row against the verdict.
    against: u32,
    last: Option<Answer>,
}

impl Health {
    /// Not yet judged. A trusted endpoint counts as up until it has failed `fall` times in a row,
    /// any other as down until it has passed once.
    #[must_use]
    pub fn unjudged(trusted: bool) -> Self {
        Self { verdict: Verdict::Unjudged { trusted }, against: 0, last: None }
    }

    /// Whether it is fit to serve.
    #[must_use]
    pub fn up(&self) -> bool {
        matches!(self.verdict, Verdict::Up | Verdict::Unjudged { trusted: true })
    }

    /// Whether its probes have passed, so that it is up for a better reason than trust.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.verdict == Verdict::Up
    }

    /// Whether it is down because nobody takes connections there.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.verdict == Verdict::Down && self.last.as_ref().is_some_and(|last| !last.reached)
    }

    /// Takes an answer into account. `Some` when [`Health::up`] has changed, with its new value.
    pub fn record(&mut self, answer: Answer, rise: u32, fall: u32) -> Option<bool> {
        let before = self.up();
        // How many answers like this one, in a row, make the verdict.
        let needed = match (self.verdict, answer.passed) {
            (Verdict::Up, true) | (Verdict::Down, false) => 0,
            (Verdict::Down, true) => rise,
            (Verdict::Up | Verdict::Unjudged { trusted: true }, false) => fall,
            // The first answer ever will do: there is nothing to be wary of yet.
            (Verdict::Unjudged { .. }, _) => 1,
        };
        self.against = if needed == 0 { 0 } else { self.against + 1 };
        if needed > 0 && self.against >= needed {
            self.verdict = if answer.passed { Verdict::Up } else { Verdict::Down };
            self.against = 0;
        }
        self.last = Some(answer);
        (before != self.up()).then(|| self.up())
    }

    /// Makes it up at once: `rise` answers in a row have been seen elsewhere.
    pub fn ready(&mut self, answer: Answer) -> bool {
        let changed = !self.up();
        *self = Self { verdict: Verdict::Up, against: 0, last: Some(answer) };
        changed
    }

    /// How long to wait for the next question: shorter while it may be about to come up.
    #[must_use]
    pub fn interval(&self, interval: Duration) -> Duration {
        match self.verdict {
            Verdict::Unjudged { .. } => interval.min(EAGER),
            Verdict::Down if self.against > 0 => interval.min(EAGER),
            Verdict::Up | Verdict::Down => interval,
        }
    }

    /// The last answer.
    #[must_use]
    pub fn last(&self) -> Option<&Answer> {
        self.last.as_ref()
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Down,
    Unjudged { trusted: bool },
    Up,
}

/// Between questions to an endpoint that may be about to come up.
const EAGER: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
