//! What the operator wants: parsed once, typed, with every default filled in.
//!
//! A config file and a container's labels are two spellings of the same keys; both end up as the
//! types of this file, and nothing behind them validates again.

pub(crate) mod changes;
mod diagnostics;
mod env;
pub(crate) mod file;
mod keys;
pub mod labels;
pub(crate) mod origin;
pub(crate) mod reload;
mod restart;
mod routes;
mod traffic;
pub(crate) mod tree;
pub(crate) mod values;
mod warnings;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cutover_api::{Target, Weights};
use cutover_proxy::table::{Balance, BodyLimit, Color, HostPattern, Limits, ServiceName, Timeouts};
use ipnet::IpNet;

pub use self::diagnostics::Report;
pub(crate) use self::keys::{service as read_service, service_of_file};
pub use self::routes::Route;

/// Where `cutover run` looks without `--config`.
pub const DEFAULT_PATH: &str = "/etc/cutover/cutover.toml";

/// A whole config file, or the defaults where there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Where to listen. Changes need a restart.
    pub listen: Listen,
    /// Processes, threads and directories. Changes need a restart.
    pub runtime: Runtime,
    /// Where access log lines go.
    pub access_log: AccessLogOutput,
    /// What a client may ask of us.
    pub limits: Limits,
    /// How to reach Docker.
    pub docker: Docker,
    /// The services of the file; labels add more.
    pub services: BTreeMap<ServiceName, ServiceConfig>,
}

/// `[listen]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    /// Plain HTTP listeners.
    pub http: Vec<SocketAddr>,
    /// The status page, `/metrics`, `/livez`, `/readyz`.
    pub admin: Option<SocketAddr>,
    /// The control socket; the link to the proxy lies beside it.
    pub control: PathBuf,
    /// Peers whose forwarding fields are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Groups whose members may use the control socket, besides root and our own user.
    pub control_gids: Vec<u32>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            http: vec![SocketAddr::from(([0, 0, 0, 0], 80))],
            admin: Some(SocketAddr::from(([127, 0, 0, 1], 1936))),
            control: "/run/cutover/control.sock".into(),
            trusted_proxies: Vec::new(),
            control_gids: Vec::new(),
        }
    }
}

/// `[runtime]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Runtime {
    /// Proxy threads; `None` is one per processor.
    pub workers: Option<usize>,
    /// Where the journal lives.
    pub state_dir: PathBuf,
    /// How long requests may finish after SIGTERM.
    pub shutdown_timeout: Duration,
    /// User and group ID of the proxy when started as root.
    pub proxy_user: u32,
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            workers: None,
            state_dir: "/var/lib/cutover".into(),
            shutdown_timeout: Duration::from_secs(25),
            proxy_user: 65_534,
        }
    }
}

/// `[access_log]`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum AccessLogOutput {
    /// Appended to this file, which SIGUSR1 reopens.
    File(PathBuf),
    /// No access log.
    #[default]
    Off,
    /// The standard output of `cutover run`.
    Stdout,
}

/// `[docker]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Docker {
    /// Whether to look for containers at all.
    pub enable: bool,
    /// The engine's socket.
    pub socket: PathBuf,
}

impl Default for Docker {
    fn default() -> Self {
        Self { enable: true, socket: "/var/run/docker.sock".into() }
    }
}

/// `[services.NAME]`, or the labels of its containers.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceConfig {
    /// Host patterns; empty is any host.
    pub hosts: Vec<HostPattern>,
    /// Path prefix.
    pub path: String,
    /// Whether the prefix is taken off.
    pub strip_prefix: bool,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// `Host` sent upstream; `None` passes the client's through.
    pub host: Option<String>,
    /// What serves while the journal knows nothing.
    pub active: Active,
    /// Static endpoints of blue.
    pub blue: Vec<StaticEndpoint>,
    /// Static endpoints of green.
    pub green: Vec<StaticEndpoint>,
    /// The port of discovered containers; `None` takes the only exposed one.
    pub port: Option<u16>,
    /// The Docker network to reach discovered containers on; `None` takes one we share.
    pub network: Option<String>,
    /// The largest request body; `None` is that of `[limits]`.
    pub max_body: Option<BodyLimit>,
    /// Time limits upstream.
    pub timeouts: Timeouts,
    /// How readiness is judged.
    pub probe: ProbeConfig,
    /// How long retired work may go on.
    pub drain: DrainConfig,
    /// How a new release is brought in.
    pub rollout: RolloutConfig,
    /// The keys that the file has for it, which labels do not change.
    pub written: Written,
}

