//! Containers in: who serves, who is left out, which routes and which settings.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use cutover_api::{Target, Weights};
use tokio::time::Instant;

use super::*;
use crate::config::ProbeKind;
use crate::engine::{Container, Signal, State, Transition, Wellness, WorkloadId};
use crate::state::service::ServiceState;

pub(crate) fn container(name: &str, age: u64, labels: &[(&str, &str)]) -> Container {
    Container {
        id: WorkloadId::local(name),
        name: name.to_owned(),
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        image: "app:1".into(),
        image_id: "sha256:1111".into(),
        created: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - age),
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

/// Of a compose project; `more` are further labels.
fn of(name: &str, age: u64, project: &str, more: &[(&str, &str)]) -> Container {
    let mut labels = vec![("com.docker.compose.project", project)];
    labels.extend(more);
    container(name, age, &labels)
}

fn image(container: Container, id: &str) -> Container {
    Container { image_id: format!("sha256:{id}"), ..container }
}

/// What is remembered from one look to the next.
#[derive(Default)]
struct Setting {
    observed: Observed,
    services: BTreeMap<ServiceName, ServiceConfig>,
    ready: BTreeSet<String>,
    journal: Journal,
}

impl Setting {
    fn new() -> Self {
        let mut setting = Self::default();
        setting.observed.network = Some(EdgeNetwork::Host);
        setting
    }

    /// Every one of them is ready, and takes part in what the journal remembers.
    fn look(&mut self, containers: &[Container]) -> Discovered {
        self.ready = containers.iter().map(|c| c.id.as_str().to_owned()).collect();
        self.look_again(containers)
    }

    /// As before, but for who is ready.
    fn look_again(&mut self, containers: &[Container]) -> Discovered {
        let gone = self.observed.replace(containers.to_vec(), &[], &self.services, u64::MAX);
        for service in self.journal.services.values_mut() {
            service.members.forget_gone(&gone);
        }
        self.classify()
    }

    fn classify(&mut self) -> Discovered {
        let found = classify(&Facts {
            observed: &self.observed,
            services: &self.services,
            ready: &self.ready,
            journal: &self.journal,
        });
        for (service, members) in found.members {
            self.journal.service_mut(&service).members = members;
        }
        self.journal.hosts = found.hosts;
        found.discovered
    }

    fn web(&mut self) -> &mut ServiceState {
        self.journal.service_mut(&web())
    }

    fn serves(mut self, target: Target) -> Self {
        self.web().weights = Some(Weights::of(target));
        self
    }

    /// Whose a route is.
    fn holder(&self, host: &str, path: &str) -> Option<String> {
        let mut hosts = self.journal.hosts.iter();
        let owner = hosts.find(|(name, _)| *name == host)?.1;
        owner.paths.get(path).map(ToString::to_string)
    }
}

fn web() -> ServiceName {
    "web".parse().unwrap()
}

fn colors(found: &Discovered) -> Vec<(&str, Color)> {
    found.endpoints.iter().map(|e| (e.name.as_str(), e.color)).collect()
}

fn names(found: &Discovered) -> Vec<&str> {
    let mut names: Vec<_> = found.endpoints.iter().map(|e| e.name.as_str()).collect();
    names.sort_unstable();
    names
}

fn reason<'s>(found: &'s Discovered, name: &str) -> &'s str {
    found.left_out.iter().find(|left| left.container == name).map_or("", |left| &left.reason)
}

/// The path that the service's own probe asks for.
fn probe(config: &ServiceConfig) -> &str {
    match &config.probe.kind {
        ProbeKind::Http { path, .. } => path,
        ProbeKind::Tcp => "tcp",
    }
}

const WEB: (&str, &str) = ("cutover.service", "web");
const BLUE: (&str, &str) = ("cutover.color", "blue");
const GREEN: (&str, &str) = ("cutover.color", "green");

#[test]
fn a_pair_of_compose_services_says_its_colors() {
    let found = Setting::new().look(&[
        container("b", 9, &[WEB, BLUE]),
        container("g", 8, &[WEB, GREEN]),
        container("db", 7, &[]),
    ]);
    assert_eq!(colors(&found), [("b", Color::Blue), ("g", Color::Green)]);
    assert_eq!(found.endpoints[0].address.to_string(), "172.18.0.2:8000");
}

