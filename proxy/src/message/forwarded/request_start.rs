//! When a request came in, for those who measure how long it has waited for the app.

use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;

/// What stands in `X-Request-Start`.
#[derive(Clone, Debug)]
pub(crate) enum RequestStart {
    /// A trusted proxy's, which had the request earlier.
    Kept(HeaderValue),
    /// Ours, in microseconds since the Unix epoch.
    Made(u64),
}

impl RequestStart {
    /// A given time, if it is one: digits, which may have one point in them and `t=` before them.
    ///
    /// The unit differs (nginx says seconds with a fraction, Heroku milliseconds); who reads it
    /// tells by the size.
    pub(super) fn keep(value: &HeaderValue) -> Option<Self> {
        let bytes = value.as_bytes();
        let time = bytes.strip_prefix(b"t=").unwrap_or(bytes);
        let points = time.iter().filter(|byte| **byte == b'.').count();
        let is_time = (1..=MAX_DIGITS).contains(&time.len())
            && points <= 1
            && time.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
            && time.first().is_some_and(u8::is_ascii_digit);
        is_time.then(|| Self::Kept(value.clone()))
    }

    /// A time of ours; before 1970 it is 0.
    pub(super) fn make(now: SystemTime) -> Self {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::Made(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    /// Appends the field's value.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Kept(value) => out.extend_from_slice(value.as_bytes()),
            Self::Made(micros) => {
                out.extend_from_slice(b"t=");
                out.extend_from_slice(itoa::Buffer::new().format(*micros).as_bytes());
            }
        }
    }
}

/// Room for nanoseconds and a point.
const MAX_DIGITS: usize = 24;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn text(start: &RequestStart) -> String {
        let mut out = Vec::new();
        start.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_time_of_ours_is_in_microseconds() {
        let now = UNIX_EPOCH + Duration::from_micros(1_763_754_000_123_456);
        assert_eq!(text(&RequestStart::make(now)), "t=1763754000123456");
        assert_eq!(text(&RequestStart::make(UNIX_EPOCH - Duration::from_secs(1))), "t=0");
    }

    #[test]
    fn only_a_time_is_kept() {
        for good in ["t=1763754000.123", "t=1763754000123456", "1763754000123", "7"] {
            let kept = RequestStart::keep(&HeaderValue::from_static(good)).unwrap();
            assert_eq!(text(&kept), good);
        }
        for bad in
            ["", "t=", "t=.5", "t=1.2.3", "t=-1", "t=1, t=2", "now", "1111111111111111111111111"]
        {
            assert!(RequestStart::keep(&HeaderValue::from_static(bad)).is_none(), "{bad}");
        }
    }
}