/// What a service's section of the file says, key by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written(pub(crate) Vec<tree::Entry>);

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            path: "/".to_owned(),
            strip_prefix: false,
            balance: Balance::default(),
            host: None,
            active: Active::default(),
            blue: Vec::new(),
            green: Vec::new(),
            port: None,
            network: None,
            max_body: None,
            timeouts: Timeouts::default(),
            probe: ProbeConfig::default(),
            drain: DrainConfig::default(),
            rollout: RolloutConfig::default(),
            written: Written::default(),
        }
    }
}

impl ServiceConfig {
    /// The static endpoints of a color.
    #[must_use]
    pub fn endpoints(&self, color: Color) -> &[StaticEndpoint] {
        match color {
            Color::Blue => &self.blue,
            Color::Green => &self.green,
        }
    }
}

/// An endpoint of the config file: its name is resolved again and again.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct StaticEndpoint {
    /// A host name or an IP address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The share within its pool.
    pub weight: u32,
}

/// What serves: a color, or both side by side.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Active {
    /// Only blue.
    #[default]
    Blue,
    /// Both, each with an equal share.
    Both,
    /// Only green.
    Green,
}

impl From<Active> for Weights {
    fn from(active: Active) -> Self {
        Self::of(match active {
            Active::Blue => Target::Blue,
            Active::Both => Target::Both,
            Active::Green => Target::Green,
        })
    }
}

/// `[services.NAME.probe]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeConfig {
    /// What is asked.
    pub kind: ProbeKind,
    /// Between two probes of an endpoint.
    pub interval: Duration,
    /// For one probe, connection included.
    pub timeout: Duration,
    /// Passes in a row until ready.
    pub rise: u32,
    /// Failures in a row until not ready.
    pub fall: u32,
}

/// A connection is all that is asked for until a `path` (or anything else of HTTP) is given.
impl Default for ProbeConfig {
    fn default() -> Self {
        Self {
            kind: ProbeKind::Tcp,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
        }
    }
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq)]
pub enum ProbeKind {
    /// An HTTP request; redirects are not followed.
    Http {
        /// `GET` or `HEAD`.
        method: String,
        /// The path.
        path: String,
        /// `Host`; `None` sends the service's first exact host, or the address.
        host: Option<String>,
        /// Statuses that pass, as inclusive ranges.
        status: Vec<(u16, u16)>,
    },
    /// A TCP connection.
    Tcp,
}

/// `[services.NAME.drain]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DrainConfig {
    /// For requests.
    pub timeout: Duration,
    /// For upgraded connections and open-ended responses.
    pub streams: Duration,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), streams: Duration::from_secs(5 * 60) }
    }
}

/// `[services.NAME.rollout]`.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutConfig {
    /// Whether a release that becomes ready is flipped to without a command.
    pub auto: bool,
    /// How long the old color is kept running after it drained.
    pub keep_warm: Duration,
    /// How long the new color is compared with the old one after the flip.
    pub monitor: Duration,
    /// Requests of the new color that are needed before its share of failures is judged.
    pub min_requests: u64,
    /// The share of failed requests, from 0 to 1, that is never a reason to go back.
    pub max_error_rate: f64,
    /// How long nothing of the color that serves may be up until the other one does, if that is
    /// ready; `None` is for ever.
    pub failover: Option<Duration>,
    /// How long a candidate may take to become ready.
    pub deploy_timeout: Duration,
    /// How long a candidate must stay ready before the flip.
    pub min_ready: Duration,
    /// Stopped containers of former releases that are kept.
    pub retain: usize,
    /// What becomes of a failed candidate.
    pub on_failure: OnFailure,
}

impl Default for RolloutConfig {
    fn default() -> Self {
        Self {
            auto: false,
            keep_warm: Duration::from_secs(10 * 60),
            monitor: Duration::from_secs(60),
            min_requests: 20,
            max_error_rate: 0.01,
            failover: Some(Duration::from_secs(3)),
            deploy_timeout: Duration::from_secs(120),
            min_ready: Duration::ZERO,
            retain: 1,
            on_failure: OnFailure::default(),
        }
    }
}

/// What becomes of a candidate that failed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnFailure {
    /// Kept as by `keep`, unless Compose would take the stopped container for one of its own: then it is removed.
    #[default]
    KeepUnlessCompose,
    /// Stopped and kept for inspection.
    Keep,
    /// Stopped and removed.
    Remove,
}

#[cfg(test)]
mod tests;
