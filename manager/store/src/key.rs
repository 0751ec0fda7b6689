//! Ids as keys of tables and indexes.
//!
//! An id of the usual length stands in the key itself, so that finding a place in a tree of a million reads the tree and
//! nothing else, and a new key asks for no memory. Invariant: keys are ordered as their texts are.

use std::{cmp::Ordering, sync::Arc};

/// Longest text that stands in the key. Ids are 25 characters.
const SHORT: usize = 4 * size_of::<u64>() - 1;

/// A text that is cheap to copy and to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    /// The text in big-endian words, filled up with zeros; the last byte is the length. So words compare as texts do.
    Short([u64; 4]),
    Long(Arc<str>),
}

impl Key {
    /// Whether it is the key of a text that begins with `prefix`.
    pub(crate) fn starts_with(&self, prefix: &str) -> bool {
        match self {
            Self::Short(words) => {
                let bytes = bytes(words);
                let len = usize::from(bytes[SHORT]);
                bytes[..len].starts_with(prefix.as_bytes())
            }
            Self::Long(text) => text.starts_with(prefix),
        }
    }
}

fn bytes(words: &[u64; 4]) -> [u8; SHORT + 1] {
    let mut bytes = [0; SHORT + 1];
    for (chunk, word) in bytes.chunks_exact_mut(size_of::<u64>()).zip(words) {
        chunk.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

impl Default for Key {
    /// The empty text: before all others.
    fn default() -> Self {
        Self::Short([0; 4])
    }
}

impl From<&str> for Key {
    #[inline]
    fn from(text: &str) -> Self {
        let Some(len) = u8::try_from(text.len()).ok().filter(|len| usize::from(*len) <= SHORT) else {
            return Self::Long(text.into());
        };
        let mut bytes = [0; SHORT + 1];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        bytes[SHORT] = len;
        let mut words = [0; 4];
        for (word, chunk) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_be_bytes(*chunk);
        }
        Self::Short(words)
    }
}

impl Ord for Key {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Short(words), Self::Short(others)) => words.cmp(others),
            (Self::Long(text), Self::Long(other)) => text.cmp(other),
            (Self::Short(words), Self::Long(text)) => short_to_long(words, text),
            (Self::Long(text), Self::Short(words)) => short_to_long(words, text).reverse(),
        }
    }
}

fn short_to_long(words: &[u64; 4], text: &str) -> Ordering {
    let bytes = bytes(words);
    bytes[..usize::from(bytes[SHORT])].cmp(text.as_bytes())
}

impl PartialOrd for Key {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_are_ordered_as_their_texts(a in "[a\0é]{0,40}", b in "[a\0é]{0,40}") {
            prop_assert_eq!(Key::from(a.as_str()).cmp(&Key::from(b.as_str())), a.cmp(&b));
            prop_assert_eq!(Key::from(a.as_str()).partial_cmp(&Key::from(b.as_str())), Some(a.cmp(&b)));
            prop_assert_eq!(Key::from(a.as_str()).starts_with(&b), a.starts_with(&b));
        }
    }
}
