//! The moves: what people, tools and accidents do to containers.

use std::time::{Duration, Instant};

use cutover_harness::{COMPOSES, ComposeProject, Outcome, installed};

use crate::play::Play;

type Move = fn(&mut Play<'_>, usize);

/// How often each comes up, by the number before it.
const MOVES: [(usize, Move); 30] = [
    (3, stop),
    (5, kill),
    (2, restart),
    (1, pause),
    (1, rename),
    (2, remove),
    (3, start),
    (4, up),
    (1, recreate),
    (1, restart_project),
    (1, stop_project),
    (2, start_project),
    (1, down),
    (2, down_and_up),
    (2, scale),
    (2, change_release),
    (2, up_of_one),
    (3, edit_labels),
    (1, remove_service),
    (3, deploy),
    (4, deploy_beside),
    (3, deploy_bad),
    (2, abort),
    (2, rollback),
    (3, flip),
    (1, weight),
    (2, crash_role),
    (1, crash_all),
    (2, restart_engine),
    (3, foreign),
];

const SIGNALS: [&str; 10] =
    ["KILL", "TERM", "INT", "QUIT", "HUP", "USR1", "TTIN", "TTOU", "WINCH", "URG"];

impl Play<'_> {
    /// One move.
    pub(crate) fn act(&mut self) {
        let mut at = self.dice.below(MOVES.iter().map(|(weight, _)| weight).sum());
        let service = self.dice.below(self.services.len());
        for (weight, make) in MOVES {
            if at < weight {
                return make(self, service);
            }
            at -= weight;
        }
    }

    /// A container of a service in one of these states: its ID and its name.
    fn container(&mut self, service: usize, states: &[&str]) -> Option<(String, String)> {
        let (name, project) = self.name_and_project(service);
        let look = self.containers.look();
        let mut all: Vec<_> = look
            .of(&name, &project)
            .filter(|seen| states.contains(&seen.state.as_str()))
            .map(|seen| (seen.name.clone(), seen.id.clone()))
            .collect();
        drop(look);
        // By name: the next game of the seed has other IDs.
        all.sort();
        (!all.is_empty()).then(|| {
            let (name, id) = self.dice.pick(&all);
            (id, name)
        })
    }

    fn name_and_project(&self, service: usize) -> (String, String) {
        let service = &self.services[service];
        (service.name.clone(), service.project.project.clone())
    }

    fn docker(&mut self, id: &str, arguments: &[&str]) {
        let said = self.edge.engine.run(arguments);
        self.note(&format!("docker {}: {}", arguments.join(" "), told(&said)));
        self.touched.push((Instant::now(), id.to_owned()));
        self.look_for_absence();
    }

    /// While somebody else claims a service, a moment without containers of its own must be seen.
    fn look_for_absence(&self) {
        if self.foreign.is_some() {
            drop(self.containers.fresh());
        }
    }

    fn compose(&mut self, service: usize, arguments: &[&str]) {
        let project = &self.services[service].project;
        let name = project.project.clone();
        self.touched.push((Instant::now() + Duration::from_secs(60), name.clone()));
        let said = self.services[service].project.run_written(arguments);
        self.note(&format!("compose -p {name} {}: {}", arguments.join(" "), told(&said)));
        self.touched.retain(|(_, what)| *what != name);
        self.touched.push((Instant::now(), name));
        self.look_for_absence();
    }

    fn cutover(&mut self, arguments: &[&str]) {
        let said = self.edge.cutover(arguments);
        self.note(&format!("cutover {}: {}", arguments.join(" "), told(&said)));
    }
}

/// The exit code, and of a failure the last line.
fn told(said: &Outcome) -> String {
    let last = said.stderr.lines().last().unwrap_or_default();
    if said.code == 0 { "0".into() } else { format!("{} {last}", said.code) }
}

fn stop(play: &mut Play<'_>, service: usize) {
    let Some((id, name)) = play.container(service, &["running"]) else { return };
    let time = play.dice.pick(&["0", "1", "3"]);
    play.docker(&id, &["stop", "-t", time, &name]);
}

fn kill(play: &mut Play<'_>, service: usize) {
    let Some((id, name)) = play.container(service, &["running"]) else { return };
    let signal = play.dice.pick(&SIGNALS);
    play.docker(&id, &["kill", "-s", signal, &name]);
}

fn restart(play: &mut Play<'_>, service: usize) {
    let Some((id, name)) = play.container(service, &["running", "exited"]) else { return };
    play.docker(&id, &["restart", "-t", "1", &name]);
}

fn pause(play: &mut Play<'_>, service: usize) {
    let Some((id, name)) = play.container(service, &["running"]) else { return };
    play.docker(&id, &["pause", &name]);
    let seconds = play.dice.below(7);
    let until = Instant::now() + Duration::from_secs(seconds as u64);
    while Instant::now() < until {
        cutover_harness::pause();
    }
    // By its ID: a rollout may have given it another name.
    play.docker(&id, &["unpause", &id]);
}

