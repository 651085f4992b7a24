//! Flips a thousand times under load.
//!
//! `cargo run --release -p benches --bin drill -- --help`

use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use benches::drill::Drill;
use benches::rig::{self, Workplace};
use benches::upstream;
use clap::{Parser, Subcommand};

/// Starts Cutover in front of an app of each color, loads it, flips it to and fro over the control
/// socket without a probe, and judges every answer. Exits with 1 if a request failed, or was answered
/// by the old color though it began after the flip was acknowledged.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Flips in all.
    #[arg(long, default_value_t = 1000)]
    flips: u64,
    /// Flips in a second; every other second has none.
    #[arg(long, default_value = "50")]
    flips_per_second: NonZeroU64,
    /// Requests of all clients in a second.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    requests_per_second: u32,
    /// Worker threads of the proxy.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// The binary to flip, instead of building this workspace's.
    #[arg(long)]
    cutover: Option<PathBuf>,
    /// Stays on the machine's own network.
    #[arg(long)]
    no_netns: bool,
    /// Writes the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// The app of one color.
    #[command(hide = true)]
    Upstream {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        color: String,
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
    if let Some(Role::Upstream { listen, color }) = &arguments.role {
        upstream::serve(*listen, Some(color))?;
        return Ok(true);
    }
    let cutover = match &arguments.cutover {
        Some(path) => path.canonicalize().with_context(|| path.display().to_string())?,
        None => rig::built_cutover()?,
    };
    if !arguments.no_netns {
        rig::enter_network()?;
    }
    rig::raise_file_limit()?;
    let drill = Drill {
        flips: arguments.flips,
        flips_per_second: arguments.flips_per_second.get(),
        requests_per_second: arguments.requests_per_second,
        workers: arguments.workers,
    };
    let report = drill.run(&cutover, &Workplace::new("drill")?.0)?;
    print!("{}", report.words());
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report)?;
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(report.is_clean())
}
