//! Projects of Docker Compose on an edge's engine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Stdio;

use crate::{Edge, Outcome, eventually, image, not_tested};

/// A Compose, by how it is called.
pub type Compose = &'static [&'static str];

/// Those that people have.
pub const COMPOSES: [Compose; 2] = [&["docker-compose"], &["docker", "compose"]];

/// Plays with every Compose there is, each with an edge of its own.
pub fn each_compose(play: impl Fn(&Edge, Compose)) {
    for compose in COMPOSES {
        let Some(edge) = Edge::start() else { return };
        if is_installed(&edge, compose) {
            play(&edge, compose);
        } else {
            not_tested(&format!("`{}` is not installed", compose.join(" ")));
        }
    }
}

/// This Compose, or the other one where it is not installed.
#[must_use]
pub fn installed(edge: &Edge, wanted: Compose) -> Option<Compose> {
    let found = [wanted].into_iter().chain(COMPOSES).find(|compose| is_installed(edge, compose));
    if found.is_none() {
        not_tested("no Compose is installed");
    }
    found
}

fn is_installed(edge: &Edge, compose: Compose) -> bool {
    let mut version = edge.engine.command(compose[0]);
    let version = version.args(&compose[1..]).arg("version").stdin(Stdio::null()).output();
    version.is_ok_and(|output| output.status.success())
}

/// A project of Compose that is one service of ours.
#[derive(Debug)]
pub struct ComposeProject<'e> {
    edge: &'e Edge,
    compose: Compose,
    /// Its name.
    pub project: String,
    /// Of Compose; what is behind a dash is a color.
    pub services: Vec<String>,
    /// Of all of them.
    pub image: String,
    /// Of all of them; a later value wins.
    pub labels: Vec<String>,
    /// Of one of them, by its name.
    pub own_labels: Vec<(String, String)>,
    /// Lines that are added to each of them, as `stop_signal: SIGQUIT`.
    pub lines: Vec<String>,
    /// Lines at the file's top level, as `secrets: {..}`.
    pub top: Vec<String>,
    /// Variables of Compose's own environment.
    pub environment: Vec<(String, String)>,
    dir: tempfile::TempDir,
}

impl<'e> ComposeProject<'e> {
    /// Of these compose services; nothing is up yet.
    ///
    /// # Panics
    /// When there is no room for its file.
    #[must_use]
    pub fn of(edge: &'e Edge, compose: Compose, services: &[&str], release: &str) -> Self {
        Self {
            edge,
            compose,
            project: edge.service(),
            services: services.iter().map(|service| (*service).to_owned()).collect(),
            image: image(release),
            labels: Vec::new(),
            own_labels: Vec::new(),
            lines: Vec::new(),
            top: Vec::new(),
            environment: Vec::new(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// Two services with a color each, up; blue serves.
    ///
    /// # Panics
    /// When they do not come up.
    #[must_use]
    pub fn pair(edge: &'e Edge, compose: Compose, release: &str) -> Self {
        let project = Self::of(edge, compose, &["web-blue", "web-green"], release);
        project.bring_pair();
        project
    }

    /// Brings the pair up; blue serves.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn bring_pair(&self) {
        self.up(&[]);
        eventually("both colors are up", || {
            self.edge.endpoints_up("blue") + self.edge.endpoints_up("green") == 2
        });
        // Whichever Compose has started first serves first.
        let _flipped = self.edge.cutover(&["flip", &self.edge.service(), "blue"]).success();
    }

    /// One service, up, whose containers are sorted by release.
    #[must_use]
    pub fn lone(edge: &'e Edge, compose: Compose, release: &str, labels: &[&str]) -> Self {
        let mut project = Self::of(edge, compose, &["web"], release);
        project.labels.extend(labels.iter().map(|label| (*label).to_owned()));
        project.up(&[]);
        edge.until_served(release);
        project
    }

    /// From now on of this release.
    pub fn release(&mut self, release: &str) {
        self.image = image(release);
    }

    /// Writes the file as it is now.
    fn write(&self) {
        let mut file = "services:\n".to_owned();
        for service in &self.services {
            let color = service.split_once('-').map(|(_, color)| format!("cutover.color={color}"));
            let base = [
                format!("cutover.service={}", self.edge.service()),
                format!("cutover.hosts={}", self.edge.host()),
                "cutover.port=8000".to_owned(),
                "cutover.probe.path=/health".to_owned(),
                "cutover.probe.interval=200ms".to_owned(),
                self.edge.label(),
            ];
            let own =
                self.own_labels.iter().filter(|(of, _)| of == service).map(|(_, label)| label);
            let all = base.iter().chain(&color).chain(&self.labels).chain(own);
            let labels: BTreeMap<_, _> = all.filter_map(|label| label.split_once('=')).collect();
            writeln!(file, "  {service}:\n    image: {}\n    labels:", self.image).unwrap();
            for (key, value) in labels {
                writeln!(file, "      {key}: \"{value}\"").unwrap();
            }
            for line in &self.lines {
                writeln!(file, "    {line}").unwrap();
            }
        }
        for line in &self.top {
            writeln!(file, "{line}").unwrap();
        }
        std::fs::write(self.dir.path().join("compose.yaml"), file).unwrap();
    }

    /// `up --detach` with the file as it is now.
    ///
    /// # Panics
    /// When it fails.
    pub fn up(&self, more: &[&str]) {
        self.write();
        let _up = self.run(&[&["up", "--detach"], more].concat()).success();
    }

    /// Runs Compose with the file as it is now.
    #[must_use]
    pub fn run_written(&self, arguments: &[&str]) -> Outcome {
        self.write();
        self.run(arguments)
    }

    /// Runs Compose with the file as it was last written.
    ///
    /// # Panics
    /// When there is none.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.edge.engine.command(self.compose[0]);
        command
            .envs(self.environment.iter().cloned())
            .args(&self.compose[1..])
            .args(["--project-name", &self.project, "--file"])
            .arg(self.dir.path().join("compose.yaml"))
            .args(arguments);
        Outcome::of(&command.output().unwrap())
    }

    /// A deploy that must succeed, without monitor and, unless told otherwise, without a warm color.
    ///
    /// # Panics
    /// When it does not.
    pub fn deploy(&self, more: &[&str]) {
        let service = self.edge.service();
        let mut arguments = vec!["deploy", &service, "--monitor", "0s", "--json"];
        if !more.contains(&"--keep-warm") {
            arguments.extend(["--keep-warm", "0s"]);
        }
        arguments.extend(more);
        let said = self.edge.cutover(&arguments).success();
        assert_eq!(said.report()["failed"], 0, "{said:?}");
    }

    /// The ID of the one container of a compose service, running or not.
    ///
    /// # Panics
    /// When it is not one.
    #[must_use]
    pub fn container(&self, service: &str) -> String {
        let ids = self.containers(service);
        assert_eq!(ids.len(), 1, "{service}: {ids:?}");
        ids[0].clone()
    }

    /// The IDs of the containers of a compose service, running or not.
    #[must_use]
    pub fn containers(&self, service: &str) -> Vec<String> {
        let of = format!("label=com.docker.compose.project={}", self.project);
        let service = format!("label=com.docker.compose.service={service}");
        let ids = self.edge.docker(&["ps", "-aq", "--filter", &of, "--filter", &service]);
        ids.lines().map(str::to_owned).collect()
    }
}

impl Drop for ComposeProject<'_> {
    fn drop(&mut self) {
        self.run(&["down", "--volumes", "--remove-orphans", "--timeout", "3"]);
    }
}
