//! What can be typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use cutover_api::{PullPolicy, Target};
use serde::de::value::{Error as WordError, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};

use cutover_demo::{AppArguments, DemoArguments};

/// Swap blue and green without losing a request.
#[derive(Debug, Parser)]
#[command(name = "cutover", version, propagate_version = true, disable_help_subcommand = true)]
pub(super) struct Cli {
    /// The control socket of the Cutover to talk to.
    #[arg(
        long,
        global = true,
        env = "CUTOVER_SOCKET",
        value_name = "PATH",
        default_value = "/run/cutover/control.sock"
    )]
    pub(super) socket: PathBuf,
    /// One JSON document on stdout.
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Run the edge: supervisor, proxy and controller.
    Run {
        /// The config file [default: /etc/cutover/cutover.toml, if there is one].
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Parse and validate a config file, and print what would be served.
    Check {
        /// The config file [default: /etc/cutover/cutover.toml].
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Show services, colors, endpoints and what is going on.
    Status {
        /// Only this service.
        service: Option<String>,
        /// Redraw every second.
        #[arg(long)]
        watch: bool,
    },
    /// Make another color serve, after probing it.
    Flip {
        service: String,
        #[arg(value_parser = one_of::<Target>(["blue", "green", "both"]))]
        to: Target,
        /// Do not probe the target first.
        #[arg(long)]
        force: bool,
    },
    /// Split the requests between the colors.
    Weight {
        service: String,
        /// Such as `blue=95 green=5`.
        #[arg(required = true, num_args = 1..=2, value_name = "COLOR=SHARE", value_parser = share)]
        shares: Vec<(String, u32)>,
    },
    /// Bring in a new release and flip to it.
    Deploy(Deploy),
    /// Go back to the release before, or to a revision.
    Rollback(Rollback),
    /// End the rollout under way: before its flip it is abandoned, after it flipped back.
    Abort { service: String },
    /// List the revisions of a service.
    History { service: String },
    /// Say what a deploy would do, and what stands in its way; change nothing.
    Plan(Deploy),
    /// Hold requests back until `resume`.
    Pause(Pause),
    /// Let held requests go on.
    Resume { service: String },
    /// Print what happens, as JSON lines.
    Events {
        /// Go on until interrupted.
        #[arg(long, short)]
        follow: bool,
    },
    /// Read the config file again now.
    Reload,
    /// Two built-in apps under load, with a flip every moment: nothing may get lost.
    Demo(DemoArguments),
    /// One of the demo's apps.
    #[command(hide = true)]
    DemoApp(AppArguments),
    /// Run only the proxy, apart from its controller.
    Proxy(Proxy),
    /// Run only the controller, apart from its proxy.
    Controller(Controller),
}

#[derive(Args, Debug)]
pub(super) struct Deploy {
    /// Services that flip together.
    #[arg(required = true, value_name = "SERVICE")]
    pub(super) services: Vec<String>,
    /// The image to run.
    #[arg(long, value_name = "REF", conflicts_with = "tag")]
    pub(super) image: Option<String>,
    /// The image of today with this tag.
    #[arg(long)]
    pub(super) tag: Option<String>,
    /// When to ask the registry.
    #[arg(long, value_parser = one_of::<PullPolicy>(["always", "missing", "never"]))]
    pub(super) pull: Option<PullPolicy>,
    /// How long the new color may take to become ready [default: 120s].
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(super) deploy_timeout: Option<Duration>,
    /// How long requests of the old color may go on [default: 30s].
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(super) drain_timeout: Option<Duration>,
    /// How long streams of the old color may go on [default: 5m].
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(super) stream_drain: Option<Duration>,
    /// How long the old color stays ready for a rollback [default: 10m].
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(super) keep_warm: Option<Duration>,
    /// How long the new color is judged after the flip [default: 60s].
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(super) monitor: Option<Duration>,
    /// How long to wait for another rollout to end [default: 0s].
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(super) wait_lock: Option<Duration>,
}

#[derive(Args, Debug)]
pub(super) struct Rollback {
    pub(super) service: String,
    /// A number of `cutover history`.
    pub(super) revision: Option<u64>,
    /// How long to wait for another rollout to end [default: 0s].
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(super) wait_lock: Option<Duration>,
}

#[derive(Args, Debug)]
pub(super) struct Pause {
    pub(super) service: String,
    /// Hold only methods that may change something.
    #[arg(long)]
    pub(super) writes_only: bool,
    /// How long one request waits before it gets a 503.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "30s")]
    pub(super) max_pause: Duration,
}

#[derive(Args, Debug)]
pub(super) struct Controller {
    /// The config file [default: /etc/cutover/cutover.toml, if there is one].
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Where to keep the last valid config.
    #[arg(long, value_name = "FILE", hide = true)]
    pub(super) last_good: Option<PathBuf>,
    /// Standard input is the connection to a supervisor.
    #[arg(long, hide = true)]
    pub(super) handoff: bool,
}

#[derive(Args, Debug)]
pub(super) struct Proxy {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", required_unless_present = "handoff", num_args = 1..)]
    pub(super) listen: Vec<SocketAddr>,
    /// The socket by which a controller reaches this proxy.
    #[arg(long, value_name = "PATH", default_value = "/run/cutover/proxy.sock")]
    pub(super) link: PathBuf,
    /// Threads [default: one per processor].
    #[arg(long)]
    pub(super) workers: Option<usize>,
    /// How long requests may finish after SIGTERM.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "25s")]
    pub(super) shutdown_timeout: Duration,
    /// The user and group to become once the sockets are bound, where started as root.
    #[arg(long, value_name = "ID")]
    pub(super) user: Option<u32>,
    /// Standard input is the connection to a supervisor.
    #[arg(long, hide = true)]
    pub(super) handoff: bool,
}

fn share(text: &str) -> Result<(String, u32), String> {
    let (color, share) = text.split_once('=').ok_or("write it as blue=95")?;
    if !matches!(color, "blue" | "green") {
        return Err("a color is blue or green".to_owned());
    }
    let share = share.trim_end_matches('%').parse().map_err(|_| "a share is a whole number")?;
    Ok((color.to_owned(), share))
}

/// One of a few words, which are those of the control API.
fn one_of<T>(words: [&'static str; 3]) -> impl TypedValueParser<Value = T>
where
    T: Clone + DeserializeOwned + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|word| {
        let word: StrDeserializer<'_, WordError> = word.as_str().into_deserializer();
        T::deserialize(word)
    })
}
