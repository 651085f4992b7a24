//! Which color must serve, as the clients can know it.

use std::sync::atomic::{AtomicU64, Ordering};

/// The two colors of a service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Color {
    /// The one that serves first.
    Blue,
    /// The other.
    Green,
}

impl Color {
    /// The word for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }

    /// The color of a word.
    pub(super) fn from_word(word: &[u8]) -> Option<Self> {
        [Self::Blue, Self::Green].into_iter().find(|color| color.as_str().as_bytes() == word)
    }

    fn after(flips: u64) -> Self {
        if flips.is_multiple_of(2) { Self::Blue } else { Self::Green }
    }
}

/// Counts the flips: twice the number of acknowledged ones, and one more while a flip is under way.
#[derive(Debug, Default)]
pub(super) struct Course(AtomicU64);

/// The course as it was before a request began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark(u64);

impl Course {
    /// Notes that a flip is about to be asked for; returns the color it goes to.
    pub(super) fn start_flip(&self) -> Color {
        Color::after(self.0.fetch_add(1, Ordering::SeqCst) / 2 + 1)
    }

    /// Notes that the flip was acknowledged.
    pub(super) fn finish_flip(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// Taken before a request begins.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.0.load(Ordering::SeqCst))
    }

    /// Whether a request that began at `mark` and is answered now may have been served by a color:
    /// by either, if a flip was under way at any time between.
    pub(super) fn allows(&self, mark: Mark, color: Color) -> bool {
        let now = self.mark().0;
        let settled = mark.0 == now && now.is_multiple_of(2);
        !settled || color == Color::after(now / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_new_color_may_serve_what_begins_after_the_flip_was_acknowledged() {
        let course = Course::default();
        let mark = course.mark();
        assert!(course.allows(mark, Color::Blue) && !course.allows(mark, Color::Green));
        assert_eq!(course.start_flip(), Color::Green);
        course.finish_flip();
        let mark = course.mark();
        assert!(!course.allows(mark, Color::Blue) && course.allows(mark, Color::Green));
    }

    #[test]
    fn either_color_may_serve_what_meets_a_flip() {
        let course = Course::default();
        let before = course.mark();
        course.start_flip();
        let amid = course.mark();
        let either = |mark| course.allows(mark, Color::Blue) && course.allows(mark, Color::Green);
        assert!(either(before) && either(amid));
        course.finish_flip();
        assert!(either(before) && either(amid));
    }

    #[test]
    fn a_color_is_known_by_its_word() {
        assert_eq!(Color::from_word(b"green"), Some(Color::Green));
        assert_eq!(Color::from_word(b"greens"), None);
    }
}
