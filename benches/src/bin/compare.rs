//! Compares Cutover with the other proxies that are installed.
//!
//! `cargo run --release -p benches --bin compare -- --help`

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use benches::case::{CASES, Case, Measure};
use benches::compare::Plan;
use benches::load::{Figures, Generator};
use benches::peer::Peer;
use benches::report::{self, Setting};
use benches::rig::{self, Placement, Workplace};
use benches::{chart, upstream};
use clap::{Parser, Subcommand};

/// Starts Cutover and whichever of HAProxy, nginx and Caddy are installed in front of the same fast
/// upstream, loads each for a second in turn, and prints processor time per request.
#[derive(Debug, Parser)]
#[command(version, after_help = CASES_HELP)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Which cases; all without it.
    #[arg(long, value_name = "CASE", value_delimiter = ',')]
    case: Vec<Case>,
    /// Which proxies: haproxy, nginx, caddy, cutover, or NAME='COMMAND LINE' for any other.
    ///
    /// May be given again and again. The known four are measured too unless one of them is named.
    /// A command line is run by `sh -c` and stays in the foreground; filled in are {listen} and
    /// {listen_port}, where it is to listen; {upstream} and {upstream_port}, the app; {workers}, how
    /// many threads it may have; {directory}, an empty one. It keeps the Host field and its
    /// connections to the app.
    #[arg(long, value_name = "PEER")]
    peer: Vec<Peer>,
    /// Measured rounds for each case; one more warms up. Memory is measured in at most three.
    #[arg(long, default_value_t = 12)]
    rounds: usize,
    /// How long each proxy is loaded in each round.
    #[arg(long, default_value_t = 1)]
    seconds: u64,
    /// How proxy and load share the processors.
    #[arg(long, value_enum, default_value = "pin1")]
    placement: Placement,
    /// What sends the requests; `wrk` where it is installed. A fixed rate is always our own.
    #[arg(long, value_enum)]
    load: Option<Generator>,
    /// The binary to measure, instead of building this workspace's.
    #[arg(long)]
    cutover: Option<PathBuf>,
    /// Stays on the machine's own network.
    #[arg(long)]
    no_netns: bool,
    /// Writes one JSON document with every sample.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes a chart of the ratios to HAProxy.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

const CASES_HELP: &str = "Cases:
  get      GET 1 KiB, kept-alive, 64 connections
  big      GET 1 MiB, kept-alive, 16 connections
  post     POST 64 KiB, kept-alive, 16 connections
  new      GET 1 KiB, a new connection each, 64 clients
  rate     GET 1 KiB, kept-alive, 32 connections, 4,000 requests in a second
  idle     memory of 5,000 clients that have asked once
  fleet    Cutover alone: get with 1,000 services of 10 endpoints, and with one; what flips take
  workers  Cutover alone: get with two workers and with one";

#[derive(Debug, Subcommand)]
enum Role {
    /// The static upstream.
    #[command(hide = true)]
    Upstream {
        #[arg(long)]
        listen: SocketAddr,
    },
    /// The load generator.
    #[command(hide = true)]
    Load {
        #[arg(long)]
        case: Case,
        #[arg(long)]
        target: SocketAddr,
        #[arg(long)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match arguments.role {
        Some(Role::Upstream { listen }) => upstream::serve(listen, None),
        Some(Role::Load { case, target, seconds }) => {
            let figures = Figures::of_own_load(target, &case.load, seconds)?;
            println!("figures {}", serde_json::to_string(&figures)?);
            Ok(())
        }
        None => compare(arguments),
    }
}

fn compare(arguments: &Arguments) -> anyhow::Result<()> {
    let cases = if arguments.case.is_empty() { CASES.to_vec() } else { arguments.case.clone() };
    let wanted = wanted(&arguments.peer);
    let is_ours = |case: &Case| matches!(case.measure, Measure::Fleet | Measure::Workers);
    let cutover = match &arguments.cutover {
        Some(path) => path.canonicalize().with_context(|| path.display().to_string())?,
        None if wanted.contains(&Peer::Cutover) || cases.iter().any(is_ours) => {
            rig::built_cutover()?
        }
        None => PathBuf::new(),
    };
    let own_network = !arguments.no_netns;
    if own_network {
        rig::enter_network()?;
    }
    rig::raise_file_limit()?;

    let (peers, versions, missing) = installed(wanted, &cutover);
    if peers.is_empty() {
        bail!("none of the proxies is installed");
    }
    if peers.first() != Some(&Peer::Haproxy) {
        eprintln!("without haproxy there are no ratios");
    }
    let plan = Plan {
        cases,
        peers,
        rounds: arguments.rounds,
        seconds: arguments.seconds,
        placement: arguments.placement,
        generator: arguments.load.unwrap_or_else(Generator::installed),
    };
    let setting = Setting {
        date: said("date", &["-u", "+%F"])?,
        machine: report::machine(),
        kernel: said("uname", &["-r"])?,
        versions,
        missing,
        placement: word(plan.placement),
        generator: word(plan.generator),
        own_network,
        rounds: plan.rounds,
        seconds: plan.seconds,
    };
    let results = plan.run(&cutover, &Workplace::new("compare")?.0)?;
    print!("{}", report::table(&setting, &results));
    if let Some(path) = &arguments.json {
        write(path, &serde_json::to_string_pretty(&report::json(&setting, &results))?)?;
    }
    if let Some(path) = &arguments.svg {
        let rounds = format!("{} rounds of {} s", setting.rounds, setting.seconds);
        let caption = format!("{} · {} · {rounds}", setting.date, setting.machine);
        write(path, &chart::svg(&caption, &results)?)?;
    }
    Ok(())
}

/// `HAProxy` first: the others are divided by it.
fn wanted(named: &[Peer]) -> Vec<Peer> {
    let none_is_known = !named.iter().any(|peer| Peer::KNOWN.contains(peer));
    let known = Peer::KNOWN.into_iter().filter(|peer| none_is_known || named.contains(peer));
    known.chain(named.iter().filter(|peer| !Peer::KNOWN.contains(peer)).cloned()).collect()
}

/// Those that can be started, with their versions, and the names of those that cannot.
fn installed(wanted: Vec<Peer>, cutover: &Path) -> (Vec<Peer>, Vec<(String, String)>, Vec<String>) {
    let (mut peers, mut versions, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for peer in wanted {
        match peer.version(cutover) {
            Some(version) => {
                versions.push((peer.name().to_owned(), version));
                peers.push(peer);
            }
            None => {
                eprintln!("{peer} is not installed: not measured");
                missing.push(peer.name().to_owned());
            }
        }
    }
    (peers, versions, missing)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn word(value: impl clap::ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn said(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
