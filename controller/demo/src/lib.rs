//! `cutover demo`: the promise, shown on this machine without Docker and without a config.
//!
//! Two small apps and a real Cutover run as processes of their own. Clients of every kind load them
//! through it while a flip goes through the control socket every quarter of a second, every answer
//! is checked, and at the end the numbers say what was lost: nothing, or the exit code is 1.

mod app;
mod check;
mod control;
mod counters;
mod course;
mod latency;
mod load;
mod report;
mod stage;
mod streams;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

pub use self::app::AppArguments;
use self::counters::{Counters, Timeline};
use self::course::Course;
use self::load::Clients;
use self::report::Report;
use self::stage::Stage;

/// `cutover demo`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct DemoArguments {
    /// How long to load and flip.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..))]
    pub seconds: u64,
    /// Prints the report as one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// Between two flips.
const FLIP_INTERVAL: Duration = Duration::from_millis(250);

/// Runs the demo and prints its report; failure if a single request failed.
///
/// # Errors
/// Fails when the processes cannot be started or the control socket does not answer.
pub fn run(arguments: DemoArguments) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(perform(arguments))
}

/// Runs one of the two apps (`cutover demo-app`) until SIGTERM.
///
/// # Errors
/// Fails when the address cannot be bound.
pub fn run_app(arguments: AppArguments) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(app::run(arguments))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}

async fn perform(arguments: DemoArguments) -> anyhow::Result<ExitCode> {
    let stage = Stage::set().await?;
    eprintln!(
        "blue on {}, green on {}, Cutover on http://{} (control socket {})",
        stage.blue,
        stage.green,
        stage.edge,
        stage.control.display()
    );
    eprintln!("loading for {} s, a flip every {FLIP_INTERVAL:?}", arguments.seconds);

    let timeline = Timeline::starting_now(Duration::from_secs(arguments.seconds));
    let course = Arc::new(Course::default());
    let counters = Arc::new(Counters::new(timeline));
    let mut load = JoinSet::new();
    Clients::new(stage.edge, &course, &counters).start(&mut load);
    let flips = flip_repeatedly(&stage, &course, &counters);
    tokio::select! {
        () = flips => {}
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            stage.strike().await;
            anyhow::bail!("interrupted");
        }
    }
    while let Some(ended) = load.join_next().await {
        ended.context("a client of the demo")?;
    }

    let posts = check::posts(&stage, counters.posts_sent()).await?;
    let metrics = control::metrics(&stage.control).await?;
    let report = Report::new(&counters, posts, metrics);
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{}", report.table());
    }
    let failures = counters.first_failures();
    for failure in &failures {
        eprintln!("failed: {failure}");
    }
    if report.is_clean() {
        stage.strike().await;
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{}", stage.last_words());
    stage.strike().await;
    Ok(ExitCode::FAILURE)
}

/// Flips to and fro between the quiet time at the beginning and the one at the end. A flip that is
/// refused is a failure, and the last one.
async fn flip_repeatedly(stage: &Stage, course: &Course, counters: &Counters) {
    sleep_until(counters.timeline.flips_from).await;
    let mut beat = interval(FLIP_INTERVAL);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < counters.timeline.flips_until {
        beat.tick().await;
        let to = course.start_flip();
        match control::flip(&stage.control, to).await {
            Ok(took) => {
                course.finish_flip();
                counters.flipped(took);
            }
            Err(error) => {
                counters.failed(format!("flip to {to}: {error:#}"));
                break;
            }
        }
    }
    sleep_until(counters.timeline.end).await;
}

#[cfg(test)]
mod tests;
