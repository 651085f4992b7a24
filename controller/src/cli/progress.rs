//! Long work as it goes on: a line that moves on a terminal, plain lines elsewhere. Always stderr.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use cutover_api::{Phase, RolloutEvent};
use indicatif::{ProgressBar, ProgressStyle};

use super::text::{count, plain};

/// Shows what comes in.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    last: String,
}

impl Progress {
    pub(super) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            style(&bar, SPINNER);
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, last: String::new() }
    }

    /// One event of the stream. A phase stays on the screen; what only counts is overwritten.
    pub(super) fn event(&mut self, event: &RolloutEvent) {
        let text = prose(event);
        if text == self.last {
            return;
        }
        match (&self.bar, event) {
            (Some(bar), RolloutEvent::Phase { .. }) => {
                style(bar, SPINNER);
                bar.set_message(String::new());
                bar.println(&text);
            }
            (Some(bar), RolloutEvent::Pull { bytes, total, .. }) if *total > 0 => {
                style(bar, BYTES);
                bar.set_length(*total);
                bar.set_position(*bytes);
            }
            (Some(bar), _) => bar.set_message(text.clone()),
            (None, _) => self.line(&text),
        }
        self.last = text;
    }

    /// A line that stays.
    pub(super) fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            // Nobody reads stderr: the exit code and stdout still tell the end.
            None => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

/// `web: pull, 40 of 100 MB`: the service, the phase, then what is known of it.
fn prose(event: &RolloutEvent) -> String {
    let phase = |phase: &Phase| phase.as_str().replace('_', " ");
    let text = match event {
        RolloutEvent::Drain { phase: at, color, requests, streams, .. } => format!(
            "{}, {color} has {} and {} in flight",
            phase(at),
            count(*requests, "request"),
            count(*streams, "stream")
        ),
        RolloutEvent::Phase { phase: at, .. } => phase(at),
        RolloutEvent::Probe { phase: at, answer, .. } => format!("{}, {answer}", phase(at)),
        RolloutEvent::Pull { phase: at, digest: Some(digest), .. } => {
            format!("{}, it is {digest}", phase(at))
        }
        RolloutEvent::Pull { phase: at, bytes, total, .. } => {
            let megabytes = |bytes: u64| bytes / 1_000_000;
            format!("{}, {} of {} MB", phase(at), megabytes(*bytes), megabytes(*total))
        }
    };
    format!("{}: {}", event.service(), plain(&text).replace('\n', " "))
}

const SPINNER: &str = "{spinner} [{elapsed}] {wide_msg}";
const BYTES: &str = "{spinner} [{elapsed}] pull {wide_bar} {bytes}/{total_bytes}";

#[cfg(test)]
mod tests {
    use cutover_proxy::table::Color;

    use super::*;

    #[test]
    fn an_event_is_a_sentence() {
        let service: cutover_proxy::table::ServiceName = "web".parse().unwrap();
        let event = RolloutEvent::Phase { service: service.clone(), phase: Phase::KeepWarm };
        assert_eq!(prose(&event), "web: keep warm");
        let (bytes, total) = (40_000_000, 100_000_000);
        let (phase, digest) = (Phase::Pull, None);
        let event = RolloutEvent::Pull { service: service.clone(), phase, bytes, total, digest };
        assert_eq!(prose(&event), "web: pull, 40 of 100 MB");
        let (phase, answer) = (Phase::Ready, "a\u{1b}b".to_owned());
        let event = RolloutEvent::Probe { service: service.clone(), phase, answer };
        assert_eq!(prose(&event), "web: ready, a\u{fffd}b");
        let (phase, color) = (Phase::Drain, Color::Blue);
        let event = RolloutEvent::Drain { service, phase, color, requests: 1, streams: 2 };
        assert_eq!(prose(&event), "web: drain, blue has 1 request and 2 streams in flight");
    }
}
