//! Compares Cutover with the other proxies that are installed.
//!
//! `cargo run --release -p benches --bin compare -- --help`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::bail;
use benches::case::Case;
use benches::compare::Plan;
use benches::load::Generator;
use benches::peer::Peer;
use benches::report::{self, Setting};
use benches::rig::{self, Placement};
use benches::{generator, upstream};
use clap::{Parser, Subcommand};

/// Starts Cutover and whichever of HAProxy, nginx and Caddy are installed in front of the same fast
/// upstream, loads each for a second in turn, and prints processor time per request.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Measured rounds for each case; one more warms up.
    #[arg(long, default_value_t = 12)]
    rounds: usize,
    /// Which of get, big, post, new.
    #[arg(long, value_delimiter = ',', default_value = "get,big,post,new")]
    cases: Vec<Case>,
    /// Which proxies.
    #[arg(long, value_delimiter = ',', default_value = "haproxy,nginx,caddy,cutover")]
    peers: Vec<Peer>,
    /// How proxy and load share the processors.
    #[arg(long, value_enum, default_value = "pin1")]
    placement: Placement,
    /// What sends the requests; `wrk` where it is installed.
    #[arg(long, value_enum)]
    load: Option<Generator>,
    /// The binary to measure, instead of building this workspace's.
    #[arg(long)]
    cutover: Option<PathBuf>,
    /// Stays on the machine's own network.
    #[arg(long)]
    no_netns: bool,
    /// Prints one JSON document with every sample.
    #[arg(long)]
    json: bool,
}

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
        Some(Role::Upstream { listen }) => upstream::serve(listen),
        Some(Role::Load { case, target, seconds }) => {
            let figures = generator::run(target, &case, Duration::from_secs(seconds))?;
            println!("figures {}", serde_json::to_string(&figures)?);
            Ok(())
        }
        None => compare(arguments),
    }
}

fn compare(arguments: &Arguments) -> anyhow::Result<()> {
    let cutover = match &arguments.cutover {
        Some(path) => path.clone(),
        None if arguments.peers.contains(&Peer::Cutover) => rig::built_cutover()?,
        None => PathBuf::new(),
    };
    let own_network = !arguments.no_netns;
    if own_network {
        rig::enter_network()?;
    }

    let (mut peers, mut versions, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    // HAProxy first: the others are divided by it.
    for peer in Peer::ALL.into_iter().filter(|peer| arguments.peers.contains(peer)) {
        match peer.version(&cutover) {
            Some(version) => {
                peers.push(peer);
                versions.push((peer.name().to_owned(), version));
            }
            None => {
                eprintln!("{} is not installed: not measured", peer.name());
                missing.push(peer.name().to_owned());
            }
        }
    }
    if peers.is_empty() {
        bail!("none of the proxies is installed");
    }
    if !peers.contains(&Peer::Haproxy) {
        eprintln!("without haproxy there are no ratios");
    }

    let plan = Plan {
        cases: arguments.cases.clone(),
        peers,
        rounds: arguments.rounds,
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
    };
    let directory = std::env::temp_dir().join(format!("cutover-compare-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let results = plan.run(&cutover, &directory);
    std::fs::remove_dir_all(&directory)?;
    let results = results?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report::json(&setting, &results))?);
    } else {
        print!("{}", report::table(&setting, &results));
    }
    Ok(())
}

fn word(value: impl clap::ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn said(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
