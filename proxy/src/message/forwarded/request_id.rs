//! The name of a request in every log.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::process;
use std::time::SystemTime;

use http::HeaderValue;

/// What stands in `X-Request-Id`.
#[derive(Clone, Debug)]
pub(crate) enum RequestId {
    /// A trusted proxy's; 1 to 128 visible ASCII characters.
    Kept(HeaderValue),
    /// Ours; 32 hexadecimal digits.
    Made([u8; 32]),
}

impl RequestId {
    /// A given name, if it is one.
    pub(super) fn keep(value: &HeaderValue) -> Option<Self> {
        let sane = (1..=MAX_BYTES).contains(&value.len())
            && value.as_bytes().iter().all(u8::is_ascii_graphic);
        sane.then(|| Self::Kept(value.clone()))
    }

    /// The name as text.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Kept(value) => value.to_str().unwrap_or_default(),
            Self::Made(digits) => std::str::from_utf8(digits).unwrap_or_default(),
        }
    }
}

/// Makes the names of one worker: 64 random bits for the worker's life, and a count.
///
/// No system call and no lock per request; unique over workers and restarts as far as 64 random
/// bits go.
#[derive(Debug)]
pub(crate) struct RequestIds {
    life: u64,
    count: Cell<u64>,
}

impl RequestIds {
    /// A generator that no other one agrees with.
    pub(crate) fn new() -> Self {
        // RandomState is seeded by the operating system; time and process are for the day it is not.
        let life = RandomState::new().hash_one((SystemTime::now(), process::id()));
        Self { life, count: Cell::new(0) }
    }

    pub(super) fn make(&self) -> RequestId {
        let count = self.count.get();
        self.count.set(count.wrapping_add(1));
        let mut digits = [0; 32];
        let bytes = self.life.to_be_bytes().into_iter().chain(count.to_be_bytes());
        for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        RequestId::Made(digits)
    }
}

fn digit(nibble: u8) -> u8 {
    nibble + if nibble < 10 { b'0' } else { b'a' - 10 }
}

const MAX_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_ids_differ_and_are_hexadecimal() {
        let mut seen = std::collections::BTreeSet::new();
        for ids in [RequestIds::new(), RequestIds::new()] {
            for _ in 0..300 {
                let id = ids.make();
                assert!(
                    id.as_str().len() == 32 && id.as_str().bytes().all(|b| b.is_ascii_hexdigit())
                );
                assert!(seen.insert(id.as_str().to_owned()));
            }
        }
    }

    #[test]
    fn only_a_sane_id_is_kept() {
        let longest = "x".repeat(MAX_BYTES);
        for good in ["a", "0123-abc:/!", &longest] {
            let value = HeaderValue::from_str(good).unwrap();
            assert_eq!(RequestId::keep(&value).unwrap().as_str(), good);
        }
        let longer = "x".repeat(MAX_BYTES + 1);
        for bad in ["".as_bytes(), b"a b", b"a\tb", b"\xff", longer.as_bytes()] {
            assert!(RequestId::keep(&HeaderValue::from_bytes(bad).unwrap()).is_none());
        }
    }
}
