//! Releases from a registry: a real one, on loopback, with logins and without.
//!
//! Needs a Docker engine and Debian's `docker-registry`; where one is missing it says so loudly, and
//! `CUTOVER_REQUIRE_DOCKER=1` makes that a failure.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "blocking test code; a panic is how a test fails"
)]

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use cutover_harness::{Edge, Outcome, Port, eventually, image, not_tested};
use serde_json::{Value, json};

/// A registry, and an edge with nobody logged in, which goes first; returns where one is missing.
macro_rules! edge_and_registry {
    ($logins:expr) => {{
        let home = tempfile::tempdir().unwrap();
        let Some(registry) = Registry::start($logins) else { return };
        let path = home.path().display().to_string();
        let edge = Edge::builder().environment("DOCKER_CONFIG", &path).start();
        let Some(edge) = edge else { return };
        (home, registry, edge)
    }};
}

#[test]
fn a_release_is_pulled_by_tag_and_pinned_by_digest() {
    let (_home, registry, edge) = edge_and_registry!(&[]);
    let first = registry.push("1", "1");
    let second = registry.push("2", "2");
    let service = edge.service();
    for color in ["blue", "green"] {
        edge.app_of(&registry.image("1"), color, color, &[]);
    }
    eventually("blue serves", || edge.releases("blue") == ["1"]);
    let load = edge.load();

    let never = edge.cutover(&["deploy", &service, "--tag", "2", "--pull", "never", "--json"]);
    assert_eq!(never.code, 3, "{never:?}");
    assert!(reason(&never).contains("is not on this host"), "{never:?}");

    let lines = deploy_with_curl(&edge, &json!({"tag": "2", "monitor_ms": 0, "keep_warm_ms": 0}));
    let report = lines.last().unwrap();
    assert_eq!(report["result"], "done", "{report}");
    assert_eq!(report["digest"], second.as_str(), "{report}");
    let pulled: Vec<_> = lines.iter().filter(|line| line["event"] == "pull").collect();
    assert_eq!(pulled.last().unwrap()["digest"], second.as_str(), "{lines:?}");
    assert!(pulled.iter().all(|line| line["service"] == service.as_str()), "{pulled:?}");
    assert_eq!(edge.releases("green"), ["2"]);
    assert!(repo_digests(&edge, "green").contains(&second));

    // The tag means something else now. What is here goes on being that, until it is asked for.
    let third = registry.push("2", "3");
    let missing = deploy(&edge, &["--tag", "2", "--pull", "missing"]);
    assert_eq!(missing.report()["digest"], second.as_str(), "{missing:?}");
    let always = deploy(&edge, &["--tag", "2", "--pull", "always"]);
    assert_eq!(always.report()["digest"], third.as_str(), "{always:?}");
    let local = deploy(&edge, &["--tag", "2", "--pull", "never"]);
    assert_eq!(local.report()["digest"], third.as_str(), "{local:?}");

    let history = edge.cutover(&["history", &service, "--json"]).report();
    let digests: Vec<_> = history["revisions"].as_array().unwrap().iter().rev().collect();
    let digests: Vec<_> = digests.iter().map(|r| r["digest"].as_str().unwrap()).collect();
    assert_eq!(digests, [&*first, &second, &second, &third, &third], "{history}");
    assert_eq!(load.stop().failures, Vec::<String>::new());
}

