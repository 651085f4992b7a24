use cutover_proxy::table::{Color, ServiceName};

use super::*;
use crate::state::journal::codec::{decode, encode};

/// Written by version 0.1.0 as it was before version 2 of the journal, while a third revision was
/// being judged: one service of containers, one of the file that was flipped by force.
const V1_IN_MONITOR: &[u8] = include_bytes!("v1-in-monitor.json");

const SERVES: &str = "847ac5c1a2f128baf93df1583d7f69bd17337916eccafe5009f0fc9d28cd546f";
const SERVED: &str = "75573d708286db98ccad8291144b0dcc04e1cb1a02c4e8b398b21068c6134fa1";
const FIRST: &str = "99254a178ca748884eab97fe2992690008f26cb44618b8c9160ed415240b6074";

fn migrated() -> Journal {
    let decoded = decode(V1_IN_MONITOR).unwrap();
    assert!(decoded.migrated);
    decoded.journal
}

fn web() -> ServiceName {
    "d-v1-web".parse().unwrap()
}

#[test]
fn a_journal_of_version_1_keeps_what_serves_who_is_who_and_the_way_back() {
    let journal = migrated();
    assert_eq!(journal.edge, "21f443b4-4452-4b11-909d-30e4ab6af3ce");
    assert_eq!(journal.generation, Generation(5));
    let fixed = &journal.services[&"fixed".parse().unwrap()];
    assert_eq!(fixed.weights, Some(Weights { blue: 0, green: 100 }));
    assert_eq!(fixed.forced, [Color::Green].into());
    let web = &journal.services[&web()];
    assert_eq!(web.weights, Some(Weights { blue: 100, green: 0 }));
    assert_eq!(web.members.assigned(SERVES), Some(Color::Blue));
    assert_eq!(web.members.assigned(SERVED), Some(Color::Green));
    assert!(web.members.is_aside(FIRST) && web.members.is_parked(FIRST));
    assert_eq!(web.history().before(3), Some(2));
    let back = web.history().release(2).unwrap();
    assert_eq!((back.image.as_str(), back.specs.len()), ("d-v1-app:2", 1));
    assert_eq!(web.history().iter().count(), 2);
    assert!(!serde_json::to_string(&web.history().shown()).unwrap().contains("specs"));
}

#[test]
fn a_rollout_of_version_1_that_had_flipped_is_done() {
    let journal = migrated();
    assert_eq!(journal.rollouts().count(), 0);
    let members = &journal.services[&web()].members;
    assert_eq!(members.revision(Color::Blue), Some(3));
    assert_eq!(members.revision(Color::Green), Some(2));
    assert_eq!(members.last_revision(), 3);
    assert!(!members.is_parked(SERVES));
}

#[test]
fn a_rollout_of_version_1_that_had_not_flipped_is_undone() {
    let body = V1_IN_MONITOR.splitn(2, |&b| b == b'\n').nth(1).unwrap();
    let mut v1: Value = serde_json::from_slice(body).unwrap();
    v1["services"]["d-v1-web"]["weights"] = serde_json::json!({"blue": 0, "green": 100});
    let journal = from_v1(serde_json::from_value(v1).unwrap());
    let members = &journal.services[&web()].members;
    assert!(members.is_parked(SERVES) && members.is_aside(SERVES), "the candidate is not needed");
    assert!(!members.is_aside(SERVED) && !members.is_parked(SERVED));
    assert_eq!(members.revision(Color::Green), Some(2));
}

#[test]
fn what_was_migrated_reads_back_as_version_2() {
    let decoded = decode(&encode(&migrated()).unwrap()).unwrap();
    assert_eq!(decoded.journal, migrated());
    assert!(!decoded.migrated);
}
