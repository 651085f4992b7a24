//! A journal reads back as it was written, and with one byte changed not at all.
#![no_main]

use cutover_controller::state::journal::codec::{decode, encode};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((at, bytes)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    decode(bytes).ok();
    let Ok(state) = serde_json::from_slice(bytes) else {
        return;
    };
    let mut written = encode(&state).expect("a state can be written");
    assert_eq!(decode(&written).expect("what was written can be read").journal, state);
    let at = u32::from_le_bytes(*at) as usize;
    let index = at % written.len();
    written[index] ^= 1 << (at % 8);
    assert!(decode(&written).is_err(), "byte {index} is changed and nobody notices");
});
