//! Counts the instructions of each room of a request's way, and compares with the committed counts.
//!
//! `cargo run -p benches --bin instructions -- --help`

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, ensure};
use benches::instructions::{self, Committed, Counts};
use clap::Parser;

/// Runs `cargo bench --bench rooms`, which needs valgrind and gungraun-runner, and compares what each
/// room takes with `benches/instructions.json`. Exits with 1 if one takes too much more. With another
/// compiler than that of the file nothing is compared.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Writes the counts of today into the file.
    #[arg(long)]
    write: bool,
    /// By how much a room may exceed the committed count.
    #[arg(long, default_value_t = 3.0, value_name = "PERCENT")]
    at_most: f64,
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
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.json");
    let compiler = compiler()?;
    let today = count()?;
    if arguments.write {
        let committed = Committed::new(compiler, today);
        fs::write(&file, serde_json::to_string_pretty(&committed)? + "\n")?;
        println!("wrote {}", file.display());
        return Ok(true);
    }
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let committed: Committed = serde_json::from_str(&text)?;
    let comparison = instructions::compare(&committed.rooms, &today, arguments.at_most);
    print!("{}", comparison.table);
    if committed.compiler != compiler {
        println!("NOT CHECKED: the counts are of {}, this is {compiler}", committed.compiler);
        return Ok(true);
    }
    for room in &comparison.broken {
        let percent = arguments.at_most;
        println!("{room}: more than {percent} % above the committed count, or not on both sides");
    }
    if !comparison.broken.is_empty() {
        println!("where that is meant: -- --write");
    }
    Ok(comparison.broken.is_empty())
}

/// Version and target.
fn compiler() -> anyhow::Result<String> {
    let said = Command::new("rustc").arg("-vV").output().context("starting rustc")?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let line = |key: &str| said.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("?");
    Ok(format!("rustc {} {}", line("release: "), line("host: ")))
}

fn count() -> anyhow::Result<Counts> {
    let home = target_directory()?.join("instructions");
    let output = Command::new(env!("CARGO"))
        .args(["bench", "--locked", "--package", "benches", "--bench", "rooms", "--"])
        .arg("--output-format=json")
        .arg(format!("--home={}", home.display()))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "cargo bench ended with {}:\n{said}", output.status);
    instructions::parse(&said)
}

/// Where this program lies, but for the profile.
fn target_directory() -> anyhow::Result<PathBuf> {
    let ours = std::env::current_exe()?;
    Ok(ours.ancestors().nth(2).context("this program lies nowhere")?.to_owned())
}
