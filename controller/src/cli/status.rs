//! `cutover status`: one table that is read at a glance, and a live one.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Color as Paint, ContentArrangement, Table, presets};
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, Document};
use super::failure::{ErrorBody, Failure, code};
use super::text::{count, milliseconds, plain};

const REDRAW: Duration = Duration::from_secs(1);
/// Cursor home, clear below: no flicker, unlike clearing first.
const HOME: &str = "\x1b[H\x1b[J";

/// Prints the status, once or every second until interrupted.
pub(super) async fn status(
    client: &Client,
    service: Option<&str>,
    watch: bool,
) -> Result<u8, Failure> {
    if !watch {
        let document = fetch(client).await?;
        write(&show(client, &document, service)?)?;
        return Ok(code::DONE);
    }
    let terminal = std::io::stdout().is_terminal() && !client.json;
    loop {
        // A restart of the controller is something to watch, not an end.
        let text = match fetch(client).await {
            Ok(document) => show(client, &document, service)?,
            Err(failure) if terminal => failure.to_string(),
            Err(failure) => return Err(failure),
        };
        let home = if terminal { HOME } else { "" };
        if write(&format!("{home}{text}")).is_err() {
            return Ok(code::DONE);
        }
        tokio::select! {
            () = tokio::time::sleep(REDRAW) => {}
            _ = tokio::signal::ctrl_c() => return Ok(code::DONE),
        }
    }
}

async fn fetch(client: &Client) -> Result<Document, Failure> {
    client.document(Method::GET, "/v1/status", None).await
}

fn show(client: &Client, document: &Document, service: Option<&str>) -> Result<String, Failure> {
    if let Some(name) = service {
        let only = narrow(&document.value, name)?;
        return match client.json {
            true => Ok(format!("{only}\n")),
            false => Ok(render(&only)),
        };
    }
    match client.json {
        true => Ok(format!("{}\n", document.text)),
        false => Ok(render(&document.value)),
    }
}

/// The status with one service only.
fn narrow(status: &Value, name: &str) -> Result<Value, Failure> {
    let all = status.get("services").and_then(Value::as_array).cloned().unwrap_or_default();
    let names: Vec<&str> = all.iter().filter_map(|s| s.get("name")?.as_str()).collect();
    if !names.contains(&name) {
        return Err(Failure::Answered(ErrorBody {
            code: "unknown_service".to_owned(),
            message: format!("there is no service named `{name}`"),
            hint: Some(match names.is_empty() {
                true => "no service is configured yet".to_owned(),
                false => format!("there is {}", names.join(", ")),
            }),
        }));
    }
    let only: Vec<&Value> =
        all.iter().filter(|s| s.get("name").and_then(Value::as_str) == Some(name)).collect();
    let mut narrowed = status.clone();
    if let Some(fields) = narrowed.as_object_mut() {
        fields.insert("services".to_owned(), serde_json::json!(only));
    }
    Ok(narrowed)
}

fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::other)
}

