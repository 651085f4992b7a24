//! The zero-drop report: how a rollout went.

use std::fmt;

use cutover_proxy::table::{Color, ServiceName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The last line of a `deploy` or `rollback`, and an entry of the history.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Report {
    /// The service.
    #[schema(value_type = crate::schema::ServiceName)]
    pub service: ServiceName,
    /// How it ended.
    pub result: Ending,
    /// The number of this release.
    #[schema(example = 7)]
    pub revision: u64,
    /// What served before.
    #[schema(value_type = crate::schema::Color)]
    pub from: Color,
    /// What was to serve.
    #[schema(value_type = crate::schema::Color)]
    pub to: Color,
    /// The image as it was asked for.
    pub image: String,
    /// What it was pinned to: the registry's digest, or the image's ID where it never saw one.
    pub digest: Option<String>,
    /// Requests that ended while the rollout ran.
    pub requests: ByColor<u64>,
    /// Requests answered with 500 or above, or not at all.
    pub failed: u64,
    /// Requests sent again.
    pub retried: u64,
    /// Requests that had to wait.
    pub held: u64,
    /// What the drain deadline closed.
    pub forced: Forced,
    /// From the flip to the last byte of the old color.
    pub longest_drained_ms: u64,
    /// Medians.
    pub p50_ms: OldNew,
    /// 99th percentiles.
    pub p99_ms: OldNew,
    /// What each phase took, in order.
    pub phases: Vec<PhaseTime>,
    /// Why, where it did not go well.
    pub reason: Option<String>,
    /// What the last probe of the new color saw.
    pub last_probe: Option<String>,
    /// The last lines of a failed container.
    pub log: Vec<String>,
    /// When it began, RFC 3339.
    pub at: String,
    /// Who asked.
    pub by: String,
    /// What kind of rollout it was.
    pub kind: Kind,
    /// From the request to the report.
    pub duration_ms: u64,
}

impl Report {
    /// A report on a release that says nothing yet, not even its image.
    #[must_use]
    pub fn new(
        service: &ServiceName,
        revision: u64,
        (from, to): (Color, Color),
        kind: Kind,
        result: Ending,
    ) -> Self {
        Self {
            service: service.clone(),
            result,
            revision,
            from,
            to,
            image: String::new(),
            digest: None,
            requests: ByColor::default(),
            failed: 0,
            retried: 0,
            held: 0,
            forced: Forced::default(),
            longest_drained_ms: 0,
            p50_ms: OldNew::default(),
            p99_ms: OldNew::default(),
            phases: Vec::new(),
            reason: None,
            last_probe: None,
            log: Vec::new(),
            at: String::new(),
            by: String::new(),
            kind,
            duration_ms: 0,
        }
    }
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The new release serves.
    Done,
    /// Neither could be brought about: the reason says what serves.
    Failed,
    /// It ended before the flip: the old release serves, untouched.
    Refused,
    /// It was flipped, then flipped back: the old release serves.
    RolledBack,
}

impl Ending {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::RolledBack => "rolled_back",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What kind of rollout it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A release that became ready by itself.
    Auto,
    /// A new release that somebody asked for.
    Deploy,
    /// Nothing of the serving color was left, or up for too long: what was ready serves.
    Failover,
    /// What was found serving before the first rollout.
    Found,
    /// A release that served before.
    Rollback,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Deploy => "deploy",
            Self::Failover => "failover",
            Self::Found => "found",
            Self::Rollback => "rollback",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something of each color.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct ByColor<T> {
    /// Of blue.
    pub blue: T,
    /// Of green.
    pub green: T,
}

impl<T> ByColor<T> {
    /// Makes one of each.
    pub fn each(mut make: impl FnMut(Color) -> T) -> Self {
        Self { blue: make(Color::Blue), green: make(Color::Green) }
    }

    /// That of one color.
    pub fn get(&self, color: Color) -> &T {
        match color {
            Color::Blue => &self.blue,
            Color::Green => &self.green,
        }
    }

    /// Both, blue first.
    pub fn iter(&self) -> impl Iterator<Item = (Color, &T)> {
        [(Color::Blue, &self.blue), (Color::Green, &self.green)].into_iter()
    }
}

/// What was closed by force.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct Forced {
    /// Requests.
    pub requests: u64,
    /// Streams.
    pub streams: u64,
}

/// A figure of both releases.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct OldNew {
    /// Before the flip.
    pub old: f64,
    /// After it.
    pub new: f64,
}

/// What a phase took.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct PhaseTime {
    /// Which.
    pub name: crate::Phase,
    /// Milliseconds.
    pub ms: u64,
}
