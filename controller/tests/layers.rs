//! A module uses only what stands below it in `lib.rs`, here as in the proxy; and a rule of our own.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../../proxy/tests/layers.rs"]
mod layers;

use std::fs;
use std::path::Path;

/// `containers` stands below `rollout`, so the compiler cannot see to it.
#[test]
fn only_a_rollout_makes_the_proof_that_containers_may_be_stopped() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    layers::children(&source, &mut files);
    files.retain(|file| fs::read_to_string(file).unwrap().contains("Drained::new("));
    assert!(!files.is_empty(), "the proof has another maker now");
    files.retain(|file| !file.starts_with(source.join("executor")));
    assert_eq!(files, Vec::<std::path::PathBuf>::new());
}
