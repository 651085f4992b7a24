//! Every verb against a control socket that answers by script: exit codes, words, requests.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs, reason = "tests")]

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;

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
    let weight = run(&["weight", "web", "blue=95", "green=5"], 200, "{}");
    assert_eq!((weight.code, body(&weight)), (0, serde_json::json!({"blue": 95, "green": 5})));
    assert_eq!(weight.stdout, "web: blue 95, green 5\n");
    let pause = run(&["pause", "web", "--writes-only", "--max-pause", "5s"], 200, "{}");
    assert_eq!(body(&pause), serde_json::json!({"writes_only": true, "max_pause_ms": 5000}));
    assert!(pause.stdout.contains("writes are held, each for 5.0 s at most"), "{}", pause.stdout);
    let resume = run(&["resume", "web"], 200, "{}");
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

const STATUS: &str = r#"{"version":"0.1.0","generation":12,"config":{"path":null,"ok":true,"error":null},"services":[{"name":"web","active":"green","weights":{"blue":0,"green":100},"paused":false,"colors":{"blue":{"endpoints":[],"requests_in_flight":0,"streams_in_flight":0},"green":{"endpoints":[{"address":"10.0.0.2:8000","container":null,"up":true,"reason":null}],"requests_in_flight":7,"streams_in_flight":0}},"draining":[],"rollout":null},{"name":"api","active":"blue"}]}"#;

#[test]
fn status_is_a_table_or_the_document() {
    let table = run(&["status"], 200, STATUS);
    assert_eq!(table.code, 0);
    assert!(table.stdout.contains("● green") && table.stdout.contains("api"), "{}", table.stdout);
    assert!(table.request.starts_with("GET /v1/status "));
    let json = run(&["status", "--json"], 200, STATUS);
    assert_eq!(json.stdout, format!("{STATUS}\n"));
    let one = run(&["status", "web"], 200, STATUS);
    assert!(one.stdout.contains("web") && !one.stdout.contains("api"), "{}", one.stdout);
    let none = run(&["status", "shop"], 200, STATUS);
    assert_eq!(none.code, 2);
    assert_eq!(none.stderr, "error: there is no service named `shop`\nhint: there is web, api\n");
}

/// The stream of a rollout that ends so.
fn rollout(result: &str, forced: u64) -> String {
    format!(
        "{}\n{}\n{}\n",
        r#"{"event":"phase","service":"web","phase":"pull"}"#,
        r#"{"event":"pull","service":"web","percent":40}"#,
        serde_json::json!({
            "service": "web", "result": result, "revision": 8, "from": "blue", "to": "green",
            "image": "web:2", "requests": {"blue": 3, "green": 4}, "failed": 0, "retried": 1, "held": 0,
            "forced": {"requests": 0, "streams": forced}, "longest_drained_ms": 1200,
            "p50_ms": {"old": 1, "new": 1.5}, "p99_ms": {"old": 2, "new": 3},
            "phases": [{"name": "pull", "ms": 900}], "reason": if result == "done" { None } else { Some("too many 500s") },
        })
    )
}

#[test]
fn the_end_of_a_rollout_is_the_exit_code() {
    for (result, forced, code) in
        [("done", 0, 0), ("done", 2, 6), ("refused", 0, 3), ("rolled_back", 1, 4), ("failed", 0, 1)]
    {
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
        assert!(run.stderr.starts_with("web: pull\nweb: pull, percent 40\n"), "{}", run.stderr);
        let head = if result == "done" {
            "web: done\n".to_owned()
        } else {
            format!("web: {}: too many 500s\n", result.replace('_', " "))
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
        let run = run_in(&deploy, 200, &rollout("done", 0), &environment);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.request.to_lowercase().contains("x-registry-config: "), "{}", run.request);
        assert_eq!(std::fs::read_to_string(path.join("asked")).unwrap().trim(), asked);
        std::fs::remove_file(path.join("asked")).unwrap();
    }
    let deploy = ["deploy", "web", "--image", "plain.example/app:1"];
    run_in(&deploy, 200, &rollout("done", 0), &environment);
    assert!(!path.join("asked").exists(), "the file has that login itself");
}

#[test]
fn a_rollout_in_json_is_its_report_alone() {
    let run = run(&["rollback", "web", "7", "--json"], 200, &rollout("done", 0));
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
        &rollout("done", 0),
    );
    assert_eq!(
        body(&run),
        serde_json::json!({"services": ["web", "api"], "image": "x:1", "pull": "never", "by": "ada"})
    );
}

#[test]
fn a_plan_with_a_blocker_is_a_refusal_with_its_fix() {
    let plan = r#"{"steps":["pull web:2","start web-green-1"],"blockers":[{"message":"port 80 is published","fix":"remove ports:"}],"warnings":[]}"#;
    let blocked = run(&["plan", "web"], 200, plan);
    assert_eq!(blocked.code, 3);
    assert_eq!(
        blocked.stdout,
        " 1. pull web:2\n 2. start web-green-1\nblocker: port 80 is published\n  fix: remove ports:\n"
    );
    let free = run(&["plan", "web"], 200, r#"{"steps":["flip"],"blockers":[]}"#);
    assert_eq!(free.code, 0);
}

#[test]
fn history_is_a_table_and_events_are_lines() {
    let history = r#"{"revisions":[{"revision":8,"at":"2026-11-20","result":"done","from":"blue","to":"green","image":"web:2","by":"root","duration_ms":61000,"failed":0}]}"#;
    let table = run(&["history", "web"], 200, history);
    assert!(
        table.stdout.contains("blue -> green") && table.stdout.contains("1 min 01 s"),
        "{}",
        table.stdout
    );
    let events = run(&["events"], 200, "{\"event\":\"a\"}\n{\"event\":\"b\"}\n");
    assert_eq!(events.stdout, "{\"event\":\"a\"}\n{\"event\":\"b\"}\n");
    assert!(events.request.starts_with("GET /v1/events?follow=false "));
}