#[test]
fn a_new_release_goes_beside_the_active_color() {
    let mut setting = Setting::new();
    let old = container("one", 9, &[WEB]);
    let new = image(container("two", 5, &[WEB]), "2222");
    assert_eq!(colors(&setting.look(std::slice::from_ref(&old))), [("one", Color::Blue)]);
    setting = setting.serves(Target::Blue);
    let both = setting.look(&[new.clone(), old.clone()]);
    assert_eq!(colors(&both), [("one", Color::Blue), ("two", Color::Green)]);

    // A third release is a spare beside the second one until that has gone, however often one looks.
    let third = image(container("three", 1, &[WEB]), "3333");
    for _ in 0..2 {
        let found = setting.look(&[old.clone(), new.clone(), third.clone()]);
        assert_eq!(colors(&found), [("one", Color::Blue), ("two", Color::Green)]);
        assert_eq!(reason(&found, "three"), "another release is green now");
        assert_eq!(found.spares[0].name, "three");
    }
    let found = setting.look(&[old, third]);
    assert_eq!(colors(&found), [("one", Color::Blue), ("three", Color::Green)]);
}

#[test]
fn a_color_serves_one_release_whatever_compose_adds_to_it() {
    let mut setting = Setting::new().serves(Target::Blue);
    let new = image(container("new", 5, &[WEB, BLUE]), "2222");
    setting.look(std::slice::from_ref(&new));
    // Compose makes the missing one of the pair from the old image, or makes it anew in the middle.
    let old = container("old", 1, &[WEB, BLUE]);
    let found = setting.look(&[new.clone(), old.clone()]);
    assert_eq!(names(&found), ["new"]);
    assert_eq!(reason(&found, "old"), "another release is blue now");
    // A second one of the same image is one more of the same release, whatever its config.
    let more = [("com.docker.compose.config-hash", "other"), WEB, BLUE];
    let second = image(container("second", 1, &more), "2222");
    assert_eq!(names(&setting.look(&[new, old.clone(), second])), ["new", "second"]);
    assert_eq!(names(&setting.look(&[old])), ["old"], "once the other has gone");
}

#[test]
fn of_what_is_left_the_newest_ready_release_becomes_the_one_of_its_color() {
    let mut setting = Setting::new().serves(Target::Blue);
    setting.look(&[container("first", 9, &[WEB, BLUE])]);
    let (second, third) = (
        image(container("second", 8, &[WEB, BLUE]), "2222"),
        image(container("third", 7, &[WEB, BLUE]), "3333"),
    );
    setting.ready = ["second".to_owned()].into();
    assert_eq!(names(&setting.look_again(&[second.clone(), third.clone()])), ["second"]);
    setting.ready = ["second".to_owned(), "third".to_owned()].into();
    assert_eq!(names(&setting.look_again(&[second, third])), ["second"], "and stays so");
}

#[test]
fn a_rollouts_containers_are_what_their_color_serves_and_what_it_displaced_is_a_spare() {
    let rollout = rollout_label();
    let mut setting = Setting::new().serves(Target::Blue);
    let old = container("old", 9, &[WEB, GREEN]);
    let new = image(container("new", 1, &[WEB, GREEN, (&rollout, "web-r2")]), "2222");
    setting.look(std::slice::from_ref(&old));
    let displaced = ["old".to_owned()];
    setting.web().members.enroll(&["new".to_owned()], Color::Green, &displaced);
    let found = setting.look(&[old.clone(), new.clone()]);
    assert_eq!(colors(&found), [("new", Color::Green)]);
    assert_eq!(reason(&found, "old"), "a rollout has replaced it");
    // Abandoned and kept to be looked at, it leaves the color to what was there before.
    setting.web().members.dismiss(&["new".to_owned()], &displaced);
    let kept = Container { state: State::Stopped, ..new };
    assert_eq!(colors(&setting.look(&[old, kept])), [("old", Color::Green)]);
}

#[test]
fn without_a_journal_a_rollouts_containers_are_what_their_labels_say() {
    let (rollout, color) = (rollout_label(), color_label());
    let made = |name: &str, age, its: &str, id: &str| {
        image(container(name, age, &[WEB, (&rollout, "web-r2"), (&color, its)]), id)
    };
    let blue = made("b", 9, "blue", "1111");
    let green = made("g", 1, "green", "2222");
    let found = Setting::new().look(&[blue, green]);
    assert_eq!(colors(&found), [("b", Color::Blue), ("g", Color::Green)]);
    // A tool has recreated one with its labels, from a newer image: its ID is another.
    let mut setting = Setting::new().serves(Target::Green);
    setting.web().members.enroll(&["g".to_owned()], Color::Green, &[]);
    setting.look(&[made("g", 1, "green", "2222")]);
    let found = setting.look(&[made("h", 0, "green", "4444")]);
    assert_eq!(colors(&found), [("h", Color::Green)]);
}

