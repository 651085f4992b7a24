//! `cutover history`: the revisions of a service.

use std::io::Write;

use comfy_table::{ContentArrangement, Table, presets};
use http::Method;
use serde_json::Value;

use super::client::{Client, segment};
use super::failure::{Failure, code};
use super::text::{milliseconds, plain};

/// Prints the revisions, the newest first as they come.
pub(super) async fn history(client: &Client, service: &str) -> Result<u8, Failure> {
    let path = format!("/v1/services/{}/history", segment(service));
    let document = client.document(Method::GET, &path, None).await?;
    let text = match client.json {
        true => document.text,
        false => render(&document.value),
    };
    writeln!(std::io::stdout(), "{text}").map_err(Failure::other)?;
    Ok(code::DONE)
}

fn render(history: &Value) -> String {
    let revisions = history.get("revisions").or_else(|| history.get("history")).unwrap_or(history);
    let revisions = revisions.as_array().map(Vec::as_slice).unwrap_or_default();
    if revisions.is_empty() {
        return "no rollout yet".to_owned();
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([
        "REVISION", "WHEN", "RESULT", "FLIP", "IMAGE", "BY", "TOOK", "FAILED", "REASON",
    ]);
    for revision in revisions {
        let flip = format!("{} -> {}", field(revision, &["from"]), field(revision, &["to"]));
        table.add_row([
            field(revision, &["revision"]),
            field(revision, &["at", "when", "started"]),
            field(revision, &["result"]),
            flip,
            field(revision, &["image"]),
            field(revision, &["by", "who"]),
            took(revision),
            field(revision, &["failed"]),
            field(revision, &["reason"]),
        ]);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// The first of the fields that is there.
fn field(revision: &Value, names: &[&str]) -> String {
    let found = names.iter().find_map(|name| revision.get(name).filter(|value| !value.is_null()));
    match found {
        Some(Value::String(text)) => plain(text).replace('\n', " "),
        Some(other) => other.to_string(),
        None => "-".to_owned(),
    }
}

fn took(revision: &Value) -> String {
    let whole = ["duration_ms", "ms"].iter().find_map(|name| revision.get(name)?.as_u64());
    let phases = revision.get("phases").and_then(Value::as_array).map(|phases| {
        phases.iter().filter_map(|phase| phase.get("ms")?.as_u64()).fold(0, u64::saturating_add)
    });
    whole.or(phases).map_or_else(|| "-".to_owned(), milliseconds)
}
