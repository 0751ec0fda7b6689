//! How much an archive may take: what the disk has room for at every moment, and no more things than an image can
//! sensibly hold.
//!
//! Invariant: nothing of an archive is written before the disk was asked for room for it. It is asked anew each time,
//! so that loads beside each other, and whatever else the node writes, count without anybody keeping accounts.

use std::path::{Path, PathBuf};

use skep_common::disk_space::{DiskLevel, DiskSpace};

use super::{bad, disk};
use crate::RuntimeError;

/// Files in an archive and its layers together.
const MAX_ENTRIES: u64 = 2_000_000;
/// What a name costs beside its content: its file system's record of it, and a block.
const ENTRY_BYTES: u64 = 8 << 10;

/// What is left to take.
#[derive(Debug)]
pub(super) struct Budget {
    path: PathBuf,
    entries: u64,
}

impl Budget {
    /// What the disk under `path` has room for.
    ///
    /// # Errors
    /// [`RuntimeError::Storage`]: it has none for any image.
    pub(super) fn of_disk(path: &Path) -> Result<Self, RuntimeError> {
        let space = space(path)?;
        if space.level() == DiskLevel::Plenty {
            Ok(Self { path: path.to_owned(), entries: MAX_ENTRIES })
        } else {
            Err(RuntimeError::Storage(format!(
                "disk nearly full on this node: {} MB are free, and images are loaded only while more than {} MB are",
                space.free / 1_000_000,
                space.begin_of(DiskLevel::NearlyFull) / 1_000_000,
            )))
        }
    }

    /// Takes one more thing with a name of this many parts, each of which may be a new directory.
    pub(super) fn entry(&mut self, parts: usize) -> Result<(), RuntimeError> {
        self.entries = self.entries.checked_sub(1).ok_or_else(|| bad(format!("more than {MAX_ENTRIES} files")))?;
        self.room_for(ENTRY_BYTES * parts.max(1) as u64)
    }

    /// Whether the disk has room for this many bytes more.
    pub(super) fn room_for(&self, bytes: u64) -> Result<(), RuntimeError> {
        if space(&self.path)?.has_room_for(bytes) {
            Ok(())
        } else {
            Err(bad(format!("{bytes} bytes of it are more than the disk has room for")))
        }
    }
}

fn space(path: &Path) -> Result<DiskSpace, RuntimeError> {
    DiskSpace::of(path).map_err(|error| disk("cannot tell the free disk space", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_bytes_nor_files_go_beyond_what_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut budget = Budget { path: dir.path().to_owned(), entries: 2 };
        assert!(budget.room_for(1).is_ok());
        assert!(budget.room_for(1 << 60).is_err());
        assert!(budget.entry(1).is_ok());
        assert!(budget.entry(1).is_ok());
        assert!(budget.entry(1).is_err());
    }
}
