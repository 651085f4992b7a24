//! Containers of the demo app, as a person or Compose would run them.

use crate::engine_view::LABEL;
use crate::{Edge, image};

/// A container of the app that is yet to run: `App::new(..).label(..).run()`.
#[derive(Debug)]
pub struct App<'e> {
    edge: &'e Edge,
    name: String,
    image: String,
    network: String,
    labels: Vec<(String, String)>,
    more: Vec<String>,
}

impl<'e> App<'e> {
    /// One of the edge's service that names no color; its name begins with the service's.
    #[must_use]
    pub fn new(edge: &'e Edge, name: &str, release: &str) -> Self {
        let labels = [
            ("cutover.service", edge.service()),
            ("cutover.hosts", edge.host()),
            ("cutover.port", "8000".to_owned()),
            ("cutover.probe.path", "/health".to_owned()),
            ("cutover.probe.interval", "200ms".to_owned()),
            (LABEL, edge.service()),
        ];
        Self {
            edge,
            name: format!("{}-{name}", edge.service()),
            image: image(release),
            network: edge.service(),
            labels: labels.map(|(key, value)| (key.to_owned(), value)).into(),
            more: Vec::new(),
        }
    }

    /// From an image of another name.
    #[must_use]
    pub fn image(mut self, image: &str) -> Self {
        image.clone_into(&mut self.image);
        self
    }

    /// With a label more, or with another value of one.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.retain(|(name, _)| name != key);
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Of a color.
    #[must_use]
    pub fn color(self, color: &str) -> Self {
        self.label("cutover.color", color)
    }

    /// As a container of a compose service.
    #[must_use]
    pub fn of_compose(self, project: &str, service: &str) -> Self {
        self.label("com.docker.compose.project", project)
            .label("com.docker.compose.service", service)
    }

    /// With more arguments for `docker run`.
    #[must_use]
    pub fn with(mut self, more: &[&str]) -> Self {
        if let Some(at) = more.iter().position(|argument| *argument == "--network") {
            more[at + 1].clone_into(&mut self.network);
        }
        let rest = more.iter().filter(|a| **a != "--network" && **a != self.network);
        self.more.extend(rest.map(|argument| (*argument).to_owned()));
        self
    }

    /// Runs it; its name.
    #[must_use = "use `run` for its name, or drop it on purpose"]
    pub fn run(self) -> String {
        self.begin(&["run", "-d"], &[])
    }

    /// Runs it with arguments of its own; its name.
    #[must_use = "use `run_with` for its name, or drop it on purpose"]
    pub fn run_with(self, arguments: &[&str]) -> String {
        self.begin(&["run", "-d"], arguments)
    }

    /// Creates it and does not start it; its name.
    #[must_use]
    pub fn create(self) -> String {
        self.begin(&["create"], &[])
    }

    fn begin(self, verb: &[&str], command: &[&str]) -> String {
        let mut arguments = verb.to_vec();
        arguments.extend(["--name", &self.name, "--network", &self.network]);
        let labels: Vec<_> =
            self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        for label in &labels {
            arguments.extend(["-l", label]);
        }
        arguments.extend(self.more.iter().map(String::as_str));
        arguments.push(&self.image);
        arguments.extend(command);
        self.edge.docker(&arguments);
        self.name.clone()
    }
}

impl Edge {
    /// Runs a container of a color, named after it.
    pub fn app(&self, color: &str, release: &str) -> String {
        self.app_named(color, release, color)
    }

    /// Blue and green of one release, of which blue serves.
    pub fn pair(&self, release: &str) {
        self.app("blue", release);
        self.app("green", release);
        self.until_served(release);
    }

    /// The same under another name.
    pub fn app_named(&self, color: &str, release: &str, name: &str) -> String {
        self.app_with(color, release, name, &[])
    }

    /// The same with more arguments for `docker run`.
    pub fn app_with(&self, color: &str, release: &str, name: &str, more: &[&str]) -> String {
        App::new(self, name, release).color(color).with(more).run()
    }

    /// A container of the app, from an image of any name.
    pub fn app_of(&self, image: &str, color: &str, name: &str, more: &[&str]) -> String {
        App::new(self, name, "1").image(image).color(color).with(more).run()
    }

    /// Runs a container of another service, reached under its own host.
    pub fn other_app(&self, service: &str, color: &str, release: &str) {
        let name = format!("{service}-{color}");
        let name = name.strip_prefix(&format!("{}-", self.service())).unwrap_or(&name);
        let app = App::new(self, name, release).label("cutover.service", service);
        let _name = app.label("cutover.hosts", &format!("{service}.test")).color(color).run();
    }

    /// A container that names no color, as one of several of a scaled compose service.
    pub fn replica(&self, release: &str, number: u32, auto: bool) -> String {
        self.replica_of(&self.service(), &self.host(), release, number, auto)
    }

    /// The same for a service under a host of its own, whose name begins with that of the edge's.
    pub fn replica_of(
        &self,
        service: &str,
        host: &str,
        release: &str,
        number: u32,
        auto: bool,
    ) -> String {
        let name = format!("{service}-web-{number}");
        let name = name.strip_prefix(&format!("{}-", self.service())).unwrap_or(&name);
        App::new(self, name, release)
            .label("cutover.service", service)
            .label("cutover.hosts", host)
            .label("cutover.rollout.auto", &auto.to_string())
            .label("cutover.rollout.monitor", "1s")
            .label("cutover.rollout.keep_warm", "0s")
            .of_compose(service, "web")
            .run()
    }
}
