//! A copy is what Compose would have made of the new image: what only a compose file can say, with
//! real Compose on a real engine.
//!
//! Where none answers every test says so loudly; `CUTOVER_REQUIRE_DOCKER=1` makes that a failure.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

use std::io::Read as _;

use cutover_harness::{Compose, ComposeProject, Edge, Subnet, each_compose, image, repository};

/// Compose v2: version 1 knows neither `content:` nor `environment:`.
const V2: Compose = cutover_harness::COMPOSES[1];

fn plan(edge: &Edge, tag: &str) -> String {
    edge.cutover(&["plan", &edge.service(), "--tag", tag, "--json"]).success().stdout
}

fn inspect(edge: &Edge, format: &str) -> String {
    edge.docker(&["inspect", "-f", format, &edge.serving()])
}

/// A file of the container that serves: its mode and what it holds.
fn file(edge: &Edge, path: &str) -> (String, String) {
    let mut command = edge.engine.command("sh");
    let copy = format!("docker cp {}:{path} - | tar -xpf - -C \"$0\"", edge.serving());
    let dir = tempfile::tempdir().unwrap();
    let copied = command.args(["-c", &copy]).arg(dir.path()).status().unwrap();
    assert!(copied.success(), "{path}");
    let path = dir.path().join(path.rsplit('/').next().unwrap());
    let mut text = String::new();
    std::fs::File::open(&path).unwrap().read_to_string(&mut text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
    (format!("{:o}", mode & 0o7777), text)
}

fn deploy(project: &ComposeProject<'_>, edge: &Edge, tag: &str) {
    project.deploy(&["--tag", tag]);
    edge.until_served(tag);
}

#[test]
fn configs_with_content_and_secrets_from_the_environment_are_carried_over_again_and_again() {
    each_compose(|edge, compose| {
        if compose != V2 {
            return;
        }
        let mut project = ComposeProject::of(edge, compose, &["web"], "1");
        project.environment.push(("CUTOVER_TEST_SECRET".into(), "hush".into()));
        project.lines.push("configs: [{source: settings, target: /etc/app.conf}]".into());
        project.lines.push("secrets: [token]".into());
        project.top.push("configs: {settings: {content: \"color = red\"}}".into());
        project.top.push("secrets: {token: {environment: CUTOVER_TEST_SECRET}}".into());
        project.up(&[]);
        edge.until_served("1");
        let before = [file(edge, "/etc/app.conf"), file(edge, "/run/secrets/token")];
        assert_eq!(before[0].1, "color = red");
        assert_eq!(before[1].1, "hush");
        let text = plan(edge, "2");
        assert!(!text.contains("file_not_carried"), "{text}");
        for tag in ["2", "3"] {
            deploy(&project, edge, tag);
            let now = [file(edge, "/etc/app.conf"), file(edge, "/run/secrets/token")];
            assert_eq!(now, before, "{tag}");
        }
    });
}

#[test]
fn an_entrypoint_that_the_compose_file_clears_stays_cleared() {
    each_compose(|edge, compose| {
        let mut project = ComposeProject::of(edge, compose, &["web"], "1");
        project.lines.push("entrypoint: \"\"".into());
        project.lines.push("command: [/cutover, demo-app, --color, green]".into());
        project.up(&[]);
        edge.until_served("1");
        for tag in ["2", "3"] {
            deploy(&project, edge, tag);
            assert_eq!(edge.fetch().unwrap(), "green", "{tag}");
            let entrypoint = inspect(edge, "{{json .Config.Entrypoint}}");
            assert!(!entrypoint.contains("cutover"), "{entrypoint}");
        }
    });
}

/// Two images with health checks of their own; removed when dropped.
struct Checked<'e> {
    edge: &'e Edge,
    tags: [String; 2],
}

impl<'e> Checked<'e> {
    fn build(edge: &'e Edge) -> Self {
        let tag = |n: &str| {
            let tag = format!("checked-{n}-{}", edge.service());
            let container = edge.docker(&["create", "--network", "none", &image(n)]);
            let command = format!("HEALTHCHECK CMD [\"/cutover\",\"demo-app\",\"--help\",\"{n}\"]");
            edge.docker(&["commit", "--change", &command, &container, &image(&tag)]);
            edge.docker(&["rm", &container]);
            tag
        };
        Self { edge, tags: ["1", "2"].map(tag) }
    }
}

impl Drop for Checked<'_> {
    fn drop(&mut self) {
        for name in self.edge.containers() {
            self.edge.engine.try_docker(&["rm", "-f", &name]);
        }
        for tag in &self.tags {
            self.edge.engine.try_docker(&["rmi", &format!("{}:{tag}", repository())]);
        }
    }
}

#[test]
fn of_a_health_check_only_what_the_user_set_is_kept() {
    each_compose(|edge, compose| {
        let images = Checked::build(edge);
        let [first, second] = &images.tags;
        let mut project = ComposeProject::of(edge, compose, &["web"], first);
        project.lines.push("healthcheck: {interval: 1s}".into());
        project.up(&[]);
        edge.until_served(first);
        deploy(&project, edge, second);
        let check = inspect(edge, "{{json .Config.Healthcheck}}");
        assert!(check.contains("1000000000"), "the interval is the user's: {check}");
        assert!(check.contains("\"--help\",\"2\""), "the test is the new image's: {check}");
        drop(project);
    });
}

#[test]
fn an_anonymous_volume_of_a_compose_service_keeps_its_data_through_deploys() {
    each_compose(|edge, compose| {
        let mut project = ComposeProject::of(edge, compose, &["web"], "1");
        project.lines.push("volumes: [/data]".into());
        project.up(&[]);
        edge.until_served("1");
        let volume = inspect(edge, "{{(index .Mounts 0).Name}}");
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        std::fs::write(&kept, "precious").unwrap();
        let into = format!("{}:/data/kept", edge.serving());
        edge.docker(&["cp", kept.to_str().unwrap(), &into]);
        let text = plan(edge, "2");
        assert!(text.contains("/data has no name"), "{text}");
        for tag in ["2", "3", "1"] {
            deploy(&project, edge, tag);
            assert_eq!(inspect(edge, "{{(index .Mounts 0).Name}}"), volume, "{tag}");
            assert_eq!(file(edge, "/data/kept").1, "precious", "{tag}");
        }
    });
}

#[test]
fn a_static_address_of_a_compose_file_is_named_by_the_plan_and_the_deploy_goes_on() {
    each_compose(|edge, compose| {
        let subnet = Subnet::claim();
        let address = subnet.address(77).to_string();
        let mut project = ComposeProject::of(edge, compose, &["web"], "1");
        project.lines.push(format!("networks: {{fixed: {{ipv4_address: {address}}}}}"));
        let pool = format!("{{ipam: {{config: [{{subnet: {}}}]}}}}", subnet.cidr());
        project.top.push(format!("networks: {{fixed: {pool}}}"));
        project.up(&[]);
        edge.until_served("1");
        let text = plan(edge, "2");
        assert!(text.contains(&address), "{text}");
        deploy(&project, edge, "2");
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
        assert!(!inspect(edge, format).contains(&address));
        for name in edge.containers() {
            edge.docker(&["rm", "-f", &name]);
        }
    });
}