#[test]
fn a_container_that_a_rollout_has_just_made_is_not_forgotten_before_it_is_seen() {
    let mut setting = Setting::new();
    setting.web().members.enroll(&["just-made".to_owned()], Color::Green, &[]);
    setting.look(&[container("one", 9, &[WEB])]);
    assert!(setting.web().members.knows("just-made"));
}

#[test]
fn after_everything_was_taken_down_and_up_again_the_new_container_has_a_place() {
    let mut setting = Setting::new().serves(Target::Green);
    setting.web().members.enroll(&["copy".to_owned()], Color::Green, &["one".to_owned()]);
    setting.look(&[container("one", 9, &[WEB]), image(container("copy", 5, &[WEB]), "2222")]);
    assert!(setting.look(&[]).services.is_empty());
    let found = setting.look(&[container("again", 1, &[WEB])]);
    assert_eq!(names(&found), ["again"]);
}

#[test]
fn the_settings_of_a_service_are_those_of_its_newest_ready_container_that_serves() {
    let asks = |name: &str, age, color, path| {
        container(name, age, &[WEB, color, ("cutover.probe.path", path)])
    };
    let mut setting = Setting::new().serves(Target::Blue);
    let blue = asks("b", 9, BLUE, "/blue");
    let green = asks("g", 1, GREEN, "/green");
    let found = setting.look(&[blue.clone(), green.clone()]);
    assert_eq!(probe(&found.services[&web()]), "/blue", "whatever an idle one says");
    let probed: Vec<_> = found.endpoints.iter().map(|e| probe(&e.settings)).collect();
    assert_eq!(probed, ["/blue", "/green"], "each is probed by its own");
    let newer = asks("n", 0, BLUE, "/newer");
    let all = [blue, green, newer];
    setting.ready.remove("n");
    assert_eq!(probe(&setting.look_again(&all).services[&web()]), "/blue", "not ready yet");
    assert_eq!(probe(&setting.look(&all).services[&web()]), "/newer");
    setting = setting.serves(Target::Green);
    assert_eq!(probe(&setting.classify().services[&web()]), "/green", "with the flip");
    setting.ready.clear();
    assert_eq!(probe(&setting.classify().services[&web()]), "/green", "the last that were");
    let others = [all[0].clone(), all[2].clone()];
    assert_eq!(probe(&setting.look_again(&others).services[&web()]), "/green", "even after");
}

#[test]
fn what_was_only_created_changes_nothing_that_is_live() {
    let host = |name: &str, age, host| container(name, age, &[WEB, BLUE, ("cutover.hosts", host)]);
    let mut setting = Setting::new().serves(Target::Blue);
    let live = host("live", 9, "a.example");
    setting.look(std::slice::from_ref(&live));
    let made = Container { state: State::Created, ..host("made", 1, "b.example") };
    let found = setting.look(&[live, made]);
    assert_eq!(found.services[&web()].hosts[0].to_string(), "a.example");
    assert_eq!(names(&found), ["live"]);
}

#[test]
fn a_label_error_leaves_only_that_container_out() {
    let found = Setting::new()
        .look(&[container("good", 9, &[WEB]), container("bad", 8, &[WEB, ("cutover.prot", "80")])]);
    assert_eq!(colors(&found), [("good", Color::Blue)]);
    assert!(reason(&found, "bad").contains("cutover.prot"), "{}", reason(&found, "bad"));
}

#[test]
fn of_two_services_with_one_route_the_older_has_it_and_keeps_it() {
    let host = ("cutover.hosts", "example.com");
    let claims =
        |name: &str, age, service| container(name, age, &[("cutover.service", service), host]);
    let mut setting = Setting::new();
    let found = setting.look(&[claims("young", 1, "a"), claims("old", 9, "z")]);
    assert_eq!(colors(&found), [("old", Color::Blue)]);
    assert!(reason(&found, "young").contains("belongs to service z"));
    // Deployed, the owner is the younger one.
    let found = setting.look(&[claims("young", 5, "a"), claims("deployed", 1, "z")]);
    assert_eq!(names(&found), ["deployed"]);
    let found = setting.look(&[claims("young", 5, "a")]);
    assert_eq!(names(&found), ["young"], "its last container has gone");
}