fn rename(play: &mut Play<'_>, service: usize) {
    let Some((id, name)) = play.container(service, &["running", "exited"]) else { return };
    let new = format!("{name}-x");
    play.docker(&id, &["rename", &name, &new]);
}

fn remove(play: &mut Play<'_>, service: usize) {
    let Some((id, name)) = play.container(service, &["running", "exited", "created"]) else {
        return;
    };
    play.docker(&id, &["rm", "-f", &name]);
}

fn start(play: &mut Play<'_>, service: usize) {
    let Some((id, name)) = play.container(service, &["exited", "created"]) else { return };
    play.docker(&id, &["start", &name]);
}

fn up(play: &mut Play<'_>, service: usize) {
    let more = play.dice.pick(&["", "--no-recreate", "--remove-orphans"]);
    let arguments: Vec<_> = ["up", "-d", more].into_iter().filter(|a| !a.is_empty()).collect();
    play.compose(service, &arguments);
}

fn recreate(play: &mut Play<'_>, service: usize) {
    play.compose(service, &["up", "-d", "--force-recreate"]);
}

fn restart_project(play: &mut Play<'_>, service: usize) {
    play.compose(service, &["restart", "-t", "1"]);
}

fn stop_project(play: &mut Play<'_>, service: usize) {
    play.compose(service, &["stop", "-t", "1"]);
}

fn start_project(play: &mut Play<'_>, service: usize) {
    play.compose(service, &["start"]);
}

fn down(play: &mut Play<'_>, service: usize) {
    play.compose(service, &["down", "-t", "1"]);
}

fn down_and_up(play: &mut Play<'_>, service: usize) {
    play.compose(service, &["down", "-t", "1"]);
    play.compose(service, &["up", "-d"]);
}

fn scale(play: &mut Play<'_>, _: usize) {
    let scale = format!("web={}", 1 + play.dice.below(3));
    play.compose(1, &["up", "-d", "--scale", &scale]);
}

fn change_release(play: &mut Play<'_>, service: usize) {
    let release = play.dice.pick(&["1", "2", "3"]);
    play.services[service].project.release(release);
    play.note(&format!("the file of {service} says {release}"));
    play.compose(service, &["up", "-d"]);
}

fn part(play: &mut Play<'_>, service: usize) -> String {
    let parts = play.services[service].project.services.clone();
    play.dice.pick(&parts)
}

fn up_of_one(play: &mut Play<'_>, service: usize) {
    let part = part(play, service);
    let more = play.dice.pick(&["--no-deps", "--force-recreate"]);
    play.compose(service, &["up", "-d", more, &part]);
}

/// Of one of a pair: what it says counts only once it serves.
fn edit_labels(play: &mut Play<'_>, service: usize) {
    let part = part(play, service);
    let host = format!("cutover.hosts={0}.test,extra-{0}.test", play.services[service].name);
    let labels = [
        None,
        Some("cutover.probe.path=/nowhere".to_owned()),
        Some("cutover.drain.timeout=2s".to_owned()),
        Some("cutover.timeouts.hold=1s".to_owned()),
        Some("cutover.nonsense=1".to_owned()),
        Some(host),
    ];
    let label = play.dice.pick(&labels);
    let only_created = play.dice.one_in(3);
    let own = &mut play.services[service].project.own_labels;
    own.clear();
    // A lone service with a wrong probe has nobody who is ready.
    own.extend(label.clone().map(|label| (part.clone(), label)));
    play.note(&format!("the file of {service} says {label:?} of {part}"));
    let verb: &[&str] = if only_created { &["up", "--no-start"] } else { &["up", "-d"] };
    play.compose(service, verb);
}

fn remove_service(play: &mut Play<'_>, service: usize) {
    let part = part(play, service);
    play.compose(service, &["rm", "-s", "-f", &part]);
}

/// The arguments of a deploy.
fn deployment(play: &mut Play<'_>, service: usize, tags: &[&str]) -> Vec<String> {
    let name = play.services[service].name.clone();
    let tag = play.dice.pick(tags);
    let warm = play.dice.pick(&["0s", "2s", "20s"]);
    let monitor = play.dice.pick(&["0s", "1s", "4s"]);
    let fixed = ["--deploy-timeout", "8s", "--drain-timeout", "3s", "--pull", "missing"];
    let all = ["deploy", &name, "--tag", tag, "--keep-warm", warm, "--monitor", monitor];
    all.into_iter().chain(fixed).map(str::to_owned).collect()
}

