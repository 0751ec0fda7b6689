//! The content store: files named by the SHA-256 of their bytes.
//!
//! Owns `blobs/sha256`. A file appears there whole, synced and verified, or not at all.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::{bad, shown};
use crate::RuntimeError;

/// A SHA-256 digest, as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sha(String);

impl Sha {
    /// The digest of bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(hex::encode(Sha256::digest(bytes)))
    }

    pub(super) fn from_hasher(hasher: Sha256) -> Self {
        Self(hex::encode(hasher.finalize()))
    }

    /// Reads `sha256:<hex>`.
    pub(super) fn parse(text: &str) -> Result<Self, RuntimeError> {
        let hex = text.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(hex.to_owned()))
        } else {
            Err(bad(format!("{} is no sha256 digest", shown(text))))
        }
    }

    /// The 64 digits.
    pub(super) fn hex(&self) -> &str {
        &self.0
    }
}

/// `sha256:<hex>`.
impl std::fmt::Display for Sha {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

/// Passes bytes on and hashes them.
pub(super) struct HashingReader<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> HashingReader<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, hasher: Sha256::new() }
    }

    /// Reads to the end, which must be within `most` bytes, and gives the digest of all that was read.
    pub(super) fn finish(mut self, most: u64) -> io::Result<Sha> {
        let rest = io::copy(&mut self.by_ref().take(most.saturating_add(1)), &mut io::sink())?;
        if rest > most { Err(io::ErrorKind::InvalidData.into()) } else { Ok(Sha::from_hasher(self.hasher)) }
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// The store.
#[derive(Debug)]
pub(super) struct Blobs {
    dir: PathBuf,
}

impl Blobs {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let dir = root.join("blobs/sha256");
        fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    /// Where the file of a digest is, if the store has it.
    pub(super) fn path(&self, digest: &Sha) -> PathBuf {
        self.dir.join(digest.hex())
    }

    /// Moves a spooled and synced file of this digest in.
    pub(super) fn adopt(&self, file: &Path, digest: &Sha) -> io::Result<()> {
        fs::rename(file, self.dir.join(digest.hex()))
    }

    /// Makes what was moved in last.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_an_archive_has_an_end() {
        assert_eq!(HashingReader::new(&b"rest"[..]).finish(4).unwrap(), Sha::of(b"rest"));
        assert!(HashingReader::new(&b"rest"[..]).finish(3).is_err());
        assert!(HashingReader::new(io::repeat(0)).finish(1 << 20).is_err());
    }

    #[test]
    fn only_sha256_digests_are_digests() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Sha::parse(&format!("sha256:{hex}")).unwrap(), Sha::of(b""));
        for wrong in
            [hex.to_owned(), format!("sha512:{hex}"), "sha256:../x".into(), format!("sha256:{}", hex.to_uppercase())]
        {
            assert!(Sha::parse(&wrong).is_err(), "{wrong}");
        }
    }
}
