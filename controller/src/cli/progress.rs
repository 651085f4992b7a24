//! Long work as it goes on: a line that moves on a terminal, plain lines elsewhere. Always stderr.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::text::plain;

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
            if let Ok(style) = ProgressStyle::with_template("{spinner} [{elapsed}] {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, last: String::new() }
    }

    /// One event of the stream. A phase stays on the screen; what only counts is overwritten.
    pub(super) fn event(&mut self, event: &Value) {
        let text = prose(event);
        if text.is_empty() || text == self.last {
            return;
        }
        match &self.bar {
            Some(bar) if is_phase(event) => bar.println(&text),
            Some(bar) => bar.set_message(text.clone()),
            None => self.line(&text),
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

fn is_phase(event: &Value) -> bool {
    event.get("event").and_then(Value::as_str) == Some("phase")
}

/// `web: pull, layer 3 of 7`: the service, then a sentence if there is one, then the rest.
fn prose(event: &Value) -> String {
    let Some(fields) = event.as_object() else {
        return String::new();
    };
    let mut words = Vec::new();
    for name in ["event", "phase", "message", "line"] {
        match fields.get(name) {
            Some(Value::String(word)) if name != "event" || word != "phase" => {
                words.push(word.replace('_', " "));
            }
            _ => {}
        }
    }
    const SAID: [&str; 6] = ["at", "event", "phase", "message", "line", "service"];
    for (name, value) in fields.iter().filter(|(name, _)| !SAID.contains(&name.as_str())) {
        match value {
            Value::Null => {}
            Value::String(text) => words.push(format!("{} {text}", name.replace('_', " "))),
            other => words.push(format!("{} {other}", name.replace('_', " "))),
        }
    }
    let text = plain(&words.join(", ")).replace('\n', " ");
    match fields.get("service").and_then(Value::as_str) {
        Some(service) => format!("{}: {text}", plain(service)),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_sentence() {
        let event = json!({"at": "…", "event": "phase", "service": "web", "phase": "keep_warm"});
        assert_eq!(prose(&event), "web: keep warm");
        let event =
            json!({"event": "pull", "service": "web", "layer": "3/7", "percent": 40, "x": null});
        assert_eq!(prose(&event), "web: pull, layer 3/7, percent 40");
        assert_eq!(prose(&json!({"event": "log", "line": "a\u{1b}b"})), "log, a\u{fffd}b");
    }
}