fn strings(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

fn deploy(play: &mut Play<'_>, service: usize) {
    let arguments = deployment(play, service, &["1", "2", "3"]);
    play.cutover(&strings(&arguments));
}

fn deploy_beside(play: &mut Play<'_>, service: usize) {
    let tags = ["1", "2", "3", "slow-start", "errors", "half-errors", "exit-later"];
    let arguments = deployment(play, service, &tags);
    play.note(&format!("cutover {} &", arguments.join(" ")));
    play.deploys.retain_mut(|deploy| !deploy.has_ended());
    let deploy = play.edge.spawn(&strings(&arguments));
    play.deploys.push(deploy);
}

fn deploy_bad(play: &mut Play<'_>, service: usize) {
    let tags = ["exit", "never-ready", "wrong-port", "nowhere", "errors", "hang"];
    let arguments = deployment(play, service, &tags);
    play.cutover(&strings(&arguments));
}

fn abort(play: &mut Play<'_>, service: usize) {
    let name = play.services[service].name.clone();
    play.cutover(&["abort", &name]);
}

fn rollback(play: &mut Play<'_>, service: usize) {
    let name = play.services[service].name.clone();
    play.cutover(&["rollback", &name]);
}

fn flip(play: &mut Play<'_>, service: usize) {
    let name = play.services[service].name.clone();
    let to = play.dice.pick(&["blue", "green", "blue", "green", "both"]);
    let force = play.dice.one_in(4) && to != "both";
    let all = ["flip", &name, to, if force { "--force" } else { "" }];
    let all: Vec<_> = all.into_iter().filter(|a| !a.is_empty()).collect();
    play.cutover(&all);
}

fn weight(play: &mut Play<'_>, service: usize) {
    let name = play.services[service].name.clone();
    let blue = play.dice.pick(&[0, 30, 100]);
    play.cutover(&["weight", &name, &format!("blue={blue}"), &format!("green={}", 100 - blue)]);
}

fn crash_role(play: &mut Play<'_>, _: usize) {
    let role = play.dice.pick(&["controller", "controller", "proxy"]);
    play.note(&format!("kill -9 the {role}"));
    play.edge.kill(role);
    cutover_harness::eventually("it answers again", || play.edge.status().is_some());
    play.crashed = Some(Instant::now());
}

/// Now and then it forgets everything; but not while somebody else claims what is then nobody's.
fn crash_all(play: &mut Play<'_>, _: usize) {
    let forgets = play.foreign.is_none() && play.dice.one_in(3);
    let torn = play.dice.one_in(2);
    play.note(&format!("kill -9 all; journal lost: {forgets}, torn: {torn}"));
    play.edge.crash(|edge| {
        let Some(files) = forgets.then(|| std::fs::read_dir(edge.dir().join("state"))) else {
            return;
        };
        for file in files.into_iter().flatten().flatten().filter(|file| file.path().is_file()) {
            if torn {
                std::fs::write(file.path(), "torn").ok();
            } else {
                std::fs::remove_file(file.path()).ok();
            }
        }
    });
    play.crashed = Some(Instant::now());
}

/// An engine of the game's own ends and comes back; not the one that others use, too.
fn restart_engine(play: &mut Play<'_>, _: usize) {
    let engine = &play.edge.engine;
    if engine.is_shared() {
        return;
    }
    let signal = play.dice.pick(&["-TERM", "-KILL"]);
    let seconds = play.dice.below(4);
    engine.end(signal);
    let until = Instant::now() + Duration::from_secs(seconds as u64);
    while Instant::now() < until {
        cutover_harness::pause();
    }
    engine.begin();
    play.note(&format!("the engine was ended by {signal} for {seconds} s"));
    let now = Instant::now();
    let projects = play.services.iter().map(|service| (now, service.project.project.clone()));
    play.touched.extend(projects);
    play.crashed = Some(now);
}

/// Another project that claims what is not its own; or it goes.
fn foreign(play: &mut Play<'_>, service: usize) {
    let disputed = !play.containers.look().disputed.is_empty();
    if play.foreign.is_some() || disputed {
        if disputed || play.dice.one_in(2) {
            play.end_foreign();
        }
        return;
    }
    let victim = play.services[service].name.clone();
    let wanted = play.dice.pick(&COMPOSES);
    let Some(compose) = installed(play.edge, wanted) else { return };
    let mut project = ComposeProject::of(play.edge, compose, &["web"], "2");
    project.project += "-foreign";
    let own = format!("{}-foreign", play.edge.service());
    let (name, host, path) = play.dice.pick(&[
        (victim.clone(), format!("{victim}.test"), "/"),
        (own.clone(), format!("{victim}.test"), "/"),
        (own.clone(), format!("{victim}.test"), "/api/"),
        (victim, format!("{own}.test"), "/"),
    ]);
    let labels = [
        format!("cutover.service={name}"),
        format!("cutover.hosts={host}"),
        format!("cutover.path={path}"),
    ];
    play.note(&format!("a foreign project comes up with {}", labels.join(" ")));
    project.labels.extend(labels);
    project.lines.push(format!("environment: {{DEMO_NAME: {}}}", project.project));
    let said = project.run_written(&["up", "-d"]);
    play.note(&format!("compose -p {} up -d: {}", project.project, told(&said)));
    play.foreign = Some(project);
}
