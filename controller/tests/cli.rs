//! Every verb against a control socket that answers by script: exit codes, words, requests.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs, reason = "tests")]

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;

use cutover_api::{ByColor, Ending, Forced, Kind, Report};
use cutover_proxy::table::Color;

/// What a command did with one scripted answer.
struct Run {
    request: String,
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs a command against a server that gives this answer once.
fn run(arguments: &[&str], status: u16, answer: &str) -> Run {
    run_in(arguments, status, answer, &[])
}

/// The same with more in its environment.
fn run_in(
    arguments: &[&str],
    status: u16,
    answer: &str,
    environment: &[(&str, std::ffi::OsString)],
) -> Run {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let answer = format!(
        "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
        answer.len()
    );
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let n = stream.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..n]);
            let text = String::from_utf8_lossy(&request);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| {
                    line.to_lowercase().strip_prefix("content-length: ")?.parse().ok()
                });
                if body.len() >= length.unwrap_or(0) {
                    break;
                }
            }
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    let output = command(&socket, arguments).envs(environment.iter().cloned()).output().unwrap();
    Run {
        request: server.join().unwrap(),
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn cutover(socket: &PathBuf, arguments: &[&str]) -> Output {
    command(socket, arguments).output().unwrap()
}

fn command(socket: &PathBuf, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cutover"));
    command.env("CUTOVER_SOCKET", socket).env("USER", "ada").env_remove("SUDO_USER");
    command.args(arguments);
    command
}

/// The body of a request.
fn body(run: &Run) -> serde_json::Value {
    let (_, body) = run.request.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

const FLIPPED: &str =
    r#"{"service":"web","from":"blue","to":"green","generation":12,"flip_us":41,"probe_ms":8}"#;

#[test]
fn flip_says_what_happened_in_one_line() {
    let run = run(&["flip", "web", "green"], 200, FLIPPED);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.stdout, "web: blue -> green, generation 12, live in 41 µs, probed in 8 ms\n");
    assert!(run.request.starts_with("POST /v1/services/web/flip HTTP/1.1\r\n"), "{}", run.request);
    assert_eq!(body(&run), serde_json::json!({"to": "green", "force": false}));
}

#[test]
fn json_is_the_document_of_the_server_and_nothing_else() {
    let run = run(&["flip", "web", "both", "--force", "--json"], 200, FLIPPED);
    assert_eq!((run.code, run.stdout), (0, format!("{FLIPPED}\n")));
    assert!(run.stderr.is_empty(), "{}", run.stderr);
}

#[test]
fn with_json_a_refusal_is_a_document_too() {
    let answer = r#"{"error":{"code":"probe_failed","message":"green: 500","hint":"try"}}"#;
    let run = run(&["flip", "web", "green", "--json"], 409, answer);
    assert_eq!(run.code, 3);
    let document: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(document, serde_json::from_str::<serde_json::Value>(answer).unwrap());
    assert_eq!(run.stderr, "error: green: 500\nhint: try\n");
}

#[test]
fn errors_are_told_with_their_hint_and_the_exit_code_of_their_kind() {
    for (word, code) in [
        ("probe_failed", 3),
        ("refused", 3),
        ("docker_unavailable", 3),
        ("state_unwritable", 3),
        ("rollout_in_progress", 5),
        ("bad_request", 2),
        ("unknown_service", 2),
        ("proxy_unavailable", 1),
    ] {
        let answer =
            format!(r#"{{"error":{{"code":"{word}","message":"web: no\u001b[2J","hint":"try"}}}}"#);
        let run = run(&["flip", "web", "green"], 409, &answer);
        assert_eq!(run.code, code, "{word}");
        assert_eq!(run.stderr, "error: web: no\u{fffd}[2J\nhint: try\n");
        assert!(run.stdout.is_empty());
    }
}

#[test]
fn nobody_on_the_socket_is_exit_1_and_says_where_it_looked() {
    let output = cutover(&"/nonexistent/control.sock".into(), &["status"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("/nonexistent/control.sock") && stderr.contains("--socket PATH"),
        "{stderr}"
    );
}

#[test]
fn something_else_on_the_socket_is_exit_1() {
    let run = run(&["resume", "web"], 418, "teapot");
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("unexpected answer: 418"), "{}", run.stderr);
}

#[test]
fn weight_pause_resume_and_reload_send_what_the_contract_says() {
    let weighted =
        r#"{"service":"web","weights":{"blue":95,"green":5},"generation":7,"flip_us":3}"#;
    let weight = run(&["weight", "web", "blue=95", "green=5"], 200, weighted);
    assert_eq!((weight.code, body(&weight)), (0, serde_json::json!({"blue": 95, "green": 5})));
    assert_eq!(weight.stdout, "web: blue 95, green 5, generation 7\n");
    let held = r#"{"service":"web","paused":true,"generation":8}"#;
    let pause = run(&["pause", "web", "--writes-only", "--max-pause", "5s"], 200, held);
    assert_eq!(body(&pause), serde_json::json!({"writes_only": true, "max_pause_ms": 5000}));
    assert!(pause.stdout.contains("writes are held, each for 5.0 s at most"), "{}", pause.stdout);
    let resume = run(&["resume", "web"], 200, held);
    assert_eq!(resume.stdout, "web: requests go on\n");
    let reload = run(&["reload"], 200, r#"{"generation":3}"#);
    assert_eq!(reload.stdout, "config is live, generation 3\n");
    assert!(reload.request.starts_with("POST /v1/config/reload "));
}

#[test]
fn weights_that_serve_nothing_or_leave_a_color_out_are_refused_before_anyone_is_asked() {
    let socket = PathBuf::from("/nonexistent");
    for (shares, hint) in [
        (&["blue=0", "green=0"][..], "blue=95 green=5"),
        (&["blue=5"], "blue=5 green=95"),
        (&["green=0"], "blue=100 green=0"),
        (&["blue=200"], "blue=200 green=0"),
        (&["blue=1", "blue=2"], "blue=95 green=5"),
    ] {
        let output = cutover(&socket, &[&["weight", "web"], shares].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{shares:?}");
        assert!(said.contains(&format!("hint: cutover weight web {hint}\n")), "{shares:?}: {said}");
    }
}

/// The status of two services that nobody has ever flipped.
fn status_document() -> String {
    let service = |name: &str| {
        let endpoint = serde_json::json!({
            "address": "10.0.0.2:8000", "name": null, "container": null, "up": true,
            "ejected": false, "reason": null, "last_probe": null
        });
        let color = |endpoints: &[&serde_json::Value]| {
            serde_json::json!({
                "endpoints": endpoints, "requests_in_flight": 7, "streams_in_flight": 0, "requests": 9
            })
        };
        serde_json::json!({
            "name": name, "active": "green", "weights": {"blue": 0, "green": 100},
            "paused": false, "pause": null, "waiting": 0, "routes": ["*/"], "shadowed": [],
            "colors": {"blue": color(&[]), "green": color(&[&endpoint])},
            "draining": [], "rollout": null, "last_rollout": null, "note": null
        })
    };
    serde_json::json!({
        "version": "0.1.0", "generation": 12, "proxy": {"connected": true, "pid": 7},
        "config": {"path": null, "ok": true, "error": null, "restart_needed": [], "warnings": []},
        "journal_error": null, "docker_error": null, "left_out": [],
        "services": [service("web"), service("api")]
    })
    .to_string()
}

#[test]
fn status_is_a_table_or_the_document() {
    let status = status_document();
    let table = run(&["status"], 200, &status);
    assert_eq!(table.code, 0);
    assert!(table.stdout.contains("● green") && table.stdout.contains("api"), "{}", table.stdout);
    assert!(table.request.starts_with("GET /v1/status "));
    let json = run(&["status", "--json"], 200, &status);
    assert_eq!(json.stdout, format!("{status}\n"));
    let one = run(&["status", "web"], 200, &status);
    assert!(one.stdout.contains("web") && !one.stdout.contains("api"), "{}", one.stdout);
    let none = run(&["status", "shop"], 200, &status);
    assert_eq!(none.code, 2);
    assert_eq!(none.stderr, "error: there is no service named `shop`\nhint: there is web, api\n");
}

#[test]
fn an_answer_of_another_version_is_an_error_in_words_and_printed_as_it_is_in_json() {
    let newer = r#"{"services":7}"#;
    let table = run(&["status"], 200, newer);
    assert_eq!(table.code, 1);
    assert!(table.stderr.contains("this answer is not of version"), "{}", table.stderr);
    let json = run(&["status", "--json"], 200, newer);
    assert_eq!((json.code, json.stdout), (0, format!("{newer}\n")));
}

#[test]
fn abort_says_what_serves_and_where_the_rollout_stood() {
    let aborted = |phase: &str, result: &str| {
        format!(
            r#"{{"service":"web","revision":8,"phase":"{phase}","result":"{result}","serves":"blue","generation":12}}"#
        )
    };
    let before = run(&["abort", "web"], 200, &aborted("ready", "refused"));
    assert!(before.request.starts_with("POST /v1/services/web/abort "), "{}", before.request);
    assert_eq!(
        (before.code, before.stdout.as_str()),
        (
            0,
            "web: revision 8 was abandoned before its flip, blue still serves (it stood at ready), generation 12\n"
        )
    );
    let after = run(&["abort", "web"], 200, &aborted("monitor", "rolled_back"));
    assert_eq!(
        (after.code, after.stdout.as_str()),
        (0, "web: revision 8 was flipped back to blue (it stood at monitor), generation 12\n")
    );
    let document = aborted("monitor", "rolled_back");
    assert_eq!(run(&["abort", "web", "--json"], 200, &document).stdout, format!("{document}\n"));
}

/// The stream of a rollout that ends so.
fn rollout(result: Ending, forced: u64) -> String {
    format!(
        "{}\n{}\n{}\n",
        r#"{"event":"phase","service":"web","phase":"pull"}"#,
        r#"{"event":"pull","service":"web","phase":"pull","bytes":40000000,"total":100000000}"#,
        serde_json::to_string(&Report {
            image: "web:2".into(),
            requests: ByColor { blue: 3, green: 4 },
            retried: 1,
            forced: Forced { requests: 0, streams: forced },
            reason: (result != Ending::Done).then(|| "too many 500s".into()),
            duration_ms: 61_000,
            ..Report::new(
                &"web".parse().unwrap(),
                8,
                (Color::Blue, Color::Green),
                Kind::Deploy,
                result
            )
        })
        .unwrap()
    )
}

#[test]
fn the_end_of_a_rollout_is_the_exit_code() {
    for (result, forced, code) in [
        (Ending::Done, 0, 0),
        (Ending::Done, 2, 6),
        (Ending::Refused, 0, 3),
        (Ending::RolledBack, 1, 4),
        (Ending::Failed, 0, 1),
    ] {
        let run = run(
            &["deploy", "web", "--tag", "2", "--drain-timeout", "5s"],
            200,
            &rollout(result, forced),
        );
        assert_eq!(run.code, code, "{result} {forced}");
        assert_eq!(
            body(&run),
            serde_json::json!({"tag": "2", "drain_timeout_ms": 5000, "by": "ada"})
        );
        assert!(run.stderr.starts_with("web: pull\nweb: pull, 40 of 100 MB\n"), "{}", run.stderr);
        let head = if result == Ending::Done {
            "web: done\n".to_owned()
        } else {
            format!("web: {}: too many 500s\n", result.as_str().replace('_', " "))
        };
        assert!(run.stdout.starts_with(&head), "{}", run.stdout);
        assert!(
            run.stdout.contains("blue 3, green 4; failed 0, retried 1, held 0"),
            "{}",
            run.stdout
        );
    }
}

#[test]
fn a_credential_helper_is_asked_for_the_registry_of_the_image_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let helper = path.join("docker-credential-test");
    let script = format!(
        "#!/bin/sh\nread -r server || [ -n \"$server\" ]\necho \"$server\" >> {}\n\
         echo '{{\"ServerURL\": \"x\", \"Username\": \"ada\", \"Secret\": \"helped\"}}'\n",
        path.join("asked").display()
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let config = r#"{"auths": {"other.example": {}, "plain.example": {"auth": "dTpw"}},
        "credHelpers": {"reg.example:5000": "test"}, "credsStore": "test"}"#;
    std::fs::write(path.join("config.json"), config).unwrap();
    let mut search = std::ffi::OsString::from(path);
    search.push(":");
    search.push(std::env::var_os("PATH").unwrap_or_default());
    let environment = [("DOCKER_CONFIG", path.into()), ("PATH", search)];
    for (image, asked) in [
        ("reg.example:5000/app:1", "reg.example:5000"),
        ("other.example/app:1", "other.example"),
        ("unheard.example/app:1", "unheard.example"),
        ("app:1", "https://index.docker.io/v1/"),
    ] {
        let deploy = ["deploy", "web", "--image", image];
        let run = run_in(&deploy, 200, &rollout(Ending::Done, 0), &environment);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.request.to_lowercase().contains("x-registry-config: "), "{}", run.request);
        assert_eq!(std::fs::read_to_string(path.join("asked")).unwrap().trim(), asked);
        std::fs::remove_file(path.join("asked")).unwrap();
    }
    let deploy = ["deploy", "web", "--image", "plain.example/app:1"];
    run_in(&deploy, 200, &rollout(Ending::Done, 0), &environment);
    assert!(!path.join("asked").exists(), "the file has that login itself");
}

#[test]
fn a_rollout_in_json_is_its_report_alone() {
    let run = run(&["rollback", "web", "7", "--json"], 200, &rollout(Ending::Done, 0));
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((run.code, report["revision"].as_u64()), (0, Some(8)));
    assert!(run.request.starts_with("POST /v1/services/web/rollback "));
    assert_eq!(body(&run), serde_json::json!({"revision": 7, "by": "ada"}));
}

#[test]
fn a_rollout_whose_stream_breaks_is_exit_1_and_says_that_it_is_cared_for() {
    let run = run(
        &["deploy", "web"],
        200,
        "{\"event\":\"phase\",\"service\":\"web\",\"phase\":\"pull\"}\n",
    );
    assert_eq!(run.code, 1);
    assert!(
        run.stderr.contains("ended before the report") && run.stderr.contains("cutover history"),
        "{}",
        run.stderr
    );
}

#[test]
fn an_error_in_the_stream_is_an_error() {
    let run = run(
        &["deploy", "web"],
        200,
        "{\"error\":{\"code\":\"rollout_in_progress\",\"message\":\"busy\"}}\n",
    );
    assert_eq!((run.code, run.stderr.as_str()), (5, "error: busy\n"));
}

#[test]
fn services_that_flip_together_are_asked_for_together() {
    let run = run(
        &["deploy", "web", "api", "--image", "x:1", "--pull", "never"],
        200,
        &rollout(Ending::Done, 0),
    );
    assert_eq!(
        body(&run),
        serde_json::json!({"services": ["web", "api"], "image": "x:1", "pull": "never", "by": "ada"})
    );
}

#[test]
fn a_plan_with_a_blocker_is_a_refusal_with_its_fix() {
    let plan = r#"{"steps":[{"service":"web","phase":"pull","message":"bring web:2 here"}],"blockers":[{"service":"web","code":"host_port","message":"port 80 is published","fix":"remove ports:"}],"warnings":[]}"#;
    let blocked = run(&["plan", "web"], 200, plan);
    assert_eq!(blocked.code, 3);
    assert_eq!(
        blocked.stdout,
        " 1. web: bring web:2 here\nblocker: web: port 80 is published\n  fix: remove ports:\n"
    );
    let free = run(&["plan", "web"], 200, r#"{"steps":[],"blockers":[],"warnings":[]}"#);
    assert_eq!(free.code, 0);
}

#[test]
fn history_is_a_table_and_events_are_lines() {
    let stream = rollout(Ending::Done, 0);
    let report = stream.lines().last().unwrap();
    let history = format!(r#"{{"service":"web","revisions":[{report}]}}"#);
    let table = run(&["history", "web"], 200, &history);
    assert!(
        table.stdout.contains("blue -> green") && table.stdout.contains("1 min 01 s"),
        "{}",
        table.stdout
    );
    let events = run(&["events"], 200, "{\"event\":\"a\"}\n{\"event\":\"b\"}\n");
    assert_eq!(events.stdout, "{\"event\":\"a\"}\n{\"event\":\"b\"}\n");
    assert!(events.request.starts_with("GET /v1/events?follow=false "));
}
