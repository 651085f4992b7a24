//! The status as a table, with what is wrong above it.

use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, Color as Paint, ContentArrangement, Table, presets};
use cutover_api::{
    ColorStatus, DockerStatus, DrainStatus, Ending, EndpointStatus, LastRollout, RolloutStatus,
    ServiceStatus, Status,
};
use cutover_proxy::table::Color;

use crate::cli::text::{count, milliseconds, plain};

/// The whole picture.
pub(super) fn render(status: &Status) -> String {
    let mut out = format!("Cutover {}, generation {}\n", plain(&status.version), status.generation);
    if let Some(DockerStatus { version: Some(version), api_version, .. }) = &status.docker {
        let api = api_version.as_deref().unwrap_or("unknown");
        writeln!(out, "Docker {} (API {})", plain(version), plain(api)).ok();
    }
    for problem in problems(status) {
        writeln!(out, "! {}", plain(&problem)).ok();
    }
    match status.services.is_empty() {
        true => {
            out.push_str("no service yet: none in the config file, and no container with labels\n")
        }
        false => {
            for line in table(&status.services).lines() {
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
    if !status.proxy.connected {
        problems.push("the proxy does not answer; it is being restarted".to_owned());
    }
    if let Some(error) = &status.config.error {
        problems.push(format!("config not taken, the one before is live: {error}"));
    }
    if !status.config.restart_needed.is_empty() {
        problems.push(format!("needs a restart: {}", status.config.restart_needed.join(", ")));
    }
    problems.extend(status.config.warnings.iter().cloned());
    problems.extend(status.journal_notes.iter().cloned());
    problems
        .extend(status.journal_error.iter().map(|error| format!("{error}; deploys are refused")));
    problems.extend(status.docker_error.iter().map(|error| {
        format!("Docker does not answer, what served serves on, deploys are refused: {error}")
    }));
    for service in &status.services {
        problems.extend(service.note.iter().map(|note| format!("{}: {note}", service.name)));
        let failed = service.last_rollout.as_ref().filter(|last| last.result != Ending::Done);
        problems.extend(failed.map(|last| failure(service, last)));
    }
    problems
}

/// That the last rollout did not bring its release in, and why.
fn failure(service: &ServiceStatus, last: &LastRollout) -> String {
    let reason = last.reason.as_deref().unwrap_or("no reason is known");
    let result = last.result.as_str().replace('_', " ");
    format!("{}: revision {} was {result}: {reason}", service.name, last.revision)
}

fn table(services: &[ServiceStatus]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["SERVICE", "COLOR", "SHARE", "UP", "REQUESTS", "STREAMS", "STATE"]);
    for column in 2..6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for service in services {
        for (color, status) in service.colors.iter() {
            table.add_row(row(service, color, status));
        }
    }
    table
}

fn row(service: &ServiceStatus, color: Color, status: &ColorStatus) -> Vec<Cell> {
    let serves = service.weights.serves(color);
    let up = status.endpoints.iter().filter(|endpoint| endpoint.up).count();
    let name = if color == Color::Blue { service.name.as_str() } else { "" };
    let mut cells = vec![
        Cell::new(name),
        Cell::new(format!("{} {color}", if serves { "●" } else { "○" })),
        Cell::new(service.weights.color(color)),
        Cell::new(format!("{up}/{}", status.endpoints.len())),
        Cell::new(status.requests_in_flight),
        Cell::new(status.streams_in_flight),
        Cell::new(state(service, color, status)),
    ];
    if serves {
        let paint = if up == 0 { Paint::Red } else { Paint::Green };
        cells = cells.into_iter().map(|cell| cell.fg(paint)).collect();
    }
    cells
}

/// The last cell of a color's row: what goes on, and what is wrong.
fn state(service: &ServiceStatus, color: Color, status: &ColorStatus) -> String {
    let serves = service.weights.serves(color);
    let mut words = Vec::new();
    if serves {
        words.push(if service.paused { "paused".to_owned() } else { "active".to_owned() });
        if service.waiting > 0 {
            words.push(format!("{} waiting", service.waiting));
        }
    }
    words.extend(service.draining.iter().filter(|drain| drain.color == color).map(drain));
    if serves && (color == Color::Blue || !service.weights.serves(Color::Blue)) {
        words.extend(service.rollout.as_ref().map(rollout));
    }
    words.extend(status.endpoints.iter().filter_map(endpoint));
    words.join("; ").replace('\n', " ")
}

fn drain(drain: &DrainStatus) -> String {
    let left = drain.deadline_ms.map(|ms| format!(", {} left", milliseconds(ms)));
    let (requests, streams) = (count(drain.requests, "request"), count(drain.streams, "stream"));
    format!("draining {requests} and {streams}{}", left.unwrap_or_default())
}

fn rollout(rollout: &RolloutStatus) -> String {
    let RolloutStatus { kind, revision, to, phase, .. } = rollout;
    format!("{kind} of revision {revision} to {to}: {}", phase.as_str().replace('_', " "))
}

/// What is wrong with an endpoint, if anything.
fn endpoint(endpoint: &EndpointStatus) -> Option<String> {
    let name = plain(endpoint.container.as_ref().unwrap_or(&endpoint.address));
    let reason = endpoint.reason.as_deref().map(plain);
    match (endpoint.up, endpoint.ejected) {
        (false, _) => Some(format!("{name}: {}", reason.as_deref().unwrap_or("not ready"))),
        (true, true) => Some(format!("{name}: left out for now, connections failed")),
        (true, false) => reason.map(|reason| format!("{name}: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        serde_json::from_value(serde_json::json!({
            "version": "0.1.0", "generation": 12,
            "config": {"path": null, "ok": false, "error": "cutover.toml:3:1: bad",
                       "restart_needed": [], "warnings": []},
            "proxy": {"connected": true, "pid": 7},
            "journal_error": null, "docker_error": null,
            "docker": {"version": "20.10.24", "api_version": "1.41", "error": null},
            "services": [{
                "name": "web", "active": "green", "weights": {"blue": 0, "green": 100},
                "paused": false, "pause": null, "waiting": 0, "routes": ["*/"], "shadowed": [],
                "colors": {
                    "blue": {"endpoints": [{
                        "address": "10.0.0.1:8000", "name": null, "container": "web-blue-1",
                        "up": false, "ejected": false, "reason": "503\u{1b}[2J", "last_probe": null
                    }], "requests_in_flight": 2, "streams_in_flight": 1, "requests": 9},
                    "green": {"endpoints": [{
                        "address": "10.0.0.2:8000", "name": null, "container": null, "up": true,
                        "ejected": false, "reason": null, "last_probe": null
                    }], "requests_in_flight": 7, "streams_in_flight": 0, "requests": 9},
                },
                "draining": [{
                    "color": "blue", "generation": 11, "requests": 2, "streams": 1,
                    "deadline_ms": 12_345
                }],
                "rollout": {
                    "id": "web-r8", "kind": "deploy", "phase": "keep_warm", "at": "", "by": "ada",
                    "revision": 8, "from": "blue", "to": "green", "image": "web:2"
                },
                "last_rollout": null, "note": "failed over from blue: it had no container",
            }],
            "left_out": [{"container": "web-x-1", "reason": "label cutover.prot: unknown key"}],
        }))
        .unwrap()
    }

    #[test]
    fn a_status_is_read_at_a_glance() {
        let text = render(&status());
        for part in [
            "generation 12",
            "Docker 20.10.24 (API 1.41)",
            "config not taken, the one before is live: cutover.toml:3:1: bad",
            "! web: failed over from blue: it had no container",
            "○ blue",
            "● green",
            "0/1",
            "1/1",
            "draining 2 requests and 1 stream, 12.3 s left",
            "web-blue-1: 503\u{fffd}[2J",
            "deploy of revision 8 to green: keep warm",
            "left out: web-x-1: label cutover.prot: unknown key",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert_eq!(text.lines().count(), 8, "{text}");
    }

    #[test]
    fn no_service_is_said_in_words() {
        let text = render(&Status { services: Vec::new(), ..status() });
        assert!(text.contains("no service yet"), "{text}");
    }
}
