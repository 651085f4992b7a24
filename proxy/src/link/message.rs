//! The messages, as they are written.

use serde::{Deserialize, Serialize};

use crate::table::{Color, Generation, Hangup, ServiceName, Snapshot, TableSpec};

/// The longest message, in bytes; a longer one ends the link.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// What the controller asks.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ToProxy {
    /// Make this the live table. Answered once no new request can see the old one.
    Apply(Box<TableSpec>),
    /// Count what there is.
    Snapshot,
    /// End work of a color's retired pools by force.
    Hangup {
        /// The service.
        service: ServiceName,
        /// The color.
        color: Color,
        /// Only pools that came before this generation.
        before: Generation,
        /// Which work.
        what: Hangup,
    },
    /// Where access log lines go from now on.
    AccessLog(AccessLog),
}

/// Where access log lines go.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessLog {
    /// To the file that came with the message.
    File,
    /// Nowhere.
    Off,
    /// To the proxy's standard output.
    Stdout,
}

/// What the proxy answers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FromProxy {
    /// The first message on a new link.
    Hello {
        /// The proxy's version.
        version: String,
        /// The proxy's process.
        pid: u32,
        /// The live table; 0 before the first.
        generation: Generation,
    },
    /// The table is live.
    Applied {
        /// Its generation.
        generation: Generation,
        /// What the swap itself took, in nanoseconds.
        swap_ns: u64,
    },
    /// The table or request was refused; nothing has changed.
    Refused {
        /// Why.
        message: String,
    },
    /// The answer to [`ToProxy::Snapshot`].
    Snapshot(Box<Snapshot>),
    /// Done.
    Done,
}
