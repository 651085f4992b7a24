//! The `Date` of answers (RFC 9110 §6.6.1), made once a second.

use std::cell::{Cell, Ref, RefCell};
use std::time::SystemTime;

/// The present time, as text.
#[derive(Debug, Default)]
pub(super) struct Date {
    /// The tick at which the text is made anew.
    until: Cell<u64>,
    text: RefCell<String>,
}

impl Date {
    /// The text; `now` is in ticks.
    pub(super) fn now(&self, now: u64) -> Ref<'_, [u8]> {
        if now >= self.until.get() {
            self.until.set(now + MAX_AGE_TICKS);
            self.text.replace(httpdate::fmt_http_date(SystemTime::now()));
        }
        Ref::map(self.text.borrow(), |text| text.as_bytes())
    }
}

/// Half a second, so that it is never off by more than one.
const MAX_AGE_TICKS: u64 = 5;
