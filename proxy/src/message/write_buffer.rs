//! Bytes on their way to a socket.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// What waits to be written, in order: heads, framing and small frames are gathered in one piece of
/// memory and leave with one `send(2)`; a large frame goes out from its own memory.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    /// The small pieces; those before `at` have been written.
    gathered: Vec<u8>,
    at: usize,
    /// Gathered bytes that go ahead of the first frame.
    lead: usize,
    frames: VecDeque<Frame>,
    len: usize,
}

#[derive(Debug)]
struct Frame {
    data: Bytes,
    /// Gathered bytes that go behind this frame and ahead of the next.
    behind: usize,
}

impl WriteBuffer {
    /// A buffer that gathers in memory used before.
    pub(crate) fn with_memory(mut memory: Vec<u8>) -> Self {
        memory.clear();
        Self { gathered: memory, ..Self::default() }
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends what `write` appends to the gathered bytes.
    pub(crate) fn gather<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let before = self.gathered.len();
        let written = write(&mut self.gathered);
        let added = self.gathered.len().saturating_sub(before);
        self.len += added;
        match self.frames.back_mut() {
            Some(frame) => frame.behind += added,
            None => self.lead += added,
        }
        written
    }

    /// Appends a piece of a body: copied where that is cheaper than a slice of its own.
    pub(crate) fn push(&mut self, data: Bytes) {
        if data.len() <= MAX_COPIED_BYTES {
            self.gather(|gathered| gathered.extend_from_slice(&data));
        } else {
            self.len += data.len();
            self.frames.push_back(Frame { data, behind: 0 });
        }
    }

    /// What waits, from its beginning: as many slices as fit. Returns how many were filled.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; MAX_SLICES]) -> usize {
        let mut filled = 0;
        let mut at = self.at;
        let mut free = slices.iter_mut();
        let mut put = |bytes: &'a [u8]| {
            if bytes.is_empty() {
                return true;
            }
            let slot = free.next();
            filled += usize::from(slot.is_some());
            slot.map(|slot| *slot = IoSlice::new(bytes)).is_some()
        };
        let mut gathered = |length: usize| {
            let bytes = self.gathered.get(at..at + length).unwrap_or_default();
            at += length;
            bytes
        };
        let mut room = put(gathered(self.lead));
        for frame in &self.frames {
            room = room && put(&frame.data) && put(gathered(frame.behind));
            if !room {
                break;
            }
        }
        filled
    }

    /// What waits, as far as it is one piece of memory.
    pub(crate) fn first(&self) -> &[u8] {
        self.gathered.get(self.at..self.at + self.lead).unwrap_or_default()
    }

    /// Takes off what has been written.
    pub(crate) fn advance(&mut self, mut written: usize) {
        self.len = self.len.saturating_sub(written);
        let take = |of: &mut usize, written: &mut usize| {
            let taken = (*of).min(*written);
            *of -= taken;
            *written -= taken;
            taken
        };
        self.at += take(&mut self.lead, &mut written);
        while let Some(frame) = self.frames.front_mut() {
            let data = frame.data.len().min(written);
            frame.data.advance(data);
            written -= data;
            if !frame.data.is_empty() {
                break;
            }
            // The frame and its memory go; what stands behind it leads now.
            self.lead = frame.behind;
            self.frames.pop_front();
            self.at += take(&mut self.lead, &mut written);
            if self.lead > 0 {
                break;
            }
        }
        if self.at == self.gathered.len() {
            self.gathered.clear();
            self.at = 0;
        }
    }

    /// The memory of small pieces, for the next buffer; none if that would keep too much.
    pub(crate) fn into_memory(self) -> Vec<u8> {
        if self.gathered.capacity() <= KEPT_BYTES { self.gathered } else { Vec::new() }
    }

    /// Lets go of memory beyond what a connection in use may keep.
    pub(crate) fn trim(&mut self) {
        if self.is_empty() && self.gathered.capacity() > KEPT_BYTES {
            self.gathered = Vec::new();
        }
    }
}

/// Up to here, copying is cheaper than a slice of a vectored write.
const MAX_COPIED_BYTES: usize = 16 << 10;
/// Slices of one vectored write.
pub(crate) const MAX_SLICES: usize = 16;
/// Memory for small pieces that is kept from message to message.
const KEPT_BYTES: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(buffer: &mut WriteBuffer, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !buffer.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let filled = buffer.slices(&mut slices);
            let all: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
            assert!(!all.is_empty(), "there is something to write");
            let taken = step.min(all.len());
            out.extend_from_slice(&all[..taken]);
            buffer.advance(taken);
        }
        out
    }

    proptest! {
        #[test]
        fn however_the_kernel_takes_it_the_bytes_come_out_in_order(
            pieces in prop::collection::vec((any::<u8>(), prop_oneof![0..40_usize, 16_000..40_000_usize], any::<bool>()), 0..30),
            step in prop_oneof![1_000..70_000_usize, Just(usize::MAX)],
        ) {
            let mut buffer = WriteBuffer::default();
            let mut expected = Vec::new();
            for (byte, length, gathered) in pieces {
                let piece = vec![byte; length];
                expected.extend_from_slice(&piece);
                if gathered {
                    buffer.gather(|out| out.extend_from_slice(&piece));
                } else {
                    buffer.push(piece.into());
                }
            }
            prop_assert_eq!(buffer.len(), expected.len());
            prop_assert!(written(&mut buffer, step) == expected);
            prop_assert!(buffer.frames.is_empty() && buffer.gathered.is_empty());
        }
    }

    #[test]
    fn a_small_answer_is_one_slice() {
        let mut buffer = WriteBuffer::default();
        buffer.gather(|out| out.extend_from_slice(b"head"));
        buffer.push(Bytes::from_static(b"body"));
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        assert_eq!(buffer.slices(&mut slices), 1);
        assert_eq!(&*slices[0], b"headbody");
    }
}
