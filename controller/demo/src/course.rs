//! Which color must serve, as the clients can know it.

use std::sync::atomic::{AtomicU64, Ordering};

use cutover_proxy::table::Color;

/// Counts the flips: twice the number of acknowledged ones, plus one while a flip is under way.
/// Blue serves first.
#[derive(Debug, Default)]
pub(super) struct Course(AtomicU64);

/// The course as it was before a request was begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark(u64);

impl Course {
    /// Notes that a flip is about to be asked for; returns the color it goes to.
    pub(super) fn start_flip(&self) -> Color {
        color_after(self.0.fetch_add(1, Ordering::SeqCst) / 2 + 1)
    }

    /// Notes that the flip was acknowledged.
    pub(super) fn finish_flip(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// Taken before a request is begun.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.0.load(Ordering::SeqCst))
    }

    /// Whether a request begun at `mark`, whose answer has just come, may have come from `color`.
    /// Only while a flip is under way may it be either.
    pub(super) fn allows(&self, mark: Mark, color: Color) -> bool {
        let now = self.mark().0;
        let settled = mark.0 == now && now.is_multiple_of(2);
        !settled || color == color_after(now / 2)
    }
}

fn color_after(flips: u64) -> Color {
    if flips.is_multiple_of(2) { Color::Blue } else { Color::Green }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_active_color_may_serve_between_flips() {
        let course = Course::default();
        let mark = course.mark();
        assert!(course.allows(mark, Color::Blue));
        assert!(!course.allows(mark, Color::Green));
        assert_eq!(course.start_flip(), Color::Green);
        course.finish_flip();
        let mark = course.mark();
        assert!(!course.allows(mark, Color::Blue));
        assert!(course.allows(mark, Color::Green));
    }

    #[test]
    fn either_color_may_serve_a_request_that_meets_a_flip() {
        let course = Course::default();
        let before = course.mark();
        course.start_flip();
        let amid = course.mark();
        for color in Color::ALL {
            assert!(course.allows(before, color) && course.allows(amid, color));
        }
        course.finish_flip();
        for color in Color::ALL {
            assert!(course.allows(before, color) && course.allows(amid, color));
        }
    }
}
