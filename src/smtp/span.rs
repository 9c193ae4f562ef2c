//! A place in bytes that are owned elsewhere.
//!
//! The core hands out spans, not borrowed slices: a slice would keep the input borrowed over the shell's
//! next await, a span costs eight bytes and is looked up when it is used.

/// Bytes `start..end` of the buffer that the call was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// A span from byte offsets. Offsets are those of one buffer, which is never 4 GiB.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Span {
        debug_assert!(start <= end && end <= u32::MAX as usize);
        Span {
            start: start as u32,
            end: end as u32,
        }
    }

    /// The bytes of `buffer` that this span names. Empty where the span does not lie inside `buffer`.
    #[must_use]
    pub fn of<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        buffer
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether there is no byte in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}