/// What of the status is shown; the document may hold more, or less.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    version: String,
    generation: u64,
    config: ConfigStatus,
    services: Vec<Service>,
    left_out: Vec<LeftOut>,
    journal_error: Option<String>,
    docker_error: Option<String>,
    proxy: Option<Proxy>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConfigStatus {
    error: Option<String>,
    restart_needed: Vec<String>,
    warnings: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Proxy {
    connected: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LeftOut {
    container: String,
    reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Service {
    name: String,
    active: String,
    weights: Shares,
    paused: bool,
    waiting: u64,
    colors: Colors,
    draining: Vec<Draining>,
    rollout: Option<Value>,
    last_rollout: Option<LastRollout>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LastRollout {
    revision: u64,
    result: String,
    reason: Option<String>,
}

impl Service {
    /// That the last rollout did not bring its release in, and why.
    fn failed(&self) -> Option<String> {
        let last = self.last_rollout.as_ref().filter(|last| last.result != "done")?;
        let reason = last.reason.as_deref().unwrap_or("no reason is known");
        let result = last.result.replace('_', " ");
        Some(format!("{}: revision {} was {result}: {reason}", self.name, last.revision))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shares {
    blue: u64,
    green: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Colors {
    blue: ColorStatus,
    green: ColorStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ColorStatus {
    endpoints: Vec<Endpoint>,
    requests_in_flight: u64,
    streams_in_flight: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Endpoint {
    address: String,
    container: Option<String>,
    up: bool,
    ejected: bool,
    reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Draining {
    color: String,
    requests: u64,
    streams: u64,
    deadline_ms: Option<u64>,
}

fn render(status: &Value) -> String {
    let status = Status::deserialize(status).unwrap_or_default();
    let mut out = format!("Cutover {}, generation {}\n", plain(&status.version), status.generation);
    for problem in problems(&status) {
        writeln!(out, "! {}", plain(&problem)).ok();
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["SERVICE", "COLOR", "SHARE", "UP", "REQUESTS", "STREAMS", "STATE"]);
    for column in 2..6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for service in &status.services {
        add(&mut table, service, "blue", service.weights.blue, &service.colors.blue);
        add(&mut table, service, "green", service.weights.green, &service.colors.green);
    }
    match status.services.is_empty() {
        true => {
            out.push_str("no service yet: none in the config file, and no container with labels\n")
        }
        false => {
            for line in table.lines() {
                writeln!(out, "{}", line.trim_end()).ok();
            }
        }
    }
    for left in &status.left_out {
        writeln!(out, "left out: {}: {}", plain(&left.container), plain(&left.reason)).ok();
    }
    out
}

fn problems(status: &Status) -> Vec<String> {
    let mut problems = Vec::new();
    if status.proxy.as_ref().is_some_and(|proxy| !proxy.connected) {
        problems.push("the proxy does not answer; it is being restarted".to_owned());
    }
    if let Some(error) = &status.config.error {
        problems.push(format!("config not taken, the one before is live: {error}"));
    }
    if !status.config.restart_needed.is_empty() {
        problems.push(format!("needs a restart: {}", status.config.restart_needed.join(", ")));
    }
    problems.extend(status.config.warnings.iter().cloned());
    problems
        .extend(status.journal_error.iter().map(|error| format!("{error}; deploys are refused")));
    problems.extend(status.docker_error.iter().map(|error| {
        format!("Docker does not answer, what served serves on, deploys are refused: {error}")
    }));
    problems.extend(status.services.iter().filter_map(Service::failed));
    problems
}

fn add(table: &mut Table, service: &Service, color: &str, share: u64, status: &ColorStatus) {
    let serves = share > 0;
    let up = status.endpoints.iter().filter(|endpoint| endpoint.up).count();
    let total = status.endpoints.len();
    let name = if color == "blue" { plain(&service.name) } else { String::new() };
    let mut cells = vec![
        Cell::new(name),
        Cell::new(format!("{} {color}", if serves { "●" } else { "○" })),
        Cell::new(share),
        Cell::new(format!("{up}/{total}")),
        Cell::new(status.requests_in_flight),
        Cell::new(status.streams_in_flight),
        Cell::new(state(service, color, serves, status)),
    ];
    if serves {
        let paint = if up == 0 { Paint::Red } else { Paint::Green };
        cells = cells.into_iter().map(|cell| cell.fg(paint)).collect();
    }
    table.add_row(cells);
}

/// The rest of a color's line: what goes on, and what is wrong.
fn state(service: &Service, color: &str, serves: bool, status: &ColorStatus) -> String {
    let mut words = Vec::new();
    if serves {
        words.push(if service.paused { "paused".to_owned() } else { "active".to_owned() });
        if service.waiting > 0 {
            words.push(format!("{} waiting", service.waiting));
        }
    }
    for draining in service.draining.iter().filter(|draining| draining.color == color) {
        let deadline =
            draining.deadline_ms.map_or(String::new(), |ms| format!(", {} left", milliseconds(ms)));
        words.push(format!(
            "draining {} and {}{deadline}",
            count(draining.requests, "request"),
            count(draining.streams, "stream")
        ));
    }
    if color == "blue" || service.active == color {
        words.extend(service.rollout.as_ref().filter(|_| serves).map(rollout));
    }
    for endpoint in &status.endpoints {
        let name = endpoint.container.as_ref().unwrap_or(&endpoint.address);
        if !endpoint.up {
            let reason = endpoint.reason.as_deref().unwrap_or("not ready");
            words.push(format!("{}: {}", plain(name), plain(reason)));
        } else if endpoint.ejected {
            words.push(format!("{}: left out for now, connections failed", plain(name)));
        } else if let Some(reason) = &endpoint.reason {
            words.push(format!("{}: {}", plain(name), plain(reason)));
        }
    }
    words.join("; ").replace('\n', " ")
}

fn rollout(rollout: &Value) -> String {
    let field = |name: &str| rollout.get(name).and_then(Value::as_str).map(plain);
    match (field("phase"), field("to")) {
        (Some(phase), Some(to)) => format!("rollout to {to}: {phase}"),
        (Some(phase), None) => format!("rollout: {phase}"),
        _ => "rollout under way".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_at_a_glance() {
        let status = serde_json::json!({
            "version": "0.1.0", "generation": 12,
            "config": {"path": null, "ok": false, "error": "cutover.toml:3:1: bad"},
            "services": [{
                "name": "web", "active": "green", "weights": {"blue": 0, "green": 100}, "paused": false,
                "colors": {
                    "blue": {"endpoints": [{"address": "10.0.0.1:8000", "container": "web-blue-1", "up": false, "reason": "503\u{1b}[2J"}],
                             "requests_in_flight": 2, "streams_in_flight": 1},
                    "green": {"endpoints": [{"address": "10.0.0.2:8000", "container": null, "up": true, "reason": null}],
                              "requests_in_flight": 7, "streams_in_flight": 0},
                },
                "draining": [{"color": "blue", "generation": 11, "requests": 2, "streams": 1, "deadline_ms": 12_345}],
                "rollout": {"phase": "drain", "to": "green"},
            }],
            "left_out": [{"container": "web-x-1", "reason": "label cutover.prot: unknown key"}],
        });
        let text = render(&status);
        for part in [
            "generation 12",
            "config not taken, the one before is live: cutover.toml:3:1: bad",
            "○ blue",
            "● green",
            "0/1",
            "1/1",
            "draining 2 requests and 1 stream, 12.3 s left",
            "web-blue-1: 503\u{fffd}[2J",
            "rollout to green: drain",
            "left out: web-x-1: label cutover.prot: unknown key",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert_eq!(text.lines().count(), 6, "{text}");
    }

    #[test]
    fn a_status_of_another_version_is_shown_as_far_as_it_goes() {
        assert!(
            render(&serde_json::json!({"services": [{"name": "web"}], "more": 1})).contains("web")
        );
        assert!(render(&Value::Null).contains("no service yet"));
    }
}
