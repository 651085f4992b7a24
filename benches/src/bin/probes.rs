//! Measures what the probes of many services cost the controller.
//!
//! `cargo run --release -p benches --bin probes -- --help`

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use benches::fleet::Fleet;
use benches::probes::Prober;
use benches::rig::{self, Running, Workplace};
use benches::upstream;
use clap::{Parser, Subcommand};

/// Starts Cutover with many services on loopback and prints how much of a core their probes cost the
/// controller: the time on a processor, so that a busy machine changes little. The best round counts.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Services.
    #[arg(long, default_value_t = 1000)]
    services: usize,
    /// Endpoints of each.
    #[arg(long, default_value_t = 10)]
    endpoints: usize,
    /// Between two probes of one endpoint, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    interval_ms: u64,
    /// Rounds.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long a round is.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Exits with 1 if the best round needs more than this percentage of a core.
    #[arg(long)]
    at_most: Option<f64>,
    /// The binary to measure, instead of building this workspace's.
    #[arg(long)]
    cutover: Option<PathBuf>,
    /// Stays on the machine's own network.
    #[arg(long)]
    no_netns: bool,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// The app that is probed.
    #[command(hide = true)]
    Upstream {
        #[arg(long)]
        listen: SocketAddr,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    if let Some(Role::Upstream { listen }) = arguments.role {
        upstream::serve(listen, None)?;
        return Ok(true);
    }
    let cutover = match &arguments.cutover {
        Some(path) => path.clone(),
        None => rig::built_cutover()?,
    };
    if !arguments.no_netns {
        rig::enter_network()?;
    }
    let port = rig::free_address()?.port();
    let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).to_string();
    let mut app = rig::command(std::env::current_exe()?);
    let _app = Running(app.args(["upstream", "--listen", &listen]).spawn()?);
    let workplace = Workplace::new("probes")?;
    let best = measure(arguments, &cutover, port, &workplace.0)?;
    println!("best: {best:.1} % of a core, had every probe been asked in time");
    Ok(arguments.at_most.is_none_or(|most| best <= most))
}

fn measure(
    arguments: &Arguments,
    cutover: &Path,
    port: u16,
    directory: &Path,
) -> anyhow::Result<f64> {
    let fleet = Fleet {
        services: arguments.services,
        endpoints: arguments.endpoints,
        interval: Duration::from_millis(arguments.interval_ms),
        flips: false,
    };
    let prober = Prober::start(cutover, fleet, port, directory)?;
    // Until the first burst is spread.
    rig::pause(2 * fleet.interval);
    // On a busy machine fewer are asked: what each costs is taken for as many as there should be.
    let endpoints = (fleet.services * fleet.endpoints) as f64;
    let due = endpoints / fleet.interval.as_secs_f64();
    let mut best = f64::INFINITY;
    for round in 1..=arguments.rounds {
        let sample = prober.measure(Duration::from_secs(arguments.seconds))?;
        let (cores, system) = (100.0 * sample.cores, 100.0 * sample.system);
        println!(
            "round {round}: {cores:.1} % of a core ({system:.0} % of it in the kernel), \
             {:.0} probes/s, {:.1} us each",
            sample.probes,
            1e6 * sample.cores / sample.probes,
        );
        best = best.min(cores / sample.probes * due);
    }
    Ok(best)
}
