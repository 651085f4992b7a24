use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::engine::Wellness;

fn container(name: &str, age: u32, labels: &[(&str, &str)]) -> Container {
    Container {
        id: WorkloadId::local(format!("{name:0<64}")),
        name: name.to_owned(),
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        image: "app:1".into(),
        image_id: "sha256:1111".into(),
        created: UNIX_EPOCH + Duration::from_secs(1000 - u64::from(age)),
        started: None,
        state: State::Running,
        wellness: Wellness::Unchecked,
        restarts: 0,
        exit_code: 0,
        oom_killed: false,
        ports: [8000].into(),
        networks: [("p_default".to_owned(), IpAddr::from([172, 18, 0, 2]))].into(),
        joined: ["p_default".to_owned()].into(),
        foreign_network: None,
        published: BTreeSet::new(),
        stop_signal: None,
        stop_grace: Duration::from_secs(10),
        writable_mounts: BTreeSet::new(),
        memory: 0,
        health_checked: false,
    }
}

struct Setting {
    home: Home,
    project: Option<&'static str>,
    roster: Membership,
    serves: Option<Target>,
    doomed: Vec<WorkloadId>,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            home: Home::Host,
            project: None,
            roster: Membership::default(),
            serves: None,
            doomed: Vec::new(),
        }
    }
}

impl Setting {
    fn survey(&self, containers: &[Container]) -> Survey {
        let known = Known {
            services: &BTreeMap::new(),
            home: &self.home,
            project: self.project,
            doomed: self.doomed.iter().collect(),
            of: &|_| (self.roster.clone(), self.serves),
        };
        survey(containers, &known)
    }
}

fn colors(survey: &Survey) -> Vec<(&str, Color)> {
    let endpoints = survey.discovery.endpoints.iter();
    endpoints.map(|e| (e.name.as_str(), e.color)).collect()
}

fn reason<'s>(survey: &'s Survey, name: &str) -> &'s str {
    let left = survey.discovery.left_out.iter().find(|left| left.container == name);
    left.map_or("", |left| &left.reason)
}

#[test]
fn a_pair_of_compose_services_says_its_colors() {
    let found = Setting::default().survey(&[
        container("b", 9, &[("cutover.service", "web"), ("cutover.color", "blue")]),
        container("g", 8, &[("cutover.service", "web"), ("cutover.color", "green")]),
        container("db", 7, &[]),
    ]);
    assert_eq!(colors(&found), [("b", Color::Blue), ("g", Color::Green)]);
    assert_eq!(found.discovery.endpoints[0].address.to_string(), "172.18.0.2:8000");
}

#[test]
fn a_new_release_goes_beside_the_active_color() {
    let labels = [("cutover.service", "web")];
    let mut setting = Setting::default();
    let old = container("one", 9, &labels);
    let mut new = container("two", 5, &labels);
    new.image_id = "sha256:2222".into();
    let first = setting.survey(std::slice::from_ref(&old));
    assert_eq!(colors(&first), [("one", Color::Blue)]);
    setting.roster = first.rosters.into_values().next().unwrap();
    setting.serves = Some(Target::Blue);
    let both = setting.survey(&[new.clone(), old.clone()]);
    assert_eq!(colors(&both), [("one", Color::Blue), ("two", Color::Green)]);
    setting.roster = both.rosters.into_values().next().unwrap();

    // A third release takes the second one's place, and keeps it however often one looks.
    let mut third = container("three", 1, &labels);
    third.image_id = "sha256:3333".into();
    let all = [old, new, third];
    for _ in 0..2 {
        let found = setting.survey(&all);
        assert_eq!(colors(&found), [("one", Color::Blue), ("three", Color::Green)]);
        assert_eq!(reason(&found, "two"), "a newer release is green now");
        setting.roster = found.rosters.into_values().next().unwrap_or(setting.roster);
    }
}

#[test]
fn a_label_error_leaves_only_that_container_out() {
    let found = Setting::default().survey(&[
        container("good", 9, &[("cutover.service", "web")]),
        container("bad", 8, &[("cutover.service", "web"), ("cutover.prot", "80")]),
    ]);
    assert_eq!(colors(&found), [("good", Color::Blue)]);
    assert!(reason(&found, "bad").contains("cutover.prot"), "{}", reason(&found, "bad"));
}

#[test]
fn of_two_services_with_one_route_the_older_stays() {
    let host = ("cutover.hosts", "example.com");
    let found = Setting::default().survey(&[
        container("young", 1, &[("cutover.service", "a"), host]),
        container("old", 9, &[("cutover.service", "z"), host]),
    ]);
    assert_eq!(colors(&found), [("old", Color::Blue)]);
    assert!(reason(&found, "young").contains("belongs to service z"));
}

#[test]
fn the_service_of_another_edge_claims_no_route_here() {
    let home = Home::Networks(["p_default".to_owned()].into());
    let mut theirs = container("theirs", 9, &[("cutover.service", "shop")]);
    theirs.networks = [("q_default".to_owned(), IpAddr::from([172, 19, 0, 2]))].into();
    let ours = container("ours", 1, &[("cutover.service", "web")]);
    let found = Setting { home, ..Setting::default() }.survey(&[theirs, ours]);
    assert_eq!(colors(&found), [("ours", Color::Blue)]);
    assert!(reason(&found, "theirs").contains("no network in common"));
}

