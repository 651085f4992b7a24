use std::collections::HashSet;

use cutover_api::ConfigStatus;
use cutover_proxy::table::Snapshot;
use cutover_rollout::{Event, Limits, Millis};

use super::*;
use crate::config::{Config, ServiceConfig};
use crate::state::journal::Journal;
use crate::state::rollout::tests::record;

fn text(families: Families) -> String {
    TextEncoder::new().encode_to_string(&families.finish()).unwrap()
}

fn counted() -> State {
    let color = |color: &str| ColorStats {
        color: color.into(),
        requests: [(200, 3), (502, 1)].into(),
        duration_counts: vec![1; DURATION_BUCKETS.len() + 1],
        duration_sum_us: 2_500_000,
        forced: [("stream".into(), 2)].into(),
        ..ColorStats::default()
    };
    let config = Config {
        services: [("web".parse().unwrap(), ServiceConfig::default())].into(),
        ..Config::default()
    };
    let mut state = State::new(config, ConfigStatus::default(), Journal::default());
    state.counted(Snapshot {
        services: vec![ServiceStats {
            name: "web".into(),
            colors: vec![color("blue"), color("green")],
            unserved: [(503, 7)].into(),
            ..ServiceStats::default()
        }],
        ..Snapshot::default()
    });
    state
}

#[test]
fn every_family_is_told_of_once_and_every_line_belongs_to_one() {
    let mut families = Families::default();
    proxy(&mut families, &counted());
    state_families(&mut families, &counted());
    own(&mut families, &Counters::default(), &BTreeSet::from(["web".parse().unwrap()]));
    process::families(
        &mut families,
        &[
            ("controller", cutover_proxy::process_stats()),
            ("proxy", cutover_proxy::process_stats()),
        ],
    );
    let text = text(families);
    let mut typed = HashSet::new();
    let mut series = HashSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(typed.insert(rest.split(' ').next().unwrap()), "{line}");
        } else if !line.starts_with('#') {
            let (key, value) = line.rsplit_once(' ').unwrap();
            assert!(series.insert(key), "twice: {line}");
            value.parse::<f64>().unwrap();
            let name = key.split('{').next().unwrap();
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s));
            assert!(typed.contains(name) || base.is_some_and(|b| typed.contains(b)), "{line}");
        }
    }
    for name in ["cutover_flips_total", "cutover_rollouts_total", "cutover_rollout_phase"] {
        assert!(typed.contains(name), "{name} is there before its first event");
    }
}

#[test]
fn the_phase_is_that_of_the_newest_rollout_whatever_becomes_of_the_one_before() {
    let web = "web".parse().unwrap();
    let line = |state: &State| {
        let mut families = Families::default();
        state_families(&mut families, state);
        let text = text(families);
        let phases = text.lines().filter(|line| line.starts_with("cutover_rollout_phase{"));
        phases.map(str::to_owned).collect::<Vec<_>>()
    };
    let in_phase =
        |phase: &str| [format!(r#"cutover_rollout_phase{{service="web",phase="{phase}"}} 1"#)];
    let mut state = counted();
    assert_eq!(line(&state), in_phase("idle"));
    let older = record("web-r1", &[&web], Limits::default());
    let mut newer = record("web-r2", &[&web], Limits::default());
    newer.parts[0].revision = 2;
    drop(newer.machine.on(Millis(2), &Event::Begin));
    let phase = newer.machine.phase().as_str();
    assert_ne!(phase, older.machine.phase().as_str());
    state.journal_mut().put_rollout(newer);
    state.journal_mut().put_rollout(older);
    assert_eq!(line(&state), in_phase(phase));
    state.journal_mut().end_rollout("web-r1");
    assert_eq!(line(&state), in_phase(phase));
    state.journal_mut().end_rollout("web-r2");
    assert_eq!(line(&state), in_phase("idle"));
}

#[test]
fn counts_of_the_proxy_come_out_under_their_names() {
    let mut families = Families::default();
    proxy(&mut families, &counted());
    state_families(&mut families, &counted());
    let text = text(families);
    for line in [
        r#"cutover_requests_total{service="web",color="green",code="502"} 1"#,
        r#"cutover_requests_total{service="web",color="none",code="503"} 7"#,
        r#"cutover_request_duration_seconds_bucket{service="web",color="blue",le="0.001"} 2"#,
        r#"cutover_request_duration_seconds_bucket{service="web",color="blue",le="+Inf"} 15"#,
        r#"cutover_request_duration_seconds_sum{service="web",color="blue"} 2.5"#,
        r#"cutover_drain_forced_total{service="web",kind="stream"} 4"#,
        r#"cutover_active{service="web",color="blue"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
