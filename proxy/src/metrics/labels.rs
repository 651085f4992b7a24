//! Closed sets of words: what a metric may be labelled with.

/// A closed set of label values.
pub(crate) trait Label: Copy + 'static {
    /// Every value, each at its [`Label::index`].
    const ALL: &'static [Self];
    /// The position in [`Label::ALL`].
    fn index(self) -> usize;
    /// The word in metrics.
    fn as_str(self) -> &'static str;
}

/// Declares an enum that is a [`Label`]: each variant with its word.
macro_rules! labels {
    (
        $(#[$about:meta])*
        pub(crate) enum $name:ident { $($(#[$doc:meta])* $variant:ident => $word:literal,)+ }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum $name { $($(#[$doc])* $variant,)+ }

        impl $crate::metrics::labels::Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn index(self) -> usize {
                self as usize
            }

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

pub(crate) use labels;
