//! Who holds the lock of a service.

use std::fmt;

use crate::time_of_day;

/// Who has a lock, for those who have to wait.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LockOwner {
    /// `deploy`, `rollback` or `auto`.
    pub verb: &'static str,
    /// The revision to come, once it has a number.
    pub revision: Option<u64>,
    /// Since when, RFC 3339.
    pub since: String,
    /// Who asked.
    pub by: String,
}

impl LockOwner {
    /// Somebody who asks now.
    #[must_use]
    pub fn new(verb: &'static str, by: Option<&str>) -> Self {
        Self {
            verb,
            revision: None,
            since: humantime::format_rfc3339_seconds(time_of_day::now()).to_string(),
            by: by.unwrap_or("control socket").to_owned(),
        }
    }
}

impl fmt::Display for LockOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, revision, since, by } = self;
        f.write_str(verb)?;
        if let Some(revision) = revision {
            write!(f, " of revision {revision}")?;
        }
        write!(f, " by {by}, since {since}")
    }
}
