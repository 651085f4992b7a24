//! What the operator reads on stderr: one line each, harmless to a terminal.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// Starts logging at `info`, or as `RUST_LOG` says; `role` stands in every line.
pub(crate) fn start(role: &'static str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A second start (in a test) changes nothing.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .event_format(Line { role })
        .try_init()
        .ok();
}

/// `2026-11-20T18:43:39.123Z INFO proxy: listening address=0.0.0.0:80`.
#[derive(Debug)]
struct Line {
    role: &'static str,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = humantime::format_rfc3339_millis(std::time::SystemTime::now());
        let mut line = Fields::default();
        event.record(&mut line);
        let level = event.metadata().level();
        writeln!(writer, "{now} {level:>5} {}: {}{}", self.role, line.message, line.rest)
    }
}

#[derive(Debug, Default)]
struct Fields {
    message: String,
    rest: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}

impl Fields {
    fn add(&mut self, field: &Field, value: String) {
        let value = escape(&value);
        match field.name() {
            "message" => self.message = value,
            // What the `log` crate's bridge adds.
            name if name.starts_with("log.") => {}
            // Quoted, so that no value can look like another field.
            name if value.contains([' ', '=', '"']) => {
                let value = value.replace('"', "\\\"");
                self.rest.push_str(&format!(" {name}=\"{value}\""));
            }
            name => self.rest.push_str(&format!(" {name}={value}")),
        }
    }
}

/// Line breaks, other control characters, and what changes the order or the look of a line become
/// visible.
fn escape(text: &str) -> String {
    match text.contains(is_deceptive) {
        false => text.to_owned(),
        true => text
            .chars()
            .map(|c| if is_deceptive(c) { c.escape_default().to_string() } else { c.to_string() })
            .collect(),
    }
}

/// Controls, separators that end a line, bidirectional overrides, and characters without width.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{feff}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn a_value_cannot_start_a_line_of_its_own() {
        assert_eq!(escape("a\nb\u{1b}[2J"), "a\\nb\\u{1b}[2J");
        assert_eq!(escape("plain µs"), "plain µs");
    }

    #[test]
    fn a_value_cannot_turn_a_line_around_or_hide_in_it() {
        assert_eq!(escape("a\u{202e}b\u{2066}c"), "a\\u{202e}b\\u{2066}c");
        assert_eq!(escape("a\u{2028}b\u{200b}c\u{85}"), "a\\u{2028}b\\u{200b}c\\u{85}");
    }
}
