//! A module uses only what stands below it in `lib.rs`, here as in the proxy; and a rule of our own.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../../proxy/tests/layers.rs"]
mod layers;

use std::fs;
use std::path::Path;

/// The engine stands below the executor, so the compiler cannot see to it.
#[test]
fn one_place_makes_the_proof_that_a_container_may_be_stopped() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    layers::children(&source, &mut files);
    files.retain(|file| !file.ends_with("tests.rs"));
    files.retain(|file| fs::read_to_string(file).unwrap().contains("Drained::new("));
    assert_eq!(files, [source.join("executor/prove_drained.rs")]);
}
