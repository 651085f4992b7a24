use cutover_api::{Ending, Kind, Report};
use cutover_proxy::table::Generation;
use proptest::prelude::*;

use super::codec::{Unreadable, decode, encode};
use cutover_rollout::Limits;

use super::*;
use crate::state::history::Entry;
use crate::state::rollout::tests::record;

pub(crate) fn sample(generation: u64) -> Journal {
    let mut journal = Journal { generation: Generation(generation), ..Journal::default() };
    let service = journal.service_mut(&"web".parse().unwrap());
    service.weights = Some(Weights { blue: 0, green: 100 });
    let colors = (Color::Blue, Color::Green);
    let report = Report::new(&"web".parse().unwrap(), 8, colors, Kind::Deploy, Ending::Done);
    service.record(Entry::new(Report { image: "web:ü".into(), ..report }, None));
    journal
}

#[test]
fn what_is_encoded_is_decoded() {
    let decoded = decode(&encode(&sample(8)).unwrap()).unwrap();
    assert_eq!(decoded.journal, sample(8));
    assert!(!decoded.migrated);
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
fn a_newer_format_is_told_apart_from_a_torn_file() {
    let newer = String::from_utf8(encode(&sample(8)).unwrap()).unwrap().replacen(" 2 ", " 3 ", 1);
    assert!(matches!(decode(newer.as_bytes()), Err(Unreadable::Version(v)) if v == "3"));
}

#[test]
fn an_intent_found_at_the_start_is_finished() {
    let mut journal = sample(8);
    let to_blue = Weights { blue: 100, green: 0 };
    let changes = [("web".parse().unwrap(), to_blue)];
    journal.intend(&changes, false);
    journal.settle();
    assert_eq!(journal.intent, None);
    assert_eq!(journal.services[&changes[0].0].weights, Some(to_blue));
    assert_eq!(journal.services[&changes[0].0].forced, [].into());
}

#[test]
fn an_intent_by_force_is_one_after_a_crash_too() {
    let mut journal = sample(8);
    let changes = [("web".parse().unwrap(), Weights { blue: 100, green: 0 })];
    journal.intend(&changes, true);
    assert!(journal.intends(&changes, true) && !journal.intends(&changes, false));
    let mut read = decode(&encode(&journal).unwrap()).unwrap().journal;
    read.settle();
    assert_eq!(read.services[&changes[0].0].forced, [Color::Blue].into());
}

#[test]
fn an_intent_of_an_older_journal_is_read() {
    let intent: Intent = serde_json::from_str(r#"{"blue":0,"green":100}"#).unwrap();
    assert_eq!(intent, Intent::new(Weights { blue: 0, green: 100 }, false));
}

#[test]
fn a_rollout_of_several_services_is_noted_once_and_found_by_each() {
    let (web, api): (ServiceName, ServiceName) = ("web".parse().unwrap(), "api".parse().unwrap());
    let mut journal = Journal::default();
    journal.put_rollout(record("web-r2", &[&web, &api], Limits::default()));
    assert_eq!(journal.rollouts().count(), 1);
    assert_eq!(journal.rollouts_of(&web).count(), 1);
    assert_eq!(journal.rollouts_of(&api).count(), 1);
    journal.put_rollout(record("web-r3", &[&web], Limits::default()));
    assert_eq!(journal.rollouts_of(&web).count(), 2, "what is left of the first goes on");
    journal.end_rollout("web-r2");
    assert_eq!(journal.rollouts_of(&api).count(), 0);
    assert_eq!(journal.rollouts_of(&web).count(), 1);
}

#[test]
fn a_drain_that_is_noted_twice_keeps_its_clock() {
    let drain = |since_ms| StoredDrain {
        service: "web".parse().unwrap(),
        color: Color::Blue,
        generation: Generation(7),
        since_ms,
        timeout_ms: 30_000,
        streams_ms: 300_000,
        forced_before: None,
    };
    let mut journal = Journal::default();
    journal.begin_drain(drain(1));
    journal.begin_drain(drain(2));
    assert_eq!(journal.drains(), [drain(1)]);
    journal.end_drain(&"web".parse().unwrap(), Color::Blue, Generation(7));
    assert_eq!(journal.drains(), []);
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        if let Ok(decoded) = decode(&bytes) {
            let again = decode(&encode(&decoded.journal).unwrap()).unwrap();
            prop_assert_eq!(again.journal, decoded.journal);
        }
    }
}