#[test]
fn a_container_is_reached_on_a_network_we_share() {
    let labels = [("cutover.service", "web")];
    let mut setting =
        Setting { home: Home::Networks(["edge".to_owned()].into()), ..Setting::default() };
    let mut one = container("one", 9, &labels);
    let found = setting.survey(std::slice::from_ref(&one));
    assert!(reason(&found, "one").contains("no network in common"));
    one.networks.insert("edge".into(), IpAddr::from([10, 0, 0, 7]));
    let found = setting.survey(std::slice::from_ref(&one));
    assert_eq!(found.discovery.endpoints[0].address.to_string(), "10.0.0.7:8000");
    setting.home = Home::Host;
    one.labels.insert("cutover.network".into(), "default".into());
    let found = setting.survey(&[one]);
    assert_eq!(found.discovery.endpoints[0].address.to_string(), "172.18.0.2:8000");
}

#[test]
fn what_is_doomed_displaced_or_left_over_serves_nothing() {
    let labels = [("cutover.service", "web")];
    let rollout = rollout_label();
    let one = container("doomed", 9, &labels);
    let two = container("displaced", 8, &labels);
    let three = container("left", 7, &[labels[0], (&rollout, "3")]);
    let four = container("ours", 6, &[labels[0], (&rollout, "4")]);
    let mut setting = Setting { doomed: vec![one.id.clone()], ..Setting::default() };
    setting.roster.enroll(&[four.id.0.clone()], Color::Green, &[two.id.0.clone()]);
    let found = setting.survey(&[one, two, three, four]);
    assert_eq!(colors(&found), [("ours", Color::Green)]);
    assert_eq!(found.discovery.left_out.len(), 3);
}

#[test]
fn a_container_that_a_rollout_has_just_made_is_not_forgotten_before_it_is_seen() {
    let mut setting = Setting::default();
    setting.roster.enroll(&["just-made".to_owned()], Color::Green, &[]);
    let found = setting.survey(&[container("one", 9, &[("cutover.service", "web")])]);
    let mut roster = found.rosters.into_values().next().unwrap();
    assert!(roster.knows("just-made"));
    roster.forget_gone(&["just-made".to_owned()].into());
    assert!(!roster.knows("just-made"));
}

#[test]
fn ports_that_leave_a_choice_ask_for_one() {
    let mut one = container("one", 9, &[("cutover.service", "web")]);
    one.ports = [80, 443].into();
    let found = Setting::default().survey(std::slice::from_ref(&one));
    assert!(reason(&found, "one").contains("80, 443"));
    one.labels.insert("cutover.port".into(), "443".into());
    let found = Setting::default().survey(&[one]);
    assert_eq!(found.discovery.endpoints[0].address.port(), 443);
}

#[test]
fn docker_health_counts() {
    let mut one = container("one", 9, &[("cutover.service", "web")]);
    one.wellness = Wellness::Starting;
    let found = Setting::default().survey(std::slice::from_ref(&one));
    assert_eq!(found.discovery.endpoints[0].unwell.as_deref(), Some("docker health: starting"));
}

#[test]
fn of_two_projects_with_one_service_the_older_keeps_it_until_it_has_gone() {
    let of = |name: &str, age: u32, project: &str, more: &[(&str, &str)]| {
        let mut labels = vec![("cutover.service", "web"), ("com.docker.compose.project", project)];
        labels.extend(more);
        container(name, age, &labels)
    };
    let names = |found: &Survey| -> Vec<String> {
        found.discovery.endpoints.iter().map(|e| e.name.clone()).collect()
    };
    let mut setting = Setting::default();
    let all = [of("a", 9, "one", &[]), of("b", 8, "two", &[("cutover.color", "green")])];
    let found = setting.survey(&all);
    assert_eq!(names(&found), ["a"]);
    assert!(reason(&found, "b").contains("belongs to the compose project one"), "{found:?}");
    setting.roster = found.rosters.values().next().unwrap().clone();
    // Recreated, it is the younger one, and still in its place.
    let all = [of("b", 8, "two", &[]), of("a2", 1, "one", &[])];
    assert_eq!(names(&setting.survey(&all)), ["a2"]);
    assert_eq!(names(&setting.survey(&all[..1])), ["b"]);
    // What says so may come from elsewhere, and what no Compose has made too.
    let all = [
        of("a", 9, "one", &[]),
        of("b", 8, "two", &[("cutover.project", "one")]),
        container("c", 7, &[("cutover.service", "web")]),
    ];
    assert_eq!(names(&setting.survey(&all)), ["a", "b", "c"]);
    // Our own project comes first.
    let setting = Setting { project: Some("two"), ..Setting::default() };
    assert_eq!(names(&setting.survey(&[of("a", 9, "one", &[]), of("b", 8, "two", &[])])), ["b"]);
}

#[test]
fn a_project_that_cannot_be_reached_keeps_no_service() {
    let labels = |project| [("cutover.service", "web"), ("com.docker.compose.project", project)];
    let mut far = container("far", 9, &labels("one"));
    far.networks = [("elsewhere".to_owned(), IpAddr::from([172, 19, 0, 2]))].into();
    let near = container("near", 8, &labels("two"));
    let home = Home::Networks(["p_default".to_owned()].into());
    let found = Setting { home, ..Setting::default() }.survey(&[far, near]);
    assert_eq!(colors(&found), [("near", Color::Blue)]);
}

#[test]
fn a_service_whose_last_container_is_about_to_go_keeps_its_route() {
    let lone = container("web", 9, &[("cutover.service", "web"), ("cutover.color", "blue")]);
    let doomed = Setting { doomed: vec![lone.id.clone()], ..Setting::default() };
    let alone = Container { networks: [].into(), ..lone.clone() };
    for found in [doomed.survey(&[lone]), Setting::default().survey(&[alone])] {
        assert!(found.discovery.endpoints.is_empty());
        assert!(found.discovery.services.contains_key(&"web".parse().unwrap()), "{found:?}");
    }
}
