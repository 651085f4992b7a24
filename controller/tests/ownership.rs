//! Live settings and live routes come from what serves, and a route has an owner, on a real engine.
//!
//! Where none answers every test says so loudly; `CUTOVER_REQUIRE_DOCKER=1` makes that a failure.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

use cutover_harness::{
    App, COMPOSES, ComposeProject, Edge, each_compose, eventually, image, installed, on_an_engine,
};

/// Which container answers a path of the edge's host, by the name in its environment.
fn answerer(edge: &Edge, path: &str) -> Option<String> {
    let mut stream = cutover_harness::connect(edge.address()).ok()?;
    let answer = cutover_harness::ask(&mut stream, &edge.host(), path).ok()?;
    Some(answer.field("x-demo-name")?.to_owned())
}

#[test]
fn labels_of_an_idle_container_change_nothing_for_live_traffic() {
    let edge = on_an_engine!();
    edge.app("blue", "1");
    edge.until_served("1");
    let load = edge.load();
    let green = App::new(&edge, "green", "1").color("green");
    let green =
        green.label("cutover.probe.path", "/nowhere").label("cutover.hosts", "elsewhere.test");
    let _green = green.label("cutover.timeouts.hold", "0s").run();
    eventually("green is known", || {
        let status = edge.service_status().unwrap();
        status["colors"]["green"]["endpoints"].as_array().is_some_and(|all| !all.is_empty())
    });
    load.passes(500);
    assert_eq!(edge.endpoints_up("blue"), 1);
    assert!(cutover_harness::fetch(edge.address(), "elsewhere.test").is_err());
    load.stop_without_failure();
}

#[test]
fn a_container_that_is_only_created_changes_nothing() {
    let edge = on_an_engine!();
    edge.app("blue", "1");
    edge.until_served("1");
    let load = edge.load();
    let created =
        App::new(&edge, "created", "1").color("blue").label("cutover.probe.path", "/nowhere");
    let _created = created.label("cutover.hosts", "other.test").create();
    // Another project's service with our host.
    let other = App::new(&edge, "other", "1")
        .label("cutover.service", &format!("{}-other", edge.service()));
    let _other = other.of_compose("other", "web").create();
    edge.kill_controller();
    eventually("the controller is back", || edge.status().is_some());
    load.passes(500);
    assert_eq!(edge.endpoints_up("blue"), 1);
    load.stop_without_failure();
}

#[test]
fn labels_of_a_candidates_image_change_nothing_before_its_flip() {
    let edge = on_an_engine!();
    edge.pair("1");
    let tag = format!("labelled-{}", edge.service());
    let container = edge.docker(&["create", "--network", "none", &image("never-ready")]);
    let change = "LABEL cutover.path=/elsewhere/ cutover.timeouts.hold=0s";
    edge.docker(&["commit", "--change", change, &container, &image(&tag)]);
    edge.docker(&["rm", &container]);
    let load = edge.load();
    let service = edge.service();
    let deploy = ["deploy", &service, "--tag", &tag, "--deploy-timeout", "3s"];
    let said = edge.cutover(&deploy);
    assert_eq!(said.code, 3, "{said:?}");
    load.passes(50);
    load.stop_without_failure();
    for name in edge.containers() {
        edge.docker(&["rm", "-f", &name]);
    }
    edge.docker(&["rmi", &image(&tag)]);
}

/// A project that claims what is not its own.
fn stranger<'e>(
    edge: &'e Edge,
    compose: cutover_harness::Compose,
    labels: &[String],
) -> ComposeProject<'e> {
    let mut other = ComposeProject::of(edge, compose, &["web"], "2");
    other.project.push_str("-other");
    other.lines.push("environment: {DEMO_NAME: stranger}".to_owned());
    other.labels.push(format!("cutover.service={}-other", edge.service()));
    other.labels.extend(labels.iter().cloned());
    other.up(&[]);
    other
}

#[test]
fn a_host_and_all_its_paths_belong_to_the_project_that_had_it_first() {
    each_compose(|edge, compose| {
        let mut owner = ComposeProject::of(edge, compose, &["web-blue", "web-green"], "1");
        owner.lines.push("environment: {DEMO_NAME: owner}".to_owned());
        owner.bring_pair();
        let _root = stranger(edge, compose, &[]);
        let mut deeper = ComposeProject::of(edge, compose, &["web"], "2");
        deeper.project.push_str("-deeper");
        deeper.lines.push("environment: {DEMO_NAME: stranger}".to_owned());
        deeper.labels.push(format!("cutover.service={}-deeper", edge.service()));
        deeper.labels.push("cutover.path=/deeper/".to_owned());
        deeper.up(&[]);
        eventually("both are left out", || edge.left_out().len() == 2);
        let by_the_owner = || {
            for path in ["/", "/deeper/"] {
                assert_eq!(answerer(edge, path).as_deref(), Some("owner"), "{path}");
            }
        };
        by_the_owner();
        // Whatever makes the owner's containers the younger ones.
        owner.deploy(&["--tag", "2"]);
        by_the_owner();
        owner.up(&["--force-recreate"]);
        eventually("both colors are up", || {
            edge.endpoints_up("blue") + edge.endpoints_up("green") == 2
        });
        by_the_owner();
        let _stopped = owner.run(&["stop", "--timeout", "3"]).success();
        eventually("nobody serves", || edge.active_endpoints_up() == 0);
        assert_eq!(answerer(edge, "/"), None, "a stopped owner is an owner");
        edge.kill_controller();
        eventually("the controller is back", || edge.status().is_some());
        assert_eq!(answerer(edge, "/"), None, "the journal knows whose it is");
        let _started = owner.run(&["start"]).success();
        eventually("the owner serves", || answerer(edge, "/").as_deref() == Some("owner"));
    });
}

#[test]
fn a_host_is_free_once_its_owners_last_container_has_been_removed() {
    let Some(edge) = Edge::start() else { return };
    let Some(compose) = installed(&edge, COMPOSES[0]) else { return };
    let owner = ComposeProject::lone(&edge, compose, "1", &[]);
    let _other = stranger(&edge, compose, &[]);
    eventually("it is left out", || edge.left_out().len() == 1);
    drop(owner);
    eventually("the other serves", || answerer(&edge, "/").as_deref() == Some("stranger"));
}

#[test]
fn a_host_is_shared_with_the_projects_that_its_owner_names() {
    let Some(edge) = Edge::start() else { return };
    let Some(compose) = installed(&edge, COMPOSES[0]) else { return };
    let share = format!("cutover.share={}-other", edge.service());
    let mut owner = ComposeProject::of(&edge, compose, &["web"], "1");
    owner.lines.push("environment: {DEMO_NAME: owner}".to_owned());
    owner.labels.push(share);
    owner.up(&[]);
    edge.until_served("1");
    let _other = stranger(&edge, compose, &["cutover.path=/deeper/".to_owned()]);
    eventually("the other has its path", || {
        answerer(&edge, "/deeper/").as_deref() == Some("stranger")
    });
    assert_eq!(answerer(&edge, "/").as_deref(), Some("owner"));
}
