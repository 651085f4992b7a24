//! Containers that people rename, remove or make under our names: none of it keeps a service from
//! being deployed. On a real engine.
//!
//! Where none answers every test says so loudly; `CUTOVER_REQUIRE_DOCKER=1` makes that a failure.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

use cutover_harness::{App, ComposeProject, Edge, each_compose, eventually, image};

fn deploy(edge: &Edge, tag: &str) {
    edge.deploy(tag, "0s");
    assert_eq!(edge.answering().as_deref(), Some(tag));
}

#[test]
fn a_container_that_somebody_has_renamed_blocks_no_deploy() {
    each_compose(|edge, compose| {
        let project = ComposeProject::lone(edge, compose, "1", &[]);
        let load = edge.load();
        for tag in ["2", "3"] {
            for (n, id) in project.containers("web").iter().enumerate() {
                let name = format!("{}-renamed-{tag}-{n}", edge.service());
                edge.docker(&["rename", id, &name]);
            }
            load.passes(20);
            deploy(edge, tag);
        }
        load.stop_without_failure();
    });
}

#[test]
fn a_pair_whose_containers_were_all_removed_is_deployed_from_its_history() {
    each_compose(|edge, compose| {
        let pair = ComposeProject::pair(edge, compose, "1");
        deploy(edge, "2");
        for service in ["web-blue", "web-green"] {
            for id in pair.containers(service) {
                edge.docker(&["rm", "-f", &id]);
            }
        }
        eventually("none is left", || edge.active_endpoints_up() == 0);
        edge.kill_controller();
        eventually("the controller is back", || edge.status().is_some());
        deploy(edge, "3");
        // What Compose makes of its file joins nothing that serves.
        pair.up(&[]);
        let load = edge.load();
        load.passes(200);
        assert_eq!(edge.answering().as_deref(), Some("3"));
        load.stop_without_failure();
        deploy(edge, "2");
    });
}

#[test]
fn what_is_retained_is_as_much_as_was_asked_for() {
    let Some(edge) = Edge::start() else { return };
    let _name = App::new(&edge, "web", "1").label("cutover.rollout.retain", "2").run();
    edge.until_served("1");
    for tag in ["2", "3", "1", "2", "3"] {
        deploy(&edge, tag);
    }
    eventually("two former ones are left beside the one that serves", || {
        let retained = edge.containers().iter().filter(|name| name.contains("-before-r")).count();
        retained == 2 && edge.containers().len() == 3
    });
}

#[test]
fn a_container_of_somebody_else_under_the_name_of_a_candidate_is_neither_used_nor_touched() {
    let Some(edge) = Edge::start() else { return };
    edge.pair("1");
    let idle = if edge.active() == "blue" { "green" } else { "blue" };
    let name = format!("{}-{idle}-r2", edge.service());
    let network = edge.service();
    let create = ["create", "--name", &name, "--network", &network, "-l", &edge.label()];
    edge.docker(&[&create[..], &[&image("3")]].concat());
    let before = edge.identity(&name);
    let load = edge.load();
    let service = edge.service();
    let arguments = ["deploy", &service, "--tag", "2", "--monitor", "0s", "--keep-warm", "0s"];
    let said = edge.cutover(&arguments);
    let expected = match said.code {
        0 => "2",
        3 if said.stdout.contains(&name) || said.stderr.contains(&name) => "1",
        _ => panic!("{said:?}"),
    };
    assert_eq!(edge.answering().as_deref(), Some(expected), "{said:?}");
    assert_eq!(edge.identity(&name), before);
    assert!(edge.is_stopped(&name));
    load.stop_without_failure();
    edge.docker(&["rm", "-f", &name]);
    deploy(&edge, "2");
}
