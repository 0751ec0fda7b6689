//! Ids as keys of tables and indexes.
//!
//! An id stands in the key itself, as the numbers that its digits write, so that finding a place in a tree of a million reads the
//! tree and nothing else, a new key asks for no memory, and a million keys take little. Invariant: keys are ordered as their texts
//! are.

use std::{borrow::Cow, cmp::Ordering, sync::Arc};

use skep_common::id::ID_LENGTH;

/// Digits in each of a key's two words: the most of base 36 that fit.
const WORD: usize = 12;

/// The digits in their order, which is that of their characters too.
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// What [`VALUES`] has for what is no digit.
const NONE: u8 = 0x80;

/// The value of each character as a digit.
const VALUES: [u8; 256] = {
    let (mut values, mut digit) = ([NONE; 256], 0);
    while digit < DIGITS.len() {
        values[DIGITS[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

/// A text that is cheap to copy and to compare.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Key {
    /// Before all texts.
    #[default]
    First,
    /// A text of [`ID_LENGTH`] digits: twelve, twelve, and the last.
    Id(u64, u64, u8),
    /// Any other.
    Text(Arc<str>),
}

impl Key {
    /// Whether it is the key of a text that begins with `prefix`.
    pub(crate) fn starts_with(&self, prefix: &str) -> bool {
        self.text().starts_with(prefix.as_bytes())
    }

    fn text(&self) -> Cow<'_, [u8]> {
        match self {
            Self::First => Cow::Borrowed(b""),
            Self::Id(first, second, last) => {
                let mut text = vec![DIGITS[usize::from(*last)]; ID_LENGTH];
                for (mut word, digits) in [*first, *second].into_iter().zip(text.chunks_exact_mut(WORD)) {
                    for digit in digits.iter_mut().rev() {
                        *digit = DIGITS[(word % 36) as usize];
                        word /= 36;
                    }
                }
                Cow::Owned(text)
            }
            Self::Text(text) => Cow::Borrowed(text.as_bytes()),
        }
    }

    /// That of an id.
    #[inline]
    fn of_id(text: &[u8]) -> Option<Self> {
        let text: &[u8; ID_LENGTH] = text.try_into().ok()?;
        let word = |digits: &[u8]| {
            digits.iter().fold((0u64, 0), |(word, seen), digit| {
                let value = VALUES[usize::from(*digit)];
                (word.wrapping_mul(36).wrapping_add(value.into()), seen | value)
            })
        };
        let ((first, seen), (second, also)) = (word(&text[..WORD]), word(&text[WORD..2 * WORD]));
        let last = VALUES[usize::from(text[2 * WORD])];
        ((seen | also | last) & NONE == 0).then_some(Self::Id(first, second, last))
    }
}

impl From<&str> for Key {
    #[inline]
    fn from(text: &str) -> Self {
        Self::of_id(text.as_bytes()).unwrap_or_else(|| Self::Text(text.into()))
    }
}

impl Ord for Key {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Id(first, second, last), Self::Id(other_first, other_second, other_last)) => {
                (first, second, last).cmp(&(other_first, other_second, other_last))
            }
            (Self::First, Self::First) => Ordering::Equal,
            (Self::First, _) => Ordering::Less,
            (_, Self::First) => Ordering::Greater,
            _ => self.text().cmp(&other.text()),
        }
    }
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
    use skep_common::id::{Ids as _, SeededIds};

    use super::*;

    /// Ids, what is nearly one, and other texts.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[0z]{25}", "[0-9a-z]{25}", "[0a]{23,27}", "[0a{A]{25}", "[a\0é]{0,40}"]
    }

    proptest! {
        #[test]
        fn keys_are_ordered_as_their_texts(a in text(), b in text(), cut in 0usize..40) {
            let (key, other) = (Key::from(a.as_str()), Key::from(b.as_str()));
            prop_assert_eq!(key.cmp(&other), a.cmp(&b));
            prop_assert_eq!(key.partial_cmp(&other), Some(a.cmp(&b)));
            prop_assert_eq!(key == other, a == b);
            prop_assert_eq!(key.starts_with(&b), a.starts_with(&b));
            let prefix: String = a.chars().take(cut).collect();
            prop_assert!(key.starts_with(&prefix));
            prop_assert!(Key::First < key);
        }
    }

    #[test]
    fn an_id_stands_in_its_key_and_takes_three_words() {
        let ids = &mut SeededIds::new(1);
        for id in (0..1000).map(|_| ids.next_id()).chain(["0".repeat(25), "z".repeat(25)]) {
            let key = Key::from(id.as_str());
            assert!(matches!(key, Key::Id(..)), "{id}");
            assert_eq!(key.text(), id.as_bytes());
        }
        assert_eq!(size_of::<Key>(), 3 * size_of::<u64>());
    }
}
