//! What a new container is made of, from what a template was.

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, EndpointSettings, NetworkingConfig};
use cutover_proxy::table::Color;

use super::*;
use crate::engine::PullPolicy;
use crate::state::rollout::Replica;

fn spec(labels: &[(&str, &str)]) -> Spec {
    let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let aliases = Some(vec!["web-blue".to_owned(), "shop".to_owned()]);
    let endpoint = EndpointSettings { aliases, ..EndpointSettings::default() };
    let endpoints = HashMap::from([("p_default".to_owned(), endpoint)]);
    let body = ContainerCreateBody {
        labels: Some(labels.collect()),
        networking_config: Some(NetworkingConfig { endpoints_config: Some(endpoints) }),
        ..ContainerCreateBody::default()
    };
    Spec { body, networks: Vec::new(), files: Vec::new() }
}

fn part(spec: Spec, image_id: Option<&str>) -> Part {
    Part {
        batch: 0,
        service: "web".parse().unwrap(),
        revision: 7,
        from: Color::Blue,
        to: Color::Green,
        image: "app:2".into(),
        digest: None,
        image_id: image_id.map(str::to_owned),
        pull: PullPolicy::Missing,
        replicas: vec![Replica {
            template: "t".into(),
            name: "p_web_1".into(),
            number: Some(0),
            candidate: "p_web_1-r7".into(),
            id: None,
            spec: Some(spec),
        }],
        old: Vec::new(),
        displaced: Vec::new(),
        labelled: false,
        retain: 1,
        keep_failed: true,
        found: None,
        min_ready_ms: 0,
        both: None,
    }
}

fn finished(part: &Part) -> Spec {
    part.finished(&part.replicas[0], "web-r7", "edge").unwrap()
}

#[test]
fn a_copy_says_whose_it_is_and_of_which_color() {
    let part = part(spec(&[("com.docker.compose.service", "web")]), Some("sha256:2"));
    let spec = finished(&part);
    assert_eq!(spec.label("cutover.internal.rollout"), Some("web-r7"));
    assert_eq!(spec.label("cutover.internal.edge"), Some("edge"));
    assert_eq!(spec.label("cutover.internal.color"), Some("green"));
    assert_eq!(spec.label("cutover.internal.revision"), Some("7"));
    assert_eq!(spec.label("com.docker.compose.container-number"), Some("0"));
    assert_eq!(spec.body.image.as_deref(), Some("app:2"));
}

#[test]
fn a_release_that_was_of_the_other_color_is_of_the_one_that_it_is_made_for() {
    let release = Release { specs: vec![spec(&[("cutover.color", "blue")])], ..Release::default() };
    let mut part = part(spec(&[("cutover.color", "green")]), Some("sha256:2"));
    release.recall(&mut part).unwrap();
    assert_eq!(finished(&part).label("cutover.color"), Some("green"));
    let part = self::part(spec(&[]), Some("sha256:2"));
    assert_eq!(finished(&part).label("cutover.color"), None);
}

#[test]
fn compose_finds_the_new_image_where_its_file_names_it_and_the_old_one_elsewhere() {
    let of_file = |image| {
        let labels =
            [("com.docker.compose.image", "sha256:1"), ("cutover.internal.compose-image", image)];
        let spec = finished(&part(spec(&labels), Some("sha256:2")));
        spec.label("com.docker.compose.image").map(str::to_owned)
    };
    assert_eq!(of_file("app:2").as_deref(), Some("sha256:2"));
    assert_eq!(of_file("app:1").as_deref(), Some("sha256:1"));
}

#[test]
fn a_copy_of_the_other_half_of_a_pair_is_nothing_that_compose_knows() {
    let mut spec = spec(&[
        ("com.docker.compose.project", "p"),
        ("com.docker.compose.service", "web-blue"),
        ("com.docker.compose.container-number", "1"),
        ("cutover.service", "web"),
        ("cutover.color", "blue"),
    ]);
    leave_compose(&mut spec);
    let labels = spec.body.labels.as_ref().unwrap();
    assert!(labels.keys().all(|label| !label.starts_with("com.docker.compose.")), "{labels:?}");
    assert_eq!(spec.label("cutover.project"), Some("p"));
    assert_eq!(spec.label("cutover.service"), Some("web"));
    let networks = spec.body.networking_config.unwrap().endpoints_config.unwrap();
    assert_eq!(networks["p_default"].aliases, Some(vec!["shop".to_owned()]));
}

#[test]
fn a_former_release_comes_back_in_the_place_of_the_one_of_today() {
    let today = spec(&[
        ("com.docker.compose.service", "web"),
        ("com.docker.compose.config-hash", "new"),
        ("cutover.internal.compose-image", "app:1"),
        ("tier", "gold"),
    ]);
    let mut former = spec(&[("com.docker.compose.config-hash", "old"), ("tier", "silver")]);
    former.body.env = Some(vec!["A=1".into()]);
    let spec = in_place_of(&today, &former).unwrap();
    assert_eq!(spec.label("com.docker.compose.config-hash"), Some("new"));
    assert_eq!(spec.label("cutover.internal.compose-image"), Some("app:1"));
    assert_eq!(spec.label("tier"), Some("silver"));
    assert_eq!(spec.body.env, Some(vec!["A=1".to_owned()]));
}

#[test]
fn a_release_whose_template_is_gone_is_made_as_it_was() {
    let release = Release { specs: vec![spec(&[("tier", "silver")])], ..Release::default() };
    let mut part = part(spec(&[]), Some("sha256:2"));
    part.replicas[0].spec = None;
    release.recall(&mut part).unwrap();
    assert_eq!(part.replicas[0].spec.as_ref().unwrap().label("tier"), Some("silver"));
}
