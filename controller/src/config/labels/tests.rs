use std::time::Duration;

use cutover_proxy::table::BodyLimit;
use proptest::prelude::*;

use super::*;
use crate::config::ProbeKind;

fn parse(labels: &[(&str, &str)]) -> Result<Option<Labels>, LabelErrors> {
    Labels::parse(labels.iter().copied())
}

fn message(labels: &[(&str, &str)]) -> String {
    parse(labels).unwrap_err().to_string()
}

#[test]
fn labels_are_the_keys_of_the_file() {
    let labels = parse(&[
        ("cutover.service", "web"),
        ("cutover.color", "green"),
        ("cutover.port", "8000"),
        ("cutover.network", "front"),
        ("cutover.hosts", "example.com, *.example.com"),
        ("cutover.strip_prefix", "true"),
        ("cutover.probe.path", "/health"),
        ("cutover.probe.status", "200-399,404"),
        ("cutover.drain.timeout", "1m30s"),
        ("cutover.rollout.strategy", "blue-green"),
        ("cutover.rollout.auto", "true"),
        ("cutover.max_body", "10MiB"),
        ("com.docker.compose.project", "shop"),
    ])
    .unwrap()
    .unwrap();
    assert_eq!(labels.service.as_str(), "web");
    assert_eq!(labels.color, Some(Color::Green));
    let config = labels.over(&ServiceConfig::default());
    assert_eq!(config.port, Some(8000));
    assert_eq!(config.network.as_deref(), Some("front"));
    assert_eq!(config.hosts.len(), 2);
    assert!(config.strip_prefix && config.rollout.auto);
    assert_eq!(config.drain.timeout, Duration::from_secs(90));
    assert_eq!(config.max_body, Some(BodyLimit::Bytes(10 << 20)));
    let ProbeKind::Http { path, status, .. } = config.probe.kind else { panic!("an HTTP probe") };
    assert_eq!((path.as_str(), status), ("/health", vec![(200, 399), (404, 404)]));
}

#[test]
fn the_file_holds_where_the_labels_are_silent() {
    let base =
        ServiceConfig { path: "/shop".to_owned(), port: Some(1), ..ServiceConfig::default() };
    let labels = parse(&[("cutover.service", "web"), ("cutover.port", "2")]).unwrap().unwrap();
    let config = labels.over(&base);
    assert_eq!((config.path.as_str(), config.port), ("/shop", Some(2)));
}

#[test]
fn file_and_labels_are_merged_key_by_key_and_the_file_wins() {
    let text = "[services.web]\nport = 1\n[services.web.probe]\ninterval = \"5s\"\n";
    let file = crate::config::Config::parse(std::path::Path::new("cutover.toml"), text).unwrap();
    let pairs = [
        ("cutover.service", "web"),
        ("cutover.port", "2"),
        ("cutover.path", "/shop"),
        ("cutover.probe.interval", "1s"),
        ("cutover.probe.path", "/health"),
    ];
    let config = parse(&pairs).unwrap().unwrap().over(&file.services[&"web".parse().unwrap()]);
    assert_eq!((config.port, config.path.as_str()), (Some(1), "/shop"));
    assert_eq!(config.probe.interval, Duration::from_secs(5));
    let ProbeKind::Http { path, .. } = config.probe.kind else { panic!("an HTTP probe") };
    assert_eq!(path, "/health");
}

#[test]
fn a_container_without_our_labels_is_none_of_our_business() {
    assert_eq!(parse(&[("com.docker.compose.service", "db"), ("cutoverish", "1")]), Ok(None));
    assert_eq!(parse(&[("cutover.enable", "false"), ("cutover.nonsense", "1")]), Ok(None));
    assert_eq!(parse(&[("cutover.internal.revision", "7")]), Ok(None));
}

#[test]
fn the_compose_service_names_ours_only_where_the_release_makes_the_color() {
    let compose = ("com.docker.compose.service", "web");
    assert_eq!(
        parse(&[compose, ("cutover.enable", "true")]).unwrap().unwrap().service.as_str(),
        "web"
    );
    let text = message(&[compose, ("cutover.color", "blue")]);
    assert!(text.contains("label cutover.service: this label is missing"), "{text}");
}

#[test]
fn an_error_says_label_value_reason_and_a_near_word() {
    let text = message(&[
        ("cutover.service", "web"),
        ("cutover.prot", "8000"),
        ("cutover.probe.intervall", "1s"),
        ("cutover.drain.timeout", "30"),
        ("cutover.color", "gren"),
    ]);
    for part in [
        "label cutover.prot=8000: unknown key `prot` (did you mean `port`?)",
        "label cutover.probe.intervall=1s: unknown key `probe.intervall` (did you mean `interval`?)",
        "label cutover.drain.timeout=30: `30` is not a duration",
        "label cutover.color=gren: `gren` is not a value of this key (did you mean \\\"green\\\"?)",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn static_endpoints_and_half_tables_are_refused() {
    assert!(
        message(&[("cutover.service", "web"), ("cutover.blue", "a:1")]).contains("config file")
    );
    let text = message(&[
        ("cutover.service", "web"),
        ("cutover.probe", "/x"),
        ("cutover.probe.path", "/y"),
    ]);
    assert!(text.contains("`probe` is a table of settings"), "{text}");
    assert!(text.contains("there is a label cutover.probe too"), "{text}");
    assert!(
        message(&[("cutover.service", "web"), ("cutover.a.b.c", "1")]).contains("unknown key `a`")
    );
}

#[test]
fn a_hostile_value_cannot_move_the_terminal() {
    let text = message(&[("cutover.service", "web\u{1b}[2J\n"), ("cutover.\u{1b}x", "\u{1b}")]);
    assert!(!text.contains(char::is_control), "{text:?}");
}

proptest! {
    #[test]
    fn no_label_panics_and_what_is_right_is_right_over_any_base(
        labels in prop::collection::vec(("cutover\\.(service|color|port|hosts|path|balance|probe\\.path|probe\\.status|drain\\.timeout|max_body|[a-z.]{0,9})", ".{0,12}"), 0..6)
    ) {
        let parsed = Labels::parse(labels.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        if let Ok(Some(labels)) = parsed {
            let once = labels.over(&ServiceConfig::default());
            prop_assert_eq!(labels.over(&once), once.clone());
        }
    }
}
