//! What the fuzz target `control` checks, and the test that plays its seeds.

use cutover_api::{DeployRequest, FlipRequest, PauseRequest, RollbackRequest, WeightRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::http::control::Body;

/// A body that the control socket takes is written so that it reads back the same, and is refused
/// with one more key; what it does not take has a reason. Input: a body.
pub fn control(bytes: &[u8]) {
    reads_back::<FlipRequest>(bytes);
    reads_back::<WeightRequest>(bytes);
    reads_back::<PauseRequest>(bytes);
    reads_back::<DeployRequest>(bytes);
    reads_back::<RollbackRequest>(bytes);
}

fn reads_back<T>(bytes: &[u8])
where
    T: DeserializeOwned + PartialEq + Serialize + std::fmt::Debug,
{
    let body = match Body::<T>::read(bytes) {
        Ok(Body(body)) => body,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let Ok(mut written) = serde_json::to_value(&body) else {
        panic!("cannot be written: {body:?}");
    };
    let again = Body::<T>::read(written.to_string().as_bytes());
    assert_eq!(again.ok().map(|Body(again)| again).as_ref(), Some(&body), "{written}");
    if let Some(fields) = written.as_object_mut() {
        fields.insert("no_such_key".to_owned(), true.into());
    }
    assert!(Body::<T>::read(written.to_string().as_bytes()).is_err(), "{written}");
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_seed_keeps_its_invariant() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/control");
        let seeds: Vec<_> = fs::read_dir(seeds).unwrap().collect();
        assert!(!seeds.is_empty());
        for seed in seeds {
            super::control(&fs::read(seed.unwrap().path()).unwrap());
        }
    }
}
