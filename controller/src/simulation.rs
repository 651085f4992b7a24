//! The controller that ships, against a host in memory: the real `serving`, `discovery` and
//! `executor`, with an engine, a proxy, apps and a disk that a seed decides about.
//!
//! It is killed at every place where it waits for any of these, and before and after each write;
//! another one is started on what is left, and must bring all of it to rest. What must hold meanwhile
//! and then is in [`check`].
//!
//! A failure prints its seed; `CUTOVER_SEED=n cargo test -p cutover-controller --lib simulation --
//! --nocapture` plays that one alone and prints what happens; `CUTOVER_RUNS=2000` plays more of them,
//! from `CUTOVER_SEED` on if that is given, too.

mod apps;
mod check;
mod client;
mod everywhere;
mod host;
mod life;
mod moments;
mod plays;
mod pools;
mod proxy;
mod random;
mod scenes;
mod stories;
mod world;

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