#[test]
fn a_rollback_after_warm_starts_the_old_digest_and_not_where_its_tag_went() {
    let (_home, registry, edge) = edge_and_registry!(&[]);
    let old = registry.push("2", "2");
    registry.push("other", "3");
    let service = edge.service();
    for color in ["blue", "green"] {
        edge.app(color, "1");
    }
    edge.until_served("1");
    let load = edge.load();
    let tagged = registry.image("2");
    assert_eq!(deploy(&edge, &["--image", &tagged]).code, 0);
    let moved = registry.push("2", "3");
    let other = registry.image("other");
    assert_eq!(deploy(&edge, &["--image", &other]).code, 0);
    // Both colors, so that no container needs the old image any more.
    assert_eq!(deploy(&edge, &["--image", &tagged, "--pull", "always"]).code, 0);
    edge.docker(&["rmi", &format!("{}@{}", registry.repository(), digest_of(&old))]);

    let back = edge.cutover(&["rollback", &service, "2", "--json"]);
    assert_eq!(back.code, 0, "{back:?}");
    assert_eq!(back.report()["digest"], old.as_str(), "{back:?}");
    let serving = edge.active();
    let digests = repo_digests(&edge, &serving);
    assert!(digests.contains(&old) && !digests.contains(&moved), "{digests:?}");
    assert_eq!(load.stop().failures, Vec::<String>::new());
}

#[test]
fn a_rollback_to_an_image_that_nobody_has_any_more_is_refused() {
    let (_home, registry, edge) = edge_and_registry!(&[]);
    let service = edge.service();
    for color in ["blue", "green"] {
        edge.app(color, "1");
    }
    edge.until_served("1");
    let local = registry.image("never-pushed");
    let container = edge.docker(&["create", &image("1")]);
    edge.docker(&["commit", "--change", "ENV LOCAL=1", &container, &local]);
    edge.docker(&["rm", &container]);
    assert_eq!(deploy(&edge, &["--image", &local, "--pull", "never"]).code, 0);
    for release in ["2", "3"] {
        assert_eq!(deploy(&edge, &["--image", &image(release)]).code, 0);
    }
    edge.docker(&["rmi", &local]);
    let before = (edge.active(), edge.containers());
    let refused = edge.cutover(&["rollback", &service, "2", "--json"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(reason(&refused).contains("no registry has it"), "{refused:?}");
    assert_eq!(refused.report()["kind"], "rollback");
    assert_eq!((edge.active(), edge.containers()), before);
}

#[test]
#[expect(
    clippy::cognitive_complexity,
    reason = "what happens is told in order; each assert counts"
)]
fn a_login_comes_from_the_caller_or_a_mounted_config_and_is_never_kept() {
    // Base64 of it has characters that differ between the alphabets.
    let password = "S3cret>>>pass???~~~word";
    let (mounted, registry, edge) = edge_and_registry!(&[("ci", password)]);
    let digest = registry.push("2", "2");
    for color in ["blue", "green"] {
        edge.app(color, "1");
    }
    edge.until_served("1");
    let service = edge.service();
    let image = registry.image("2");
    let deploy: Vec<&str> =
        ["deploy", &service, "--image", &image, "--pull", "always", "--json"].into();
    let short: Vec<&str> = [&deploy[..], &["--monitor", "0s", "--keep-warm", "0s"]].concat();

    let nobody = edge.cutover(&short);
    assert_eq!(nobody.code, 3, "{nobody:?}");
    assert!(reason(&nobody).contains("no basic auth credentials"), "{nobody:?}");
    let wrong = docker_config(&registry, "ci", "wrong");
    let refused = edge.spawn_with(&short, &[("DOCKER_CONFIG", wrong.path())]).wait();
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(reason(&refused).starts_with("unauthorized"), "{refused:?}");
    assert_eq!((edge.active(), edge.containers().len()), ("blue".to_owned(), 2));

    let right = docker_config(&registry, "ci", password);
    let as_caller = [("DOCKER_CONFIG", right.path())];
    let done = edge.spawn_with(&short, &as_caller).wait();
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(done.report()["digest"], digest.as_str());
    // It is not remembered for the next one.
    assert_eq!(edge.cutover(&short).code, 3);
    assert_eq!(edge.cutover(&["plan", &service, "--image", &image, "--pull", "always"]).code, 3);
    let plan = ["plan", &service, "--image", &image, "--pull", "always"];
    assert_eq!(edge.spawn_with(&plan, &as_caller).wait().code, 0);

    std::fs::copy(right.path().join("config.json"), mounted.path().join("config.json")).unwrap();
    let done = edge.cutover(&short);
    assert_eq!(done.code, 0, "{done:?}");

    let events = edge.cutover(&["events"]).stdout;
    let encoded = auth("ci", password);
    let mut files = Vec::new();
    files_below(edge.dir(), &mut files);
    assert!(files.len() >= 3, "{files:?}");
    let mut texts = vec![("events".to_owned(), events)];
    for file in files {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        texts.push((file.display().to_string(), text));
    }
    for (place, text) in texts {
        assert!(!text.contains(password) && !text.contains(&encoded), "{place} knows the password");
    }
}

