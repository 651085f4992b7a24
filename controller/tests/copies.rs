//! A copy is what Compose would have made of the new image, on a real engine.
//!
//! Where none answers every test says so loudly; `CUTOVER_REQUIRE_DOCKER=1` makes that a failure.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

use cutover_harness::{App, Edge, IMAGE};
use serde_json::Value;

macro_rules! on_an_engine {
    () => {
        match Edge::start() {
            Some(edge) => edge,
            None => return,
        }
    };
}

fn plan(edge: &Edge, tag: &str) -> Value {
    edge.cutover(&["plan", &edge.service(), "--tag", tag, "--json"]).report()
}

fn deploy(edge: &Edge, tag: &str) {
    let service = edge.service();
    let deploy = ["deploy", &service, "--tag", tag, "--monitor", "0s", "--keep-warm", "0s"];
    let _done = edge.cutover(&deploy).success();
}

/// The one container that serves.
fn serving(edge: &Edge) -> String {
    let status = edge.service_status().unwrap();
    let active = status["active"].as_str().unwrap();
    status["colors"][active]["endpoints"][0]["container"].as_str().unwrap().to_owned()
}

#[test]
fn an_image_that_cannot_be_looked_at_is_a_refusal_and_no_guess() {
    let edge = on_an_engine!();
    edge.replica("1", 1, false);
    edge.until_served("1");
    let (name, service) = (serving(&edge), edge.service());
    let image = edge.docker(&["inspect", "-f", "{{.Image}}", &name]);
    let before = edge.identity(&name);
    // As if a cleanup had removed it, or the engine did not answer in time.
    edge.view().fail(&format!("/images/{image}/json"));
    let said = edge.cutover(&["deploy", &service, "--tag", "2", "--monitor", "0s"]);
    assert_ne!(said.code, 0, "{said:?}");
    assert_eq!(edge.identity(&name), before);
    edge.view().heal();
    deploy(&edge, "2");
    let environment =
        edge.docker(&["inspect", "-f", "{{join .Config.Env \"\\n\"}}", &serving(&edge)]);
    assert!(environment.lines().any(|line| line == "RELEASE=2"), "{environment}");
}

#[test]
fn what_the_user_set_is_kept_and_what_the_old_image_had_set_is_not() {
    let edge = on_an_engine!();
    let app = App::new(&edge, "web", "1").with(&[
        "-e",
        "MINE=1",
        "--entrypoint",
        "/cutover",
        "-m",
        "256m",
    ]);
    // The command is the user's, too.
    let image = format!("{IMAGE}:1");
    let _name = app.with(&["--init"]).run_with(&["demo-app", "--color", "green"]);
    edge.until_served("1");
    deploy(&edge, "2");
    let copy = serving(&edge);
    let inspect = |format: &str| edge.docker(&["inspect", "-f", format, &copy]);
    let environment = inspect("{{join .Config.Env \"\\n\"}}");
    assert!(environment.lines().any(|line| line == "MINE=1"), "{environment}");
    assert!(environment.lines().any(|line| line == "RELEASE=2"), "{environment}");
    assert_eq!(inspect("{{json .Config.Entrypoint}}"), "[\"/cutover\"]");
    assert_eq!(inspect("{{json .Config.Cmd}}"), "[\"demo-app\",\"--color\",\"green\"]");
    assert_eq!(inspect("{{.HostConfig.Memory}}"), (256 << 20).to_string());
    assert_eq!(inspect("{{.HostConfig.Init}}"), "true");
    assert_ne!(inspect("{{.Config.Image}}"), image);
}

#[test]
fn a_cleared_entrypoint_stays_cleared() {
    let edge = on_an_engine!();
    let app = App::new(&edge, "web", "1").with(&["--entrypoint", ""]);
    let _name = app.run_with(&["/cutover", "demo-app"]);
    edge.until_served("1");
    deploy(&edge, "2");
    edge.until_served("2");
}

#[test]
fn no_volume_with_data_is_removed() {
    let edge = on_an_engine!();
    let name = App::new(&edge, "web", "1").with(&["-v", "/data"]).run();
    edge.until_served("1");
    let volume = edge.docker(&["inspect", "-f", "{{(index .Mounts 0).Name}}", &name]);
    let planned = plan(&edge, "2");
    let text = planned.to_string();
    assert!(text.contains("volume"), "{text}");
    let service = edge.service();
    let arguments = ["deploy", &service, "--tag", "2", "--monitor", "0s", "--keep-warm", "0s"];
    let said = edge.cutover(&arguments);
    assert!([0, 3].contains(&said.code), "{said:?}");
    if said.code == 0 {
        deploy(&edge, "3");
    }
    assert!(edge.engine.try_docker(&["volume", "inspect", &volume]).is_some(), "{volume} is gone");
    edge.docker(&["rm", "-f", &serving(&edge)]);
    for name in edge.containers() {
        edge.docker(&["rm", "-f", &name]);
    }
    edge.engine.try_docker(&["volume", "rm", &volume]);
}

#[test]
fn what_a_copy_cannot_have_is_named_by_the_plan() {
    let edge = on_an_engine!();
    let network = format!("{}-net", edge.service());
    let third = std::process::id() % 200;
    let subnet = format!("10.233.{third}");
    edge.docker(&["network", "create", "--subnet", &format!("{subnet}.0/24"), &network]);
    let address = format!("{subnet}.77");
    let _name = App::new(&edge, "web", "1").with(&["--network", &network, "--ip", &address]).run();
    edge.until_served("1");
    let text = plan(&edge, "2").to_string();
    assert!(text.contains(&address), "{text}");
    for name in edge.containers() {
        edge.docker(&["rm", "-f", &name]);
    }
    edge.docker(&["network", "rm", &network]);
}
