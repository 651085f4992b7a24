//! An address that is a stranger's a moment after it was ours: no request may reach the stranger.
//!
//! `CUTOVER_EVERY=1` plays six rounds of each way to lose an address instead of one.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use cutover_harness::{Edge, Subnet, eventually, fetch, image, pause};

#[test]
fn no_request_reaches_the_next_container_at_a_former_address() {
    let Some(edge) = Edge::start() else { return };
    let subnet = Subnet::claim();
    let network = format!("{}-net", edge.service());
    edge.docker(&["network", "create", "--subnet", &subnet.cidr(), &network]);
    let _gone = Gone(&edge, &network);
    let address = subnet.address(10).to_string();
    // Hardly any connection is kept, so that there is always one being made.
    let app = |name: &str, ip: &str| {
        let idle = "cutover.timeouts.upstream_idle=1ms";
        edge.app_with("blue", "1", name, &["--network", &network, "-l", idle, "--ip", ip])
    };
    app("other", &subnet.address(11).to_string());
    edge.until_served("1");
    let load = edge.load();
    let rounds = if std::env::var_os("CUTOVER_EVERY").is_some() { 6 } else { 1 };
    let mut leads = Vec::new();
    for round in 0..rounds {
        for way in WAYS {
            let ours = app(&format!("ours-{round}"), &address);
            eventually("both are up", || edge.endpoints_up("blue") == 2);
            load.passes(50);
            let stranger = stranger(&edge, way, &network, &address);
            let take = Take::of(way, &ours, &network, &address, &stranger);
            let (answers, left) = take.play(&edge, &address);
            leads.push(answers.duration_since(left).unwrap_or_default());
            println!("{way:?}: out of the table {:?} before", leads.last().unwrap());
            assert_eq!(
                fetch(at_port(&address), "any.test").unwrap(),
                "green",
                "the stranger is there"
            );
            load.passes(100);
            edge.docker(&["rm", "-f", &stranger]);
            edge.docker(&["rm", "-f", &ours]);
        }
    }
    let served = load.stop();
    assert_eq!(served.words.get("green"), None, "the stranger was reached: {:?}", served.words);
    assert_eq!(served.failures, Vec::<String>::new());
    println!("{} requests, shortest lead {:?}", served.requests, leads.iter().min());
}

/// How a container loses its address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Crash,
    Disconnect,
    Kill,
    Remove,
    Stop,
}

const WAYS: [Way; 5] = [Way::Crash, Way::Disconnect, Way::Kill, Way::Remove, Way::Stop];

/// A container without labels of ours that says `green`, ready to take the address.
fn stranger(edge: &Edge, way: Way, network: &str, address: &str) -> String {
    let name = format!("{}-stranger", edge.service());
    let image = image("2");
    let verb = if way == Way::Disconnect { vec!["run", "-d"] } else { vec!["create"] };
    let own = ["--name", &name, "-e", "DEMO_COLOR=green"];
    // Where a network is left, he runs already and only has to join it.
    let at = ["--network", network, "--ip", address];
    let at = if way == Way::Disconnect { &at[..0] } else { &at[..] };
    edge.docker(&[&verb[..], &own, at, &[&image]].concat());
    name
}

/// Two commands at the same time: one gives the address up, the other takes it.
struct Take {
    leave: Vec<String>,
    enter: Vec<String>,
    name: String,
}

impl Take {
    fn of(way: Way, ours: &str, network: &str, address: &str, stranger: &str) -> Self {
        let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect();
        let leave = match way {
            // From inside, so that the engine is not told before.
            Way::Crash => words(&["inspect", "-f", "{{.State.Pid}}", ours]),
            Way::Disconnect => words(&["network", "disconnect", network, ours]),
            Way::Kill => words(&["kill", ours]),
            Way::Remove => words(&["rm", "-f", ours]),
            Way::Stop => words(&["stop", ours]),
        };
        let enter = match way {
            Way::Disconnect => words(&["network", "connect", "--ip", address, network, stranger]),
            _ => words(&["start", stranger]),
        };
        Self { leave, enter, name: ours.to_owned() }
    }

    /// When the stranger answered at the address, and when ours had left the table.
    fn play(&self, edge: &Edge, address: &str) -> (SystemTime, SystemTime) {
        let said = edge.docker(&words(&self.leave));
        if self.leave[0] == "inspect" {
            std::process::Command::new("kill").args(["-9", said.trim()]).status().unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        while edge.engine.try_docker(&words(&self.enter)).is_none() {
            assert!(Instant::now() < deadline, "the address is never free");
        }
        while fetch(at_port(address), "any.test").ok().as_deref() != Some("green") {
            assert!(Instant::now() < deadline, "the stranger never answers");
            pause();
        }
        let answers = SystemTime::now();
        let left = edge.log();
        let left = left.lines().rfind(|line| {
            line.contains("leaves the table") && line.contains(&format!("container={}", self.name))
        });
        let left = left.expect("ours has left the table").split(' ').next().unwrap();
        (answers, humantime::parse_rfc3339(left).unwrap())
    }
}

fn words(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

fn at_port(address: &str) -> SocketAddr {
    format!("{address}:8000").parse().unwrap()
}

/// Takes the network away at the end, and whoever is on it.
struct Gone<'e>(&'e Edge, &'e str);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        let on = format!("network={}", self.1);
        let on = self.0.engine.try_docker(&["ps", "-aq", "--filter", &on]).unwrap_or_default();
        let stranger = format!("{}-stranger", self.0.service());
        for name in on.lines().chain([stranger.as_str()]) {
            self.0.engine.try_docker(&["rm", "-f", name]);
        }
        self.0.engine.try_docker(&["network", "rm", self.1]);
    }
}
