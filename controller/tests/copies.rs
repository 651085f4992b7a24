//! A copy is what Compose would have made of the new image, on a real engine.
//!
//! Where none answers every test says so loudly; `CUTOVER_REQUIRE_DOCKER=1` makes that a failure.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

use cutover_harness::{App, Edge, Subnet, image, on_an_engine};
use serde_json::Value;

fn plan(edge: &Edge, tag: &str) -> Value {
    edge.cutover(&["plan", &edge.service(), "--tag", tag, "--json"]).report()
}

#[test]
fn an_image_that_cannot_be_looked_at_is_a_refusal_and_no_guess() {
    let edge = on_an_engine!();
    edge.replica("1", 1, false);
    edge.until_served("1");
    let (name, service) = (edge.serving(), edge.service());
    let image = edge.docker(&["inspect", "-f", "{{.Image}}", &name]);
    let before = edge.identity(&name);
    // As if a cleanup had removed it, or the engine did not answer in time.
    edge.view().fail(&format!("/images/{image}/json"));
    let said = edge.cutover(&["deploy", &service, "--tag", "2", "--monitor", "0s"]);
    assert_ne!(said.code, 0, "{said:?}");
    assert_eq!(edge.identity(&name), before);
    edge.view().heal();
    edge.deploy("2", "0s");
    let environment =
        edge.docker(&["inspect", "-f", "{{join .Config.Env \"\\n\"}}", &edge.serving()]);
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
    let image = image("1");
    let _name = app.with(&["--init"]).run_with(&["demo-app", "--color", "green"]);
    edge.until_served("1");
    edge.deploy("2", "0s");
    let copy = edge.serving();
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
    edge.deploy("2", "0s");
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
        edge.deploy("3", "0s");
    }
    assert!(edge.engine.try_docker(&["volume", "inspect", &volume]).is_some(), "{volume} is gone");
    edge.docker(&["rm", "-f", &edge.serving()]);
    for name in edge.containers() {
        edge.docker(&["rm", "-f", &name]);
    }
    edge.engine.try_docker(&["volume", "rm", &volume]);
}

#[test]
fn what_a_copy_cannot_have_is_named_by_the_plan() {
    let edge = on_an_engine!();
    let network = format!("{}-net", edge.service());
    let subnet = Subnet::claim();
    edge.docker(&["network", "create", "--subnet", &subnet.cidr(), &network]);
    let address = subnet.address(77).to_string();
    let _name = App::new(&edge, "web", "1").with(&["--network", &network, "--ip", &address]).run();
    edge.until_served("1");
    let text = plan(&edge, "2").to_string();
    assert!(text.contains(&address), "{text}");
    for name in edge.containers() {
        edge.docker(&["rm", "-f", &name]);
    }
    edge.docker(&["network", "rm", &network]);
}