#[test]
fn a_host_with_all_its_paths_is_its_projects_until_its_last_container_has_gone() {
    let host = ("cutover.hosts", "shop.example");
    let owner = of("owner", 5, "shop", &[WEB, host]);
    let thief = of("thief", 9, "evil", &[("cutover.service", "evil"), host]);
    let deep =
        of("deep", 9, "evil", &[("cutover.service", "deep"), host, ("cutover.path", "/login")]);
    let mut setting = Setting::new();
    setting.look(std::slice::from_ref(&owner));
    let all = [owner.clone(), thief.clone(), deep.clone()];
    let found = setting.look(&all);
    assert_eq!(names(&found), ["owner"]);
    for name in ["thief", "deep"] {
        assert!(reason(&found, name).contains("compose project shop"), "{}", reason(&found, name));
    }
    // Stopped, restarted, created anew: still there, and still the owner's.
    for state in [State::Stopped, State::Restarting, State::Created] {
        let owner = Container { state, networks: [].into(), ..owner.clone() };
        let found = setting.look(&[owner, thief.clone(), deep.clone()]);
        assert_eq!(names(&found), Vec::<&str>::new());
        assert_eq!(setting.holder("shop.example", "/").as_deref(), Some("web"));
    }
    // A deploy of the owner: its containers are the youngest of all.
    let copy = of("copy", 0, "shop", &[WEB, host]);
    assert_eq!(names(&setting.look(&[copy, thief.clone(), deep.clone()])), ["copy"]);
    let found = setting.look(&[thief, deep]);
    assert_eq!(names(&found), ["deep", "thief"], "{:?}", found.left_out);
}

#[test]
fn an_owner_whose_labels_cannot_be_read_any_more_is_still_the_owner() {
    let host = ("cutover.hosts", "shop.example");
    let thief = of("thief", 9, "evil", &[("cutover.service", "evil"), host]);
    let namesake = of("namesake", 9, "evil", &[WEB, ("cutover.hosts", "evil.example")]);
    let mut setting = Setting::new();
    setting.look(&[of("owner", 5, "shop", &[WEB, host])]);
    let edited = of("edited", 0, "shop", &[WEB, host, ("cutover.nonsense", "1")]);
    let found = setting.look(&[edited, thief.clone(), namesake.clone()]);
    assert_eq!(names(&found), Vec::<&str>::new(), "{:?}", found.left_out);
    assert_eq!(setting.holder("shop.example", "/").as_deref(), Some("web"));
    assert!(reason(&found, "namesake").contains("belongs to the compose project shop"));
    let found = setting.look(&[of("mended", 0, "shop", &[WEB, host]), thief, namesake]);
    assert_eq!(names(&found), ["mended"]);
}

#[test]
fn an_owner_may_let_another_project_in_and_shut_it_out_again() {
    let host = ("cutover.hosts", "shop.example");
    let owner =
        |share: &'static str| of("owner", 5, "shop", &[WEB, host, ("cutover.share", share)]);
    let guest =
        of("guest", 9, "blog", &[("cutover.service", "blog"), host, ("cutover.path", "/blog")]);
    let mut setting = Setting::new();
    setting.look(&[owner("docs, blog")]);
    assert_eq!(names(&setting.look(&[owner("docs, blog"), guest.clone()])), ["guest", "owner"]);
    // With the next container of the owner that serves.
    let other = Container { id: WorkloadId::local("next"), ..owner("docs") };
    setting.look(&[other.clone(), guest.clone()]);
    let found = setting.look(&[other, guest]);
    assert_eq!(names(&found), ["owner"]);
    assert!(reason(&found, "guest").contains("cutover.share=blog"), "{}", reason(&found, "guest"));
}

#[test]
fn the_services_of_the_config_file_have_their_routes_always() {
    let host = cutover_proxy::table::HostPattern::Exact("shop.example".into());
    let mut setting = Setting::new();
    let labelled = of("c", 9, "p", &[("cutover.service", "c"), ("cutover.hosts", "shop.example")]);
    assert_eq!(names(&setting.look(std::slice::from_ref(&labelled))), ["c"]);
    let shop = ServiceConfig { hosts: vec![host], ..ServiceConfig::default() };
    setting.services = [("shop".parse().unwrap(), shop)].into();
    let found = setting.look(&[labelled]);
    assert!(reason(&found, "c").contains("service shop of the config file"));
}

