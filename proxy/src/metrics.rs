//! What is counted and logged.

pub(crate) mod access_log;
pub(crate) mod counters;
pub(crate) mod labels;
pub(crate) mod log_line;
pub(crate) mod process;