#[test]
fn an_image_that_cannot_be_had_is_refused_in_the_words_of_its_registry() {
    let (_home, mut registry, edge) = edge_and_registry!(&[]);
    registry.push("1", "1");
    for color in ["blue", "green"] {
        edge.app_of(&registry.image("1"), color, color, &[]);
    }
    eventually("blue serves", || edge.releases("blue") == ["1"]);
    let service = edge.service();
    let refused = edge.cutover(&["deploy", &service, "--tag", "nowhere", "--json"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(reason(&refused).starts_with("manifest unknown"), "{refused:?}");
    let prose = edge.cutover(&["deploy", &service, "--tag", "nowhere"]);
    assert!(
        prose.stdout.starts_with(&format!("{service}: refused: manifest unknown")),
        "{prose:?}"
    );
    let plan = edge.cutover(&["plan", &service, "--tag", "nowhere", "--json"]);
    assert_eq!(plan.code, 3, "{plan:?}");
    let plan = plan.report();
    assert_eq!(plan["blockers"][0]["code"], "image_unreachable", "{plan}");
    assert!(plan["blockers"][0]["message"].as_str().unwrap().contains("nowhere"), "{plan}");

    // A registry that is down is in nobody's way while the image is here.
    let here = registry.image("1");
    registry.stop();
    let always = edge.cutover(&["deploy", &service, "--pull", "always", "--json"]);
    assert_eq!(always.code, 3, "{always:?}");
    assert!(reason(&always).contains("refused"), "{always:?}");
    assert_eq!((edge.active(), edge.containers().len()), ("blue".to_owned(), 2));
    assert_eq!(deploy(&edge, &["--image", &here]).code, 0);
}

fn deploy(edge: &Edge, more: &[&str]) -> Outcome {
    let service = edge.service();
    let short = ["--monitor", "0s", "--keep-warm", "0s", "--json"];
    let said = edge.cutover(&[&["deploy", &service], more, &short].concat());
    assert_eq!(said.code, 0, "{said:?}");
    said
}

fn deploy_with_curl(edge: &Edge, body: &Value) -> Vec<Value> {
    let url = format!("http://cutover/v1/services/{}/deploy", edge.service());
    let output = Command::new("curl")
        .args(["--silent", "--max-time", "120", "--unix-socket"])
        .arg(edge.dir().join("c.sock"))
        .args(["--header", "content-type: application/json", "--data", &body.to_string(), &url])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn reason(said: &Outcome) -> String {
    said.report()["reason"].as_str().unwrap_or_default().to_owned()
}

/// What registries call the image of a color's container.
fn repo_digests(edge: &Edge, color: &str) -> Vec<String> {
    let filter = format!("label=cutover.service={}", edge.service());
    let of = format!("label=cutover.color={color}");
    let id = edge.docker(&["ps", "-q", "--filter", &filter, "--filter", &of]);
    let image = edge.docker(&["inspect", "--format", "{{.Image}}", &id]);
    let digests = edge.docker(&["image", "inspect", "--format", "{{json .RepoDigests}}", &image]);
    serde_json::from_str(&digests).unwrap()
}

fn digest_of(pinned: &str) -> &str {
    pinned.split_once('@').unwrap().1
}

/// A registry on loopback, which the engine may reach without TLS.
struct Registry {
    process: Child,
    port: Port,
    name: String,
    logins: Vec<(String, String)>,
    _dir: tempfile::TempDir,
}

impl Registry {
    fn start(logins: &[(&str, &str)]) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let found = Command::new("docker-registry").arg("--version").output().is_ok();
        if !found {
            not_tested("`docker-registry` is not installed");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let port = Port::claim();
        let mut config = json!({
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": dir.path().join("images")}},
            "http": {"addr": port.address().to_string()},
        });
        if !logins.is_empty() {
            let file = dir.path().join("htpasswd");
            for (user, password) in logins {
                let mut htpasswd = Command::new("htpasswd");
                htpasswd.args(["-B", "-C", "4", "-b", "-c"]).arg(&file).args([user, password]);
                assert!(htpasswd.output().unwrap().status.success(), "{htpasswd:?}");
            }
            config["auth"] = json!({"htpasswd": {"realm": "test", "path": file}});
        }
        let file = dir.path().join("config.yml");
        std::fs::write(&file, config.to_string()).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the registry listens", || TcpStream::connect(port.address()).is_ok());
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("app{}-{number}", std::process::id());
        let logins = logins.iter().map(|(u, p)| ((*u).to_owned(), (*p).to_owned())).collect();
        Some(Self { process, port, name, logins, _dir: dir })
    }

    fn stop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

    fn repository(&self) -> String {
        format!("{}/{}", self.host(), self.name)
    }

    fn image(&self, tag: &str) -> String {
        format!("{}:{tag}", self.repository())
    }

    /// Makes a new image of a release of the app, that nobody here has, and gives what it is pinned
    /// to.
    fn push(&self, tag: &str, release: &str) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let image = format!("{}:push-{number}", self.repository());
        let change = format!("ENV PUSH={}-{number}", self.name);
        let container = docker(&["create", &cutover_harness::image(release)]);
        docker(&["commit", "--change", &change, &container, &image]);
        docker(&["rm", &container]);
        let config = match self.logins.first() {
            Some((user, password)) => docker_config(self, user, password),
            None => tempfile::tempdir().unwrap(),
        };
        let dir = config.path().to_str().unwrap();
        docker(&["--config", dir, "push", &image]);
        let digest = docker(&["image", "inspect", "--format", "{{index .RepoDigests 0}}", &image]);
        docker(&["rmi", &image]);
        // The tag is moved in the registry alone.
        let url = |tag: &str| format!("http://{}/v2/{}/manifests/{tag}", self.host(), self.name);
        let manifest = tempfile::NamedTempFile::new().unwrap();
        let kind = "application/vnd.docker.distribution.manifest.v2+json";
        let user = self.logins.first().map(|(user, password)| format!("{user}:{password}"));
        let curl = |arguments: &[&str]| {
            let mut command = Command::new("curl");
            command.args(["--silent", "--fail", "--max-time", "20"]).args(arguments);
            if let Some(user) = &user {
                command.args(["--user", user]);
            }
            assert!(command.output().unwrap().status.success(), "{command:?}");
        };
        let path = manifest.path().to_str().unwrap();
        curl(&["--header", &format!("accept: {kind}"), "--output", path, &url(digest_of(&digest))]);
        let content = format!("content-type: {kind}");
        curl(&[
            "--request",
            "PUT",
            "--header",
            &content,
            "--data-binary",
            &format!("@{path}"),
            &url(tag),
        ]);
        digest
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
        let images = ["images", "--quiet", "--filter", &format!("reference={}", self.repository())];
        let images = Command::new("docker").args(images).output().unwrap();
        for id in String::from_utf8_lossy(&images.stdout).lines() {
            Command::new("docker").args(["rmi", "--force", id]).output().ok();
        }
    }
}

/// What `docker login` would leave.
fn docker_config(registry: &Registry, user: &str, password: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({"auths": {registry.host(): {"auth": auth(user, password)}}});
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    dir
}

fn auth(user: &str, password: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", "printf %s \"$1\" | base64 -w0", "sh", &format!("{user}:{password}")])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn files_below(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => files_below(&entry.path(), files),
            kind if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
}
