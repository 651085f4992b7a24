//! The corpora of hostile requests and responses, played against a real proxy by the two players
//! beside them (`python3`, nothing else). Each case says what must come of it.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::Edge;

#[test]
fn every_request_of_the_corpus_ends_as_its_file_says() {
    play("requests", "requests.jsonl");
}

/// Cases of our own, in the same form: the rules of `validate`, one deviation each.
#[test]
fn every_request_that_we_could_think_of_ends_as_it_should() {
    play("requests", "own_requests.jsonl");
}

#[test]
fn every_response_of_the_corpus_ends_as_its_file_says() {
    play("responses", "responses.jsonl");
}

/// Starts a proxy with short deadlines before the player's upstream, and expects no deviation.
fn play(player: &str, corpus: &str) {
    let upstream = free_port();
    let mut edge = Edge::start();
    edge.spec.policy.limits.header_timeout = Duration::from_secs(2);
    edge.spec.policy.limits.body_idle_timeout = Duration::from_secs(2);
    edge.service().timeouts.response_header = Duration::from_secs(3);
    // The player's upstream is there only once the player runs.
    edge.service().timeouts.hold = Duration::from_millis(100);
    edge.serve(cutover_proxy::table::Color::Blue, &[upstream]);
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let output = Command::new("python3")
        .arg(files.join(format!("play_{player}.py")))
        .args(["--proxy", &edge.address.to_string()])
        .args(["--upstream", &upstream.port().to_string()])
        .arg("--corpus")
        .arg(files.join(corpus))
        .output()
        .expect("python3 is needed to play the corpus");
    let report = String::from_utf8_lossy(&output.stdout);
    let summary = report.lines().last().unwrap_or_default();
    assert!(
        output.status.success() && summary.starts_with("cases ") && summary.ends_with("fail 0"),
        "{report}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(edge.snapshot().panics, 0);
}

/// A port that the player can listen on; nobody else asks for it in between.
fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port")
}
