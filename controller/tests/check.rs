//! `cutover check`, as it is typed.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn check(directory: &Path, text: &str) -> Output {
    let path = directory.join("cutover.toml");
    fs::write(&path, text).unwrap();
    cutover(&["check", "--config", path.to_str().unwrap()])
}

fn cutover(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cutover")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_good_file_shows_what_would_be_served_in_matching_order() {
    let directory = tempfile::tempdir().unwrap();
    let output = check(
        directory.path(),
        "[services.any]\nblue = [\"10.0.0.1:80\"]\n\
         [services.wild]\nhosts = [\"*.example.com\"]\n\
         [services.api]\nhosts = [\"a.example.com\"]\npath = \"/api\"\nblue = [{ address = \"[::1]:81\", weight = 2 }]\n\
         [services.web]\nhosts = [\"a.example.com\"]\n",
    );
    assert_eq!(output.status.code(), Some(0));
    let stdout = text(&output.stdout);
    let order = ["a.example.com/api", "a.example.com/ ", "*.example.com/", "*/"];
    let places: Vec<usize> = order.iter().map(|route| stdout.find(route).expect(route)).collect();
    assert!(places.is_sorted(), "{stdout}");
    assert!(stdout.contains("[::1]:81 (weight 2)"), "{stdout}");
}

#[test]
fn a_bad_file_is_exit_2_with_place_cause_excerpt_and_hint() {
    let directory = tempfile::tempdir().unwrap();
    let output = check(directory.path(), "[services.web]\n  blance = \"p2c\"\npath = \"x\"\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let stderr = text(&output.stderr);
    let path = directory.path().join("cutover.toml");
    for part in [
        &format!("error: {}:2:3: unknown key `services.web.blance`", path.display()),
        "blance = \"p2c\"",
        "hint: did you mean `balance`?",
        &format!("error: {}:3:8: the path `x` does not start with `/`", path.display()),
        "hint: did you mean \"/x\"?",
    ] {
        assert!(stderr.contains(part), "{part}\n{stderr}");
    }
}

#[test]
fn a_slip_of_the_finger_is_told_the_nearest_key() {
    let directory = tempfile::tempdir().unwrap();
    for (typed, meant) in [
        ("services.web.hots = [\"a.example\"]", "hosts"),
        ("services.web.hsots = [\"a.example\"]", "hosts"),
        ("services.web.hst = \"a.example\"", "host"),
        ("services.web.prot = 80", "port"),
        ("services.web.timeout.connect = \"1s\"", "timeouts"),
        ("limits.max_conections = 5", "max_connections"),
        ("limits.max_connections_per_clients = 5", "max_connections_per_client"),
        ("limit.max_headers = 5", "limits"),
    ] {
        let output = check(directory.path(), typed);
        assert_eq!(output.status.code(), Some(2), "{typed}");
        let stderr = text(&output.stderr);
        assert!(stderr.contains(&format!("hint: did you mean `{meant}`?\n")), "{typed}\n{stderr}");
    }
}

#[test]
fn a_file_that_was_named_and_is_not_there_is_exit_2() {
    let output = cutover(&["check", "--config", "/nonexistent/cutover.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("error: /nonexistent/cutover.toml: cannot be read"), "{stderr}");
    let output = cutover(&["run", "--config", "/nonexistent/cutover.toml"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_wrong_verb_or_argument_is_exit_2_and_help_is_0() {
    for wrong in [
        &["flipp"][..],
        &["flip", "web", "red"],
        &["weight", "web", "red=1"],
        &["status", "--nonsense"],
        &[],
    ] {
        assert_eq!(cutover(wrong).status.code(), Some(2), "{wrong:?}");
    }
    assert_eq!(cutover(&["--help"]).status.code(), Some(0));
    assert_eq!(cutover(&["--version"]).status.code(), Some(0));
}

#[test]
fn a_taken_port_ends_run_with_a_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap();
    let path = directory.path().join("cutover.toml");
    let config = format!(
        "[listen]\nhttp = \"{address}\"\nadmin = \"off\"\ncontrol = \"{0}/control.sock\"\n[runtime]\nstate_dir = \"{0}\"\n",
        directory.path().display()
    );
    fs::write(&path, config).unwrap();
    let output = cutover(&["run", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains(&format!("error: cannot listen on {address}, listen.http")),
        "{stderr}"
    );
}

#[test]
fn the_environment_configures_the_edge_and_check_says_what_comes_from_where() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cutover.toml");
    fs::write(&path, "[limits]\nmax_headers = 60\n").unwrap();
    let check = |variable: &str, value: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cutover"));
        command.args(["check", "--config", path.to_str().unwrap()]);
        command.env("CUTOVER_LISTEN_ADMIN", "off").env(variable, value).output().unwrap()
    };
    let good = check("CUTOVER_LIMITS_MAX_HEADERS", "50");
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    let stdout = text(&good.stdout);
    assert!(stdout.contains("admin     off"), "{stdout}");
    assert!(stdout.contains("CUTOVER_LISTEN_ADMIN"), "{stdout}");
    assert!(
        stdout.contains("cutover.toml:2, which wins over CUTOVER_LIMITS_MAX_HEADERS"),
        "{stdout}"
    );
    let bad = check("CUTOVER_LIMITS_MAX_HEADRES", "50");
    assert_eq!(bad.status.code(), Some(2));
    assert!(text(&bad.stderr).contains("did you mean `CUTOVER_LIMITS_MAX_HEADERS`?"));
}