#[test]
fn a_candidate_that_asks_for_anothers_host_is_left_out_and_its_service_goes_on() {
    let mut setting = Setting::new().serves(Target::Blue);
    let victim =
        of("victim", 1, "shop", &[("cutover.service", "shop"), ("cutover.hosts", "shop.example")]);
    let own = of("own", 9, "blog", &[WEB, BLUE, ("cutover.hosts", "blog.example")]);
    let greedy =
        of("greedy", 0, "blog", &[WEB, GREEN, ("cutover.hosts", "blog.example,shop.example")]);
    setting.look(std::slice::from_ref(&victim));
    let found = setting.look(&[victim, own, greedy]);
    assert_eq!(names(&found), ["own", "victim"]);
    assert!(reason(&found, "greedy").contains("belongs to service shop"));
}

#[test]
fn the_service_of_another_edge_claims_no_route_here() {
    let mut setting = Setting::new();
    setting.observed.network = Some(EdgeNetwork::Networks(["p_default".to_owned()].into()));
    let mut theirs = container("theirs", 9, &[("cutover.service", "shop")]);
    theirs.networks = [("q_default".to_owned(), IpAddr::from([172, 19, 0, 2]))].into();
    let ours = container("ours", 1, &[WEB]);
    let found = setting.look(&[theirs, ours]);
    assert_eq!(colors(&found), [("ours", Color::Blue)]);
    assert!(reason(&found, "theirs").contains("no network in common"));
}

#[test]
fn a_container_is_reached_on_a_network_we_share() {
    let mut setting = Setting::new();
    setting.observed.network = Some(EdgeNetwork::Networks(["edge".to_owned()].into()));
    let mut one = container("one", 9, &[WEB]);
    let found = setting.look(std::slice::from_ref(&one));
    assert!(reason(&found, "one").contains("no network in common"));
    one.networks.insert("edge".into(), IpAddr::from([10, 0, 0, 7]));
    let found = setting.look(std::slice::from_ref(&one));
    assert_eq!(found.endpoints[0].address.to_string(), "10.0.0.7:8000");
    setting.observed.network = Some(EdgeNetwork::Host);
    one.labels.insert("cutover.network".into(), "default".into());
    assert_eq!(setting.look(&[one]).endpoints[0].address.to_string(), "172.18.0.2:8000");
}

#[test]
fn ports_that_leave_a_choice_ask_for_one() {
    let mut one = container("one", 9, &[WEB]);
    one.ports = [80, 443].into();
    let found = Setting::new().look(std::slice::from_ref(&one));
    assert!(reason(&found, "one").contains("80, 443"));
    one.labels.insert("cutover.port".into(), "443".into());
    assert_eq!(Setting::new().look(&[one]).endpoints[0].address.port(), 443);
}

#[test]
fn a_container_has_the_share_that_its_own_label_says() {
    let found = Setting::new().look(&[
        container("light", 2, &[WEB]),
        container("heavy", 1, &[WEB, ("cutover.weight", "3")]),
        container("none", 0, &[WEB, ("cutover.weight", "0")]),
    ]);
    let mut weights: Vec<_> = found.endpoints.iter().map(|e| (e.name.as_str(), e.weight)).collect();
    weights.sort_unstable();
    assert_eq!(weights, [("heavy", 3), ("light", 1)]);
    assert!(reason(&found, "none").contains("cutover.weight"), "{}", reason(&found, "none"));
}

#[test]
fn docker_health_counts() {
    let mut one = container("one", 9, &[WEB]);
    one.wellness = Wellness::Starting;
    let found = Setting::new().look(&[one]);
    assert_eq!(found.endpoints[0].unwell.as_deref(), Some("docker health: starting"));
}

#[test]
fn a_service_is_the_projects_that_had_it_first_until_that_has_gone() {
    let mut setting = Setting::new();
    let all = [of("a", 9, "one", &[WEB]), of("b", 8, "two", &[WEB, GREEN])];
    let found = setting.look(&all);
    assert_eq!(names(&found), ["a"]);
    assert!(reason(&found, "b").contains("belongs to the compose project one"), "{found:?}");
    // Recreated, it is the younger one, and still in its place; our own project is no exception.
    setting.observed.project = Some("two".to_owned());
    let all = [of("b", 8, "two", &[WEB, GREEN]), of("a2", 1, "one", &[WEB])];
    assert_eq!(names(&setting.look(&all)), ["a2"]);
    assert_eq!(names(&setting.look(&all[..1])), ["b"]);
    // What says so may come from elsewhere, and what no Compose has made too.
    let mut setting = Setting::new();
    let all = [
        of("a", 9, "one", &[WEB]),
        of("b", 8, "two", &[WEB, ("cutover.project", "one")]),
        container("c", 7, &[WEB]),
    ];
    assert_eq!(names(&setting.look(&all)), ["a", "b", "c"]);
    // Where nobody had it, our own project comes first.
    let mut setting = Setting::new();
    setting.observed.project = Some("two".to_owned());
    assert_eq!(
        names(&setting.look(&[of("a", 9, "one", &[WEB]), of("b", 8, "two", &[WEB])])),
        ["b"]
    );
}

