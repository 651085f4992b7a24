//! A player that gives random `docker`, `compose` and `cutover` commands beside a light load.
//!
//! Whatever it does: while a ready container of a service exists, the service's requests are answered
//! by containers of its own project (after the time that failing over takes), Cutover never ends the
//! last one that is ready, and when all is over a deploy works.
//!
//! It plays a minute with the same dice each time; `CUTOVER_SEED=100 CUTOVER_SEEDS=20
//! CUTOVER_SECONDS=240` plays more. A seed that fails is printed with its commands, and `CUTOVER_SEED=17
//! cargo test -p cutover-controller --test random` plays it again: the same dice, on an engine that may
//! be faster or slower than it was then. `CUTOVER_TRACE=1` prints the commands as they are given. One game of four is on an engine of its own,
//! which is ended and started, too; that needs root.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "blocking test code; a panic is how a test fails"
)]

#[path = "random/answers.rs"]
mod answers;
#[path = "random/commands.rs"]
mod commands;
#[path = "random/containers.rs"]
mod containers;
#[path = "random/play.rs"]
mod play;

use std::io::Write as _;
use std::time::Duration;

use cutover_harness::Dice;
use play::Play;

#[test]
fn whatever_is_done_to_its_containers_a_service_with_a_ready_one_is_served() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seconds = number("CUTOVER_SECONDS").unwrap_or(60);
    let first = number("CUTOVER_SEED").unwrap_or(ALWAYS);
    let seeds: Vec<u64> = (first..first + number("CUTOVER_SEEDS").unwrap_or(1)).collect();
    // Past the test harness: of one that hangs, too, it is to be known.
    std::io::stderr().write_all(format!("random commands: seeds {seeds:?}\n").as_bytes()).unwrap();
    let mut failed = Vec::new();
    for seed in seeds {
        let Some(violations) = Play::run(Dice::new(seed), Duration::from_secs(seconds)) else {
            return;
        };
        if !violations.is_empty() {
            failed.push(format!("seed {seed}:\n{}", violations.join("\n")));
        }
    }
    assert!(
        failed.is_empty(),
        "{}\nagain: CUTOVER_SEED=.. CUTOVER_SECONDS={seconds} cargo test -p cutover-controller --test random",
        failed.join("\n\n")
    );
}

/// Played in every run.
const ALWAYS: u64 = 7;
