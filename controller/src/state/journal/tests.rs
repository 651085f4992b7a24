use cutover_proxy::table::Generation;
use proptest::prelude::*;

use super::*;

fn sample(generation: u64) -> State {
    let mut state = State { generation: Generation(generation), ..State::default() };
    let service = state.services.entry("web".parse().unwrap()).or_default();
    service.weights = Some(Weights { blue: 0, green: 100 });
    service.history.push(serde_json::json!({"revision": 8, "image": "web:ü"}));
    state
}

#[test]
fn what_was_saved_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::new(dir.path().join("deeper"));
    assert_eq!(journal.load(), State::default());
    journal.save(&sample(7)).unwrap();
    assert_eq!(journal.load(), sample(7));
}

#[test]
fn a_file_torn_at_any_byte_falls_back_to_the_generation_before() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::new(dir.path().into());
    journal.save(&sample(7)).unwrap();
    journal.save(&sample(8)).unwrap();
    let whole = fs::read(journal.current()).unwrap();
    for cut in 0..whole.len() {
        fs::write(journal.current(), &whole[..cut]).unwrap();
        assert_eq!(journal.load(), sample(7), "cut at {cut}");
    }
}

#[test]
fn any_flipped_bit_is_noticed() {
    let whole = encode(&sample(8)).unwrap();
    for byte in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[byte] ^= 1 << bit;
            assert!(decode(&bytes).is_err(), "bit {bit} of byte {byte}");
        }
    }
}

#[test]
fn two_torn_generations_start_from_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::new(dir.path().into());
    fs::write(journal.current(), b"\0\0\0").unwrap();
    fs::write(journal.previous(), b"{}").unwrap();
    assert_eq!(journal.load(), State::default());
    journal.save(&sample(9)).unwrap();
    assert_eq!(journal.load(), sample(9));
}

#[test]
fn what_is_no_file_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::new(dir.path().into());
    journal.save(&sample(7)).unwrap();
    journal.save(&sample(8)).unwrap();
    fs::remove_file(journal.current()).unwrap();
    // It has no end, as a pipe without a writer has no beginning.
    std::os::unix::fs::symlink("/dev/zero", journal.current()).unwrap();
    assert_eq!(journal.load(), sample(7));
}

#[test]
fn a_newer_format_is_passed_over() {
    let newer = String::from_utf8(encode(&sample(8)).unwrap()).unwrap().replacen(" 1 ", " 2 ", 1);
    assert!(matches!(decode(newer.as_bytes()), Err(Unreadable::Version(v)) if v == "2"));
}

#[test]
fn a_failed_save_leaves_the_old_state_readable() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::new(dir.path().into());
    journal.save(&sample(7)).unwrap();
    // A directory in the way of the temporary file: the same to us as a full disk.
    fs::create_dir(dir.path().join("state.json.new")).unwrap();
    assert!(journal.save(&sample(8)).is_err());
    assert_eq!(journal.load(), sample(7));
}

#[test]
fn an_intent_found_at_the_start_is_finished() {
    let mut state = sample(8);
    let to_blue = Weights { blue: 100, green: 0 };
    state.intent = Some([("web".parse().unwrap(), to_blue)].into());
    state.settle();
    assert_eq!(state.intent, None);
    assert_eq!(state.services[&"web".parse().unwrap()].weights, Some(to_blue));
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        if let Ok(state) = decode(&bytes) {
            prop_assert_eq!(decode(&encode(&state).unwrap()).unwrap(), state);
        }
    }
}
