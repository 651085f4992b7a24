//! The words behind a status code that an application chose itself.

use bytes::Bytes;

/// A reason phrase that is not the usual one of its status (RFC 9112 §4); it travels in the
/// extensions of a response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ReasonPhrase(Bytes);

impl ReasonPhrase {
    /// Words that may stand in a status line; `None` if they may not.
    pub(crate) fn new(words: &[u8]) -> Option<Self> {
        let may_stand = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        words.iter().all(may_stand).then(|| Self(Bytes::copy_from_slice(words)))
    }

    /// The words.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