#[test]
fn a_project_that_cannot_be_reached_keeps_no_service() {
    let mut setting = Setting::new();
    setting.observed.network = Some(EdgeNetwork::Networks(["p_default".to_owned()].into()));
    let mut far = of("far", 9, "one", &[WEB]);
    far.networks = [("elsewhere".to_owned(), IpAddr::from([172, 19, 0, 2]))].into();
    let found = setting.look(&[far, of("near", 8, "two", &[WEB])]);
    assert_eq!(colors(&found), [("near", Color::Blue)]);
}

#[test]
fn a_service_whose_last_container_is_about_to_go_keeps_its_route() {
    let lone = container("web", 9, &[WEB, BLUE]);
    let mut doomed = Setting::new();
    doomed.look(std::slice::from_ref(&lone));
    signal(&mut doomed, "web", 15);
    let alone = Container { networks: [].into(), ..lone };
    for found in [doomed.classify(), Setting::new().look(&[alone])] {
        assert!(found.endpoints.is_empty());
        assert!(found.services.contains_key(&web()), "{found:?}");
    }
}

fn signal(setting: &mut Setting, id: &str, number: i32) -> Option<String> {
    let transition = Transition::Signalled(Signal(number));
    setting.observed.happened(&WorkloadId::local(id), &transition, Instant::now())
}

#[test]
fn only_a_signal_that_ends_takes_a_container_out_and_not_for_longer_than_its_grace() {
    let mut setting = Setting::new();
    let lone = container("web", 9, &[WEB, BLUE]);
    setting.look(std::slice::from_ref(&lone));
    for harmless in [1, 3, 10, 12, 21, 22, 28] {
        assert_eq!(signal(&mut setting, "web", harmless), None, "signal {harmless}");
        assert_eq!(names(&setting.classify()), ["web"]);
    }
    assert_eq!(signal(&mut setting, "web", 15).as_deref(), Some("web"));
    let found = setting.classify();
    assert_eq!((names(&found), found.spares.len()), (vec![], 1), "it is probed as before");
    assert_eq!(reason(&found, "web"), "it has been told to stop");
    assert!(!setting.observed.take_back(Instant::now(), &setting.ready));
    let past = Instant::now() + Duration::from_secs(15);
    assert!(!setting.observed.take_back(past, &BTreeSet::new()), "its probes fail");
    assert!(setting.observed.take_back(past, &setting.ready));
    assert_eq!(names(&setting.classify()), ["web"]);
}

#[test]
fn a_look_that_was_begun_before_a_container_ended_does_not_bring_it_back() {
    let mut setting = Setting::new();
    let lone = container("web", 9, &[WEB, BLUE]);
    setting.look(std::slice::from_ref(&lone));
    let begun = setting.observed.transitions();
    let id = lone.id.clone();
    setting.observed.happened(&id, &Transition::Ended, Instant::now());
    setting.observed.update(&id, Some(lone.clone()), &BTreeMap::new(), begun);
    assert!(setting.classify().endpoints.is_empty());
    setting.observed.replace(vec![lone.clone()], &[], &BTreeMap::new(), begun);
    assert!(setting.classify().endpoints.is_empty());
    let begun = setting.observed.transitions();
    setting.observed.update(&id, Some(lone), &BTreeMap::new(), begun);
    assert_eq!(names(&setting.classify()), ["web"]);
}

#[test]
fn labels_beside_the_config_file_take_nobodys_host() {
    let mut setting = Setting::new();
    let victim = [("cutover.service", "shop"), ("cutover.hosts", "shop.example")];
    let victim = of("victim", 1, "shop", &victim);
    setting.look(std::slice::from_ref(&victim));
    setting.services = [(web(), ServiceConfig::default())].into();
    let thief = of("thief", 9, "evil", &[WEB, ("cutover.hosts", "shop.example")]);
    let found = setting.look(&[victim, thief]);
    assert_eq!(names(&found), ["victim"]);
    assert!(reason(&found, "thief").contains("belongs to service shop"), "{found:?}");
}
