//! How much an archive may take: what the disk has room for at every moment, and no more things than an image can
//! sensibly hold.
//!
//! Invariants: nothing of an archive is written before the disk was asked for room for it. It is asked anew each time,
//! so that loads beside each other, and whatever else the node writes, count without anybody keeping accounts. What an
//! archive says is never more work than what fits on the disk once: also an archive that writes the same names again and
//! again, or names the same documents, has an end. Every time it is asked is a [`Work::step`].

use std::{
    path::{Path, PathBuf},
    rc::Rc,
};

use skep_common::disk_space::{DiskLevel, DiskSpace};

use super::{bad, disk, work::Work};
use crate::RuntimeError;

/// Files in an archive and its layers together.
const MAX_ENTRIES: u64 = 2_000_000;
/// What a name costs beside its content: its file system's record of it, and a block.
const ENTRY_BYTES: u64 = 8 << 10;
/// Bytes of manifests, indexes and configurations together that are read, however often an archive names them.
const MAX_DOCUMENTS: u64 = 64 << 20;
/// What a document costs at the least.
const DOCUMENT_BYTES: u64 = 4 << 10;

/// What is left to take.
#[derive(Debug)]
pub(super) struct Budget {
    path: PathBuf,
    work: Rc<Work>,
    entries: u64,
    written: u64,
    documents: u64,
}

impl Budget {
    /// What the disk under `path` has room for.
    ///
    /// # Errors
    /// [`RuntimeError::Storage`]: it has none for any image.
    pub(super) fn of_disk(path: &Path, work: Rc<Work>) -> Result<Self, RuntimeError> {
        let space = space(path)?;
        if space.level() == DiskLevel::Plenty {
            Ok(Self {
                path: path.to_owned(),
                work,
                entries: MAX_ENTRIES,
                written: space.free,
                documents: MAX_DOCUMENTS,
            })
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
        self.step()?;
        self.entries = self.entries.checked_sub(1).ok_or_else(|| bad(format!("more than {MAX_ENTRIES} files")))?;
        self.room_for(ENTRY_BYTES * parts.max(1) as u64)
    }

    /// Takes this many bytes that are now to be written.
    pub(super) fn bytes(&mut self, bytes: u64) -> Result<(), RuntimeError> {
        self.step()?;
        let left = self.written.checked_sub(bytes);
        self.written = left.ok_or_else(|| bad("its files come to more than the disk has room for"))?;
        self.room_for(bytes)
    }

    /// Takes a document of this many bytes that is now to be read.
    pub(super) fn document(&mut self, bytes: u64) -> Result<(), RuntimeError> {
        self.step()?;
        let left = self.documents.checked_sub(bytes.max(DOCUMENT_BYTES));
        let too_much = || bad(format!("its manifests and configurations come to more than {MAX_DOCUMENTS} bytes"));
        self.documents = left.ok_or_else(too_much)?;
        Ok(())
    }

    /// See [`Work::step`].
    pub(super) fn step(&self) -> Result<(), RuntimeError> {
        self.work.step()
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
    use std::sync::Arc;

    use tokio::sync::Semaphore;
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn nothing_goes_beyond_what_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let work = Work::begin(Arc::new(Semaphore::new(1)), CancellationToken::new());
        let (work, path) = (Rc::new(work), dir.path().to_owned());
        let mut budget = Budget { path, work, entries: 2, written: 10, documents: 2 * DOCUMENT_BYTES };
        for _ in 0..2 {
            assert!(budget.bytes(5).is_ok());
            assert!(budget.document(1).is_ok());
        }
        assert!(budget.bytes(1).is_err());
        assert!(budget.document(1).is_err());
        assert!(budget.room_for(1).is_ok());
        assert!(budget.room_for(1 << 60).is_err());
        assert!(budget.entry(1).is_ok());
        assert!(budget.entry(1).is_ok());
        assert!(budget.entry(1).is_err());
    }
}
