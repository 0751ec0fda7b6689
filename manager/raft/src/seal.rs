//! Encryption at rest: AES-256-GCM-SIV under the member's own data key (DEK).
//!
//! Each value is bound to its location (the associated data), so that none can be moved to another: an entry to its index, a
//! chunk to its snapshot and number. What the manager keeps beside the log is sealed through a [`Vault`], under locations of
//! its own. A sealed value is nonce (12 bytes), ciphertext, tag (16 bytes).

use std::{fmt, sync::Arc};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use skep_common::{random, secret::Secret};

/// A data key.
pub(crate) type Key = Secret<[u8; KEY_BYTES]>;

/// Length of a data key.
pub(crate) const KEY_BYTES: usize = 32;

/// How much longer a sealed value is.
pub(crate) const OVERHEAD: usize = NONCE_LEN + 16;

/// A new random key.
pub(crate) fn new_key() -> Key {
    Secret::new(random::bytes())
}

/// Where a value is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Location<'a> {
    /// A log entry, by index.
    Entry(u64),
    /// A single record of the log file.
    Record(&'static str),
    /// What a snapshot says of itself, by the snapshot's id.
    Description(&'a str),
    /// A chunk of a snapshot, by the snapshot's id and the chunk's number.
    Chunk(&'a str, u64),
    /// A value of the manager's own, by the name of its file and its number there.
    Kept(&'a str, u64),
}

impl Location<'_> {
    /// Different for every location.
    fn bytes(&self) -> Vec<u8> {
        let (kind, text, number) = match self {
            Self::Entry(index) => (0, "", *index),
            Self::Record(name) => (1, *name, 0),
            Self::Description(name) => (2, *name, 0),
            Self::Chunk(snapshot, number) => (3, *snapshot, *number),
            Self::Kept(file, number) => (4, *file, *number),
        };
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }
}

impl fmt::Display for Location<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(index) => write!(f, "entry {index}"),
            Self::Record(name) => write!(f, "record {name}"),
            Self::Description(_) => f.write_str("description"),
            Self::Chunk(_, number) => write!(f, "chunk {number}"),
            Self::Kept(file, number) => write!(f, "value {number} of {file}"),
        }
    }
}

/// A sealed value was changed, moved, or sealed with another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it was changed, or sealed with another key")]
pub struct Unsealable;

/// Seals and opens with one key.
pub(crate) struct Seal {
    key: RandomizedNonceKey,
}

impl Seal {
    #[expect(clippy::expect_used, reason = "the length of the key is right by its type")]
    pub(crate) fn new(key: &Key) -> Self {
        Self { key: RandomizedNonceKey::new(&AES_256_GCM_SIV, key.expose()).expect("a key of 32 bytes") }
    }

    #[expect(clippy::expect_used, reason = "fails only for values of many gigabytes")]
    pub(crate) fn seal(&self, location: Location<'_>, value: &[u8]) -> Vec<u8> {
        let mut text = Vec::with_capacity(value.len() + OVERHEAD);
        text.extend_from_slice(value);
        let nonce = self.key.seal_in_place_append_tag(Aad::from(location.bytes()), &mut text).expect("sealing a value");
        text.splice(0..0, *nonce.as_ref());
        text
    }

    pub(crate) fn open(&self, location: Location<'_>, sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(Unsealable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unsealable)?;
        let mut text = text.to_vec();
        let length =
            self.key.open_in_place(nonce, Aad::from(location.bytes()), &mut text).map_err(|_| Unsealable)?.len();
        text.truncate(length);
        Ok(text)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

/// The member's data key, lent to what else its manager keeps on disk. Clones are the same key.
#[derive(Debug, Clone)]
pub struct Vault(pub(crate) Arc<Seal>);

impl Vault {
    /// A vault with a new key that is kept nowhere: what it seals is lost with it.
    pub fn ephemeral() -> Self {
        Self(Arc::new(Seal::new(&new_key())))
    }

    /// Seals the value that is to be the `number`th of a file.
    pub fn seal(&self, file: &str, number: u64, value: &[u8]) -> Vec<u8> {
        self.0.seal(Location::Kept(file, number), value)
    }

    /// Opens the `number`th value of a file.
    ///
    /// # Errors
    /// When it is not what was sealed for this location.
    pub fn open(&self, file: &str, number: u64, sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        self.0.open(Location::Kept(file, number), sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_unchanged_in_its_place_with_its_key() {
        let seal = Seal::new(&new_key());
        let location = Location::Chunk("snapshot", 3);
        let sealed = seal.seal(location, b"value");
        assert_eq!(sealed.len(), 5 + OVERHEAD);
        assert_eq!(seal.open(location, &sealed).unwrap(), b"value");
        assert_ne!(sealed, seal.seal(location, b"value"), "no two are alike");

        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(seal.open(location, &changed), Err(Unsealable));
        }
        for elsewhere in [
            Location::Chunk("snapshot", 4),
            Location::Chunk("other", 3),
            Location::Entry(3),
            Location::Record("snapshot"),
            Location::Kept("snapshot", 3),
        ] {
            assert_eq!(seal.open(elsewhere, &sealed), Err(Unsealable), "{elsewhere}");
        }
        for cut in 0..sealed.len() {
            assert_eq!(seal.open(location, &sealed[..cut]), Err(Unsealable));
        }
        assert_eq!(Seal::new(&new_key()).open(location, &sealed), Err(Unsealable));
    }

    #[test]
    fn empty_values_are_values() {
        let seal = Seal::new(&new_key());
        assert_eq!(seal.open(Location::Entry(0), &seal.seal(Location::Entry(0), b"")).unwrap(), b"");
    }
}
