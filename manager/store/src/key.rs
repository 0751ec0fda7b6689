//! Ids as keys of tables and indexes.
//!
//! An id of the usual length stands in the key itself, so that finding a place in a tree of a million reads the tree and
//! nothing else, and a new key asks for no memory. Invariant: keys are ordered as their texts are.

use std::{cmp::Ordering, sync::Arc};

/// Longest text that stands in the key. Ids are 25 characters.
const SHORT: usize = 30;

/// A text that is cheap to copy and to compare.
#[derive(Clone)]
pub(crate) enum Key {
    /// Filled up with zeros.
    Short(u8, [u8; SHORT]),
    Long(Arc<str>),
}

impl Key {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(len, bytes) => &bytes[..usize::from(*len)],
            Self::Long(text) => text.as_bytes(),
        }
    }

    pub(crate) fn starts_with(&self, prefix: &str) -> bool {
        self.bytes().starts_with(prefix.as_bytes())
    }
}

impl Default for Key {
    /// The empty text: before all others.
    fn default() -> Self {
        Self::Short(0, [0; SHORT])
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        match u8::try_from(text.len()) {
            Ok(len) if text.len() <= SHORT => {
                let mut bytes = [0; SHORT];
                bytes[..text.len()].copy_from_slice(text.as_bytes());
                Self::Short(len, bytes)
            }
            _ => Self::Long(text.into()),
        }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Short(len, bytes), Self::Short(other_len, other_bytes)) => {
                bytes.cmp(other_bytes).then(len.cmp(other_len))
            }
            _ => self.bytes().cmp(other.bytes()),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_are_ordered_as_their_texts(a in "[a\0é]{0,40}", b in "[a\0é]{0,40}") {
            prop_assert_eq!(Key::from(a.as_str()).cmp(&Key::from(b.as_str())), a.cmp(&b));
            prop_assert_eq!(Key::from(a.as_str()).starts_with(&b), a.starts_with(&b));
        }
    }
}
