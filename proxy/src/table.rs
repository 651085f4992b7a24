//! What travels between the two processes: plain data, as JSON.
//!
//! A [`TableSpec`] is everything the proxy is to know, and replaces what it knew whole. The proxy
//! compiles it (`live::Table`) and swaps one pointer; it never asks back.

mod millis;
mod policy;
mod snapshot;

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::policy::{BodyLimit, Limits, Policy};
pub use self::snapshot::{
    ColorStats, DURATION_BUCKETS, EndpointStats, PoolStats, ProcessStats, ServiceStats, Snapshot,
};

/// One complete set of routes, services and policies, at one generation.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TableSpec {
    /// Grows with every table; a table older than the live one is refused.
    pub generation: Generation,
    /// Where requests go. The order does not matter: the proxy sorts by host class and path length.
    pub routes: Vec<RouteSpec>,
    /// The services that routes may name.
    pub services: Vec<ServiceSpec>,
    /// What holds for every request.
    pub policy: Policy,
}

/// The number of a table.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which requests a service gets: a host and a path prefix.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// Which hosts.
    pub host: HostPattern,
    /// A path prefix that starts with `/`; it matches whole segments (`/api` is not `/apix`).
    pub path: String,
    /// Whether the prefix is taken off before the request goes upstream.
    pub strip_prefix: bool,
    /// The service that answers.
    pub service: ServiceName,
}

/// The host part of a route, lower case, without port.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HostPattern {
    /// Any host, and requests without one.
    Any,
    /// This host and no other.
    Exact(String),
    /// `*.example.com` is held as `example.com`: exactly one more label in front of it.
    Wildcard(String),
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(host) => f.write_str(host),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
        }
    }
}

/// One named app: how requests are spread, how long they may take, and the pools that serve now.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// The name; unique in a table.
    pub name: ServiceName,
    /// The colors that serve, at most one pool each. A color with no share is not in the table.
    pub pools: Vec<PoolSpec>,
    /// How an endpoint is chosen within a pool.
    pub balance: Balance,
    /// `Host` sent upstream; `None` passes the client's through.
    pub host: Option<String>,
    /// The largest request body; `None` is that of [`Limits`].
    pub max_body: Option<BodyLimit>,
    /// How long each step may take.
    pub timeouts: Timeouts,
    /// Set while requests are held back by an operator.
    pub pause: Option<Pause>,
}

/// The endpoints of one color and its share of the requests.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PoolSpec {
    /// Blue or green.
    pub color: Color,
    /// The share against the other pool; 1 or more.
    pub weight: u32,
    /// Where the color can be reached; may be empty (requests are then held).
    pub endpoints: Vec<EndpointSpec>,
}

/// One address of one container.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointSpec {
    /// Who this is: a container ID, or the configured address. Connections are kept per identity,
    /// never per address, because Docker hands an address on at once.
    pub id: EndpointId,
    /// Where it is now.
    pub address: SocketAddr,
    /// The share within the pool under `weighted`, `least_conn` and `p2c`; 1 or more.
    pub weight: u32,
    /// Whether the probes find it ready.
    pub up: bool,
}

/// The identity of an endpoint: a container ID with port, or the configured address.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct EndpointId(pub Arc<str>);

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for EndpointId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

/// One of the two slots of a service.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// The first slot.
    Blue,
    /// The second slot.
    Green,
}

impl Color {
    /// Both slots, in order.
    pub const ALL: [Self; 2] = [Self::Blue, Self::Green];

    /// The name used in labels, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }

    /// The other slot.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }

    /// 0 for blue, 1 for green.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Color {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "blue" => Ok(Self::Blue),
            "green" => Ok(Self::Green),
            _ => Err(NameError("a color is blue or green")),
        }
    }
}

/// A service's name: 1 to 63 of `a-z 0-9 - _`, the first a letter or digit.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(Arc<str>);

impl ServiceName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let valid = (1..=63).contains(&name.len())
            && name.bytes().all(|b| plain(b) || b == b'-' || b == b'_')
            && name.bytes().next().is_some_and(plain);
        if valid {
            Ok(Self(name.into()))
        } else {
            Err(NameError(
                "a service name is 1 to 63 of a-z, 0-9, `-` and `_`, and starts with a letter or digit",
            ))
        }
    }
}

impl TryFrom<String> for ServiceName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        name.parse()
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> Self {
        name.0.as_ref().into()
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name or word that is not what its kind allows; the text says what would be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(pub &'static str);

/// How an endpoint of a pool is chosen.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// The first endpoint that is up, in the order given.
    First,
    /// By a hash, so that equal keys meet the same endpoint while the set stays the same.
    Hash(HashKey),
    /// The fewest requests in flight for its weight.
    LeastConn,
    /// The less loaded of two taken at random.
    #[default]
    P2c,
    /// One after the other.
    RoundRobin,
    /// One after the other, in proportion to the weights.
    Weighted,
}

/// What [`Balance::Hash`] hashes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HashKey {
    /// The value of this cookie.
    Cookie(String),
    /// The value of this header field.
    Header(String),
    /// The client's address.
    Ip,
    /// The path and query.
    Uri,
}

/// How long each step upstream may take.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// To a TCP connection.
    #[serde(rename = "connect_ms", with = "millis")]
    pub connect: Duration,
    /// From the request's last byte to the response's head.
    #[serde(rename = "response_header_ms", with = "millis")]
    pub response_header: Duration,
    /// How long an idle upstream connection is kept; below the app's own keep-alive.
    #[serde(rename = "upstream_idle_ms", with = "millis")]
    pub upstream_idle: Duration,
    /// How long a request waits for an endpoint before it gets a 503.
    #[serde(rename = "hold_ms", with = "millis")]
    pub hold: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            response_header: Duration::from_secs(30),
            upstream_idle: Duration::from_secs(4),
            hold: Duration::from_secs(5),
        }
    }
}

/// Requests of a service are held back.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// Hold only methods that are not safe (RFC 9110 §9.2.1).
    pub writes_only: bool,
    /// How long one request waits before it gets a 503.
    #[serde(rename = "max_pause_ms", with = "millis")]
    pub max_pause: Duration,
}

/// Which work of a retired pool is to end by force.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hangup {
    /// Requests with an end in sight: the drain deadline has passed.
    Requests,
    /// Everything: the stream deadline has passed.
    Everything,
}
