//! One game: what is set up, the rules that are checked after each move, and the end.

use std::time::{Duration, Instant};

use cutover_harness::{
    COMPOSES, ComposeProject, Dice, Edge, Engine, Load, Running, eventually, installed, pause,
};

use crate::answers::{Answers, Event, Said};
use crate::containers::{Containers, Look, Seen};

/// A service and the compose project that it belongs to.
pub(crate) struct Service<'e> {
    pub(crate) name: String,
    pub(crate) project: ComposeProject<'e>,
    answers: Answers,
    load: Option<Load>,
}

/// A game under way.
pub(crate) struct Play<'e> {
    pub(crate) edge: &'e Edge,
    pub(crate) dice: Dice,
    pub(crate) services: Vec<Service<'e>>,
    pub(crate) foreign: Option<ComposeProject<'e>>,
    pub(crate) deploys: Vec<Running>,
    pub(crate) containers: Containers,
    /// What a move has done something to: an ID or a project, and when it was done.
    pub(crate) touched: Vec<(Instant, String)>,
    /// When Cutover itself was last killed.
    pub(crate) crashed: Option<Instant>,
    commands: Vec<String>,
    begun: Instant,
    violations: Vec<String>,
}

/// What failing over may take: `rollout.failover` is 3 s, and two more on a machine with nothing else
/// to do. `CUTOVER_GRACE` sets it, in seconds.
fn grace() -> Duration {
    let seconds = std::env::var("CUTOVER_GRACE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(8))
}

impl Play<'_> {
    /// Plays one seed; what was violated, with the commands. `None` where no engine answers.
    pub(crate) fn run(mut dice: Dice, long: Duration) -> Option<Vec<String>> {
        let (own, live_restore) = (dice.one_in(4), dice.one_in(2));
        let own = own.then(|| Edge::builder().start_on(|| Engine::own(live_restore))).flatten();
        let edge = own.or_else(Edge::start)?;
        let compose = installed(&edge, dice.pick(&COMPOSES))?;
        let mut services: Vec<Service<'_>> = Vec::new();
        for (suffix, parts) in [("", &["web-blue", "web-green"][..]), ("-lone", &["web"])] {
            let mut project = ComposeProject::of(&edge, compose, parts, "1");
            let name = edge.service() + suffix;
            project.project += suffix;
            project.labels.push(format!("cutover.service={name}"));
            project.labels.push(format!("cutover.hosts={name}.test"));
            project.lines.push(format!("environment: {{DEMO_NAME: {}}}", project.project));
            let restart = dice.pick(&["no", "unless-stopped"]);
            project.lines.push(format!("restart: \"{restart}\""));
            project.up(&[]);
            let answers = Answers::of(&project.project);
            services.push(Service { name, project, answers, load: None });
        }
        let owners = services.iter().map(|s| (s.name.clone(), s.project.project.clone())).collect();
        let containers = Containers::watch(edge.engine.socket(), edge.label(), owners);
        for service in &mut services {
            let host = format!("{}.test", service.name);
            let clients = Load::on(edge.address(), &host).count(2).per_connection(8);
            let clients = clients.pace(Duration::from_millis(15)).paths(&["/", "/api/"]);
            eventually("it serves", || cutover_harness::fetch(edge.address(), &host).is_ok());
            service.load = Some(clients.observer(service.answers.observer()).start());
        }
        let mut play = Play {
            edge: &edge,
            dice,
            services,
            foreign: None,
            deploys: Vec::new(),
            containers,
            touched: Vec::new(),
            crashed: None,
            commands: Vec::new(),
            begun: Instant::now(),
            violations: Vec::new(),
        };
        let engine = if edge.engine.is_shared() { "the engine of all" } else { "its own engine" };
        play.note(&format!("with {} on {engine}", compose.join(" ")));
        while play.begun.elapsed() < long && play.violations.is_empty() {
            play.act();
            // Some moves follow each other without a pause.
            if !play.dice.one_in(3) {
                play.settle();
            }
        }
        if play.violations.is_empty() {
            play.end();
        }
        Some(play.verdict())
    }

    /// Keeps a line for who has to find out what happened.
    pub(crate) fn note(&mut self, line: &str) {
        let line = format!("{:7.2} {line}", self.begun.elapsed().as_secs_f64());
        if std::env::var_os("CUTOVER_TRACE").is_some() {
            println!("{line}");
        }
        self.commands.push(line);
    }

    /// Waits until every service that has a ready container is served.
    fn settle(&mut self) {
        let start = Instant::now();
        drop(self.containers.fresh());
        loop {
            let since = Instant::now() - Duration::from_millis(300);
            let look = self.containers.look();
            let waiting: Vec<_> = self
                .services
                .iter()
                .filter(|s| must_be_served(&look, s) && !s.answers.is_served(since))
                .collect();
            if waiting.is_empty() {
                break;
            }
            let late = waiting.iter().find(|service| {
                let ready = look.ready_since(&service.name, &service.project.project);
                let from = [ready, look.last_loss(&service.name), self.crashed, Some(start)];
                from.into_iter().flatten().max().is_some_and(|from| from.elapsed() > grace())
            });
            if let Some(service) = late.filter(|service| !self.answers_now(service)) {
                let failures = service.answers.take_failures();
                let last = failures.last().map(|event| format!("{:?}", event.said));
                let others = service.answers.take_others();
                let line = format!(
                    "{} is not served though ready containers exist: {}; the last failure: {last:?}; answers of others: {}",
                    service.name,
                    names(look.of(&service.name, &service.project.project)),
                    others.len(),
                );
                drop(look);
                return self.violate(line);
            }
            drop(look);
            pause();
        }
        self.judge();
    }

    /// Whether a request that begins now is answered by its owner. Those of the load may wait for an
    /// app that was paused with them.
    fn answers_now(&self, service: &Service<'_>) -> bool {
        let host = format!("{}.test", service.name);
        let answer = cutover_harness::connect(self.edge.address()).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(3)))?;
            cutover_harness::ask(&mut stream, &host, "/")
        });
        answer.is_ok_and(|a| a.field("x-demo-name") == Some(service.project.project.as_str()))
    }

    /// Looks at what has been answered, and at what has gone, since the last time.
    fn judge(&mut self) {
        let look = self.containers.fresh();
        let mut found = Vec::new();
        for service in &self.services {
            let failures = service.answers.take_failures();
            let bad: Vec<_> =
                failures.iter().filter(|event| !self.is_excused(&look, service, event)).collect();
            if let Some(first) = bad.first() {
                let at = first.until.duration_since(self.begun).as_secs_f64();
                let Said::Failure(text) = &first.said else { continue };
                found.push(format!(
                    "{}: {} requests failed beside a ready container, the first at {at:.2}: {text}",
                    service.name,
                    bad.len()
                ));
            }
            let mut others = service.answers.take_others();
            // What was answered while it was open whose the service is.
            let settled = look.settled.get(&service.name).map(|at| *at + grace());
            others.retain(|event| settled.is_none_or(|settled| event.since > settled));
            if !others.is_empty() && !look.disputed.contains_key(&service.name) {
                let at = others[0].until.duration_since(self.begun).as_secs_f64();
                let Said::Project(project) = &others[0].said else { continue };
                found.push(format!(
                    "{}: {} requests were answered by {project}, the first at {at:.2}",
                    service.name,
                    others.len()
                ));
            }
        }
        let ended = look.losses.iter().filter(|(at, lost)| self.is_ended_by_us(&look, *at, lost));
        found
            .extend(ended.map(|(_, lost)| format!("the last ready container was ended: {lost:?}")));
        drop(look);
        self.containers.look().losses.retain(|(at, _)| at.elapsed() < 2 * grace());
        for line in found {
            self.violate(line);
        }
    }

    /// Whether a request may have failed when it did.
    fn is_excused(&self, look: &Look, service: &Service<'_>, event: &Event) -> bool {
        let from = event.since - grace();
        let until = event.until + Duration::from_secs(1);
        let within = |at: Instant| at >= from && at <= until;
        let lost = look.losses.iter().any(|(at, seen)| seen.service == service.name && within(*at));
        let ready = look.ready_since(&service.name, &service.project.project);
        let crashed = self.crashed.is_some_and(|at| at >= from);
        // It was open whose the service is, and a request waits for whom it was given to.
        let settled = look.settled.get(&service.name).is_some_and(|at| *at >= from);
        lost || crashed
            || settled
            || look.disputed.contains_key(&service.name)
            || ready.is_none_or(|at| at > from)
    }

    /// Whether nobody but Cutover can have ended the last ready container of a service.
    fn is_ended_by_us(&self, look: &Look, at: Instant, lost: &Seen) -> bool {
        let moment = Duration::from_secs(20);
        let touched = self
            .touched
            .iter()
            .any(|(when, what)| (*what == lost.id || *what == lost.project) && *when + moment > at);
        let ours = self.services.iter().any(|service| service.project.project == lost.project);
        let ended = ["exited", "removed", "dead"].contains(&lost.state.as_str());
        let by_itself = lost.image.contains("exit") || lost.image.contains("leak");
        ours && ended && look.last.contains(&lost.id) && !touched && !by_itself
    }

    /// The project that claims what is not its own goes.
    pub(crate) fn end_foreign(&mut self) {
        if self.foreign.take().is_some() {
            self.note("the foreign project is down");
        }
    }

    pub(crate) fn violate(&mut self, line: String) {
        self.note(&format!("VIOLATED: {line}"));
        self.violations.push(line);
    }

    /// Whatever was done to it: brought up once more, a service can be deployed.
    fn end(&mut self) {
        self.note("the end");
        let paused = self.edge.docker(&[
            "ps",
            "-q",
            "--filter",
            "status=paused",
            "--filter",
            &format!("label={}", self.edge.label()),
        ]);
        for id in paused.lines() {
            self.edge.engine.try_docker(&["unpause", id]);
        }
        self.end_foreign();
        for deploy in self.deploys.drain(..) {
            let _ended = deploy.wait();
        }
        for n in 0..self.services.len() {
            let project = &mut self.services[n].project;
            project.own_labels.clear();
            project.release("1");
            let up = project.run_written(&["up", "-d", "--remove-orphans"]);
            self.touched.push((Instant::now(), project.project.clone()));
            self.note(&format!(
                "compose up -d of {n}: {} {}",
                up.code,
                up.stderr.lines().last().unwrap_or_default()
            ));
        }
        self.settle();
        for n in 0..self.services.len() {
            if !self.violations.is_empty() {
                return;
            }
            let name = self.services[n].name.clone();
            let limits = ["--monitor", "0s", "--keep-warm", "0s", "--drain-timeout", "3s"];
            let deploy = ["deploy", &name, "--tag", "2", "--wait-lock", "60s"];
            let said = self.edge.cutover(&[&deploy[..], &limits].concat());
            self.note(&format!("deploy {name} --tag 2: {}", said.code));
            if said.code != 0 {
                self.violate(format!("{name} cannot be deployed: {} {}", said.stdout, said.stderr));
            } else if !self.is_release(n, "2") {
                self.violate(format!("{name} is deployed, and something else serves beside it"));
            }
        }
        if self.violations.is_empty() {
            self.settle();
        }
    }

    /// Whether nothing but this release answers.
    fn is_release(&self, n: usize, release: &str) -> bool {
        let host = format!("{}.test", self.services[n].name);
        (0..30).all(|_| self.edge.answering_on(&host).as_deref() == Some(release))
    }

    /// Ends the loads; what was violated, with all there is to find out why.
    fn verdict(mut self) -> Vec<String> {
        let seed = self.dice.seed();
        let totals: Vec<_> = self.services.iter().map(|service| service.answers.total()).collect();
        println!("seed {seed}: {} commands, {totals:?} requests", self.commands.len());
        for service in &mut self.services {
            if let Some(load) = service.load.take() {
                let _served = load.stop();
            }
        }
        if self.violations.is_empty() {
            return Vec::new();
        }
        let label = format!("label={}", self.edge.label());
        let format = "{{.Names}} {{.Image}} {{.Status}} {{.ID}}";
        let ps = self.edge.docker(&["ps", "-a", "--filter", &label, "--format", format]);
        let status = self.edge.cutover(&["status"]).stdout;
        let history: String =
            self.services.iter().map(|s| self.edge.cutover(&["history", &s.name]).stdout).collect();
        let all = format!(
            "seed {seed}\n{}\n\n{ps}\n\n{status}\n{history}\n{}",
            self.commands.join("\n"),
            self.edge.log()
        );
        let path = std::env::temp_dir().join(format!("cutover-random-{seed}.log"));
        std::fs::write(&path, all).unwrap();
        let mut lines = self.violations.clone();
        lines.push(format!("the edge's log and status: {}", path.display()));
        lines.extend(self.commands.iter().cloned());
        for deploy in self.deploys {
            let _ended = deploy.end();
        }
        lines
    }
}

/// Whether a service has a ready container of its own, and nobody else may have it.
fn must_be_served(look: &Look, service: &Service<'_>) -> bool {
    !look.disputed.contains_key(&service.name)
        && look.ready_since(&service.name, &service.project.project).is_some()
}

fn names<'l>(all: impl Iterator<Item = &'l Seen>) -> String {
    let ready = all.filter_map(|seen| Some((seen, seen.ready?)));
    let texts = ready.map(|(seen, since)| {
        format!("{} ({}, ready for {:.1} s)", seen.name, seen.image, since.elapsed().as_secs_f64())
    });
    texts.collect::<Vec<_>>().join(", ")
}
