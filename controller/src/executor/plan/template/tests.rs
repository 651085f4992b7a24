//! What a new container is made like, from what there is.

use std::time::{Duration, SystemTime};

use bollard::models::ContainerCreateBody;
use cutover_api::{Ending, Kind, Report, Target, Weights};

use super::*;
use crate::engine::{State, WorkloadId};
use crate::state::history::Entry;
use crate::state::service::ServiceState;

fn container(name: &str, age: u64, labels: &[(&str, &str)]) -> Container {
    let mut container = Container::named(WorkloadId::local(name), name);
    container.created = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 - age);
    container.image = "app:1".into();
    let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    container.labels = labels.collect();
    container
}

fn half(color: &str, age: u64) -> Container {
    let service = format!("web-{color}");
    let labels = [
        ("com.docker.compose.project", "p"),
        ("com.docker.compose.service", service.as_str()),
        ("com.docker.compose.container-number", "1"),
        ("cutover.service", "web"),
        ("cutover.color", color),
    ];
    container(&format!("p_web-{color}_1"), age, &labels)
}

fn done(to: &str, labels: &[(&str, &str)]) -> ServiceState {
    let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let body = ContainerCreateBody {
        image: Some("app:3".into()),
        labels: Some(labels.collect()),
        ..ContainerCreateBody::default()
    };
    let specs = vec![Spec { body, networks: Vec::new(), files: Vec::new() }];
    let release = Release { image: "app:3".into(), specs, ..Release::default() };
    let to: Color = to.parse().unwrap();
    let colors = (to.other(), to);
    let report = Report::new(&"web".parse().unwrap(), 3, colors, Kind::Deploy, Ending::Done);
    let mut state = ServiceState::default();
    state.record(Entry::new(report, Some(release)));
    state
}

fn inventory(active: Target, all: &[(Option<Color>, Container)], state: ServiceState) -> Inventory {
    Inventory::of("web".parse().unwrap(), Weights::of(active), all, state)
}

fn names(inventory: &Inventory, from: Color, to: Color) -> Vec<(String, Option<i64>)> {
    let templates = inventory.templates(from, to);
    let wanted = templates.len();
    let name = |(n, template): (usize, &Template)| {
        (template.name("web", to, n), inventory.number(template, n, wanted))
    };
    templates.iter().enumerate().map(name).collect()
}

const BLUE: Option<Color> = Some(Color::Blue);
const GREEN: Option<Color> = Some(Color::Green);

#[test]
fn a_color_of_a_pair_is_made_like_itself_even_if_it_is_stopped() {
    let stopped = Container { state: State::Stopped, ..half("green", 9) };
    let all = [(BLUE, half("blue", 1)), (GREEN, stopped)];
    let inventory = inventory(Target::Blue, &all, ServiceState::default());
    let names = names(&inventory, Color::Blue, Color::Green);
    assert_eq!(names, [("p_web-green_1".to_owned(), Some(0))]);
}

#[test]
fn a_color_of_a_pair_that_is_gone_is_made_as_the_history_has_it() {
    let recorded = done(
        "green",
        &[
            ("com.docker.compose.project", "p"),
            ("com.docker.compose.service", "web-green"),
            ("com.docker.compose.container-number", "0"),
            ("com.docker.compose.version", "1.29.2"),
            ("cutover.color", "green"),
        ],
    );
    let inventory = inventory(Target::Blue, &[(BLUE, half("blue", 1))], recorded);
    assert_eq!(inventory.templates(Color::Blue, Color::Green)[0].image(), "app:3");
    let names = names(&inventory, Color::Blue, Color::Green);
    assert_eq!(names, [("p_web-green_1".to_owned(), Some(1))]);
}

#[test]
fn a_color_of_a_pair_that_nobody_knows_is_like_the_other_but_not_for_compose() {
    let inventory = inventory(Target::Blue, &[(BLUE, half("blue", 1))], ServiceState::default());
    let templates = inventory.templates(Color::Blue, Color::Green);
    assert!(matches!(templates.as_slice(), [Template::OtherHalf(_)]), "{templates:?}");
    let names = names(&inventory, Color::Blue, Color::Green);
    assert_eq!(names, [("p_web-blue_1-green".to_owned(), None)]);
}

#[test]
fn a_lone_service_is_made_like_the_newest_release_that_serves() {
    let labels = |config| {
        [
            ("com.docker.compose.project", "p"),
            ("com.docker.compose.service", "web"),
            ("com.docker.compose.container-number", "4"),
            ("com.docker.compose.config-hash", config),
        ]
    };
    let all = [
        (BLUE, container("p-web-4", 9, &labels("old"))),
        (BLUE, container("p-web-5", 1, &labels("new"))),
        (GREEN, container("p-web-6", 0, &labels("idle"))),
    ];
    let inventory = inventory(Target::Blue, &all, ServiceState::default());
    let names = names(&inventory, Color::Blue, Color::Green);
    assert_eq!(names, [("p-web-5".to_owned(), Some(3))]);
}

#[test]
fn a_service_without_a_container_is_made_as_the_history_has_it() {
    let recorded = done(
        "blue",
        &[
            ("com.docker.compose.project", "p"),
            ("com.docker.compose.service", "web"),
            ("com.docker.compose.container-number", "-1"),
            ("com.docker.compose.version", "2.26.1"),
        ],
    );
    let inventory = inventory(Target::Blue, &[], recorded);
    let names = names(&inventory, Color::Blue, Color::Green);
    assert_eq!(names, [("p-web-1".to_owned(), Some(1))]);
}

#[test]
fn where_nothing_is_left_and_nothing_was_recorded_there_is_no_template() {
    let inventory = inventory(Target::Blue, &[], ServiceState::default());
    assert!(inventory.templates(Color::Blue, Color::Green).is_empty());
}

#[test]
fn of_two_colors_that_serve_one_that_has_nothing_does_not() {
    let running = |color: &str| Container { state: State::Running, ..half(color, 5) };
    let both = [(Some(Color::Blue), running("blue")), (Some(Color::Green), running("green"))];
    let inventory_of = |all: &[_]| inventory(Target::Both, all, ServiceState::default());
    assert!(inventory_of(&both).is_both());
    for (n, from) in [Color::Blue, Color::Green].into_iter().enumerate() {
        let alone = inventory_of(&both[n..=n]);
        assert!(!alone.is_both());
        assert_eq!(alone.direction(), (from, from.other()));
    }
}
