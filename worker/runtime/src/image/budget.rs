//! How much an archive may take: what the disk has, and no more things than an image can sensibly hold.

use std::path::Path;

use rustix::fs::statvfs;

use super::{bad, disk};
use crate::RuntimeError;

/// Left free on the disk whatever an archive asks for.
const RESERVE: u64 = 64 << 20;
/// Files in an archive and its layers together.
const MAX_ENTRIES: u64 = 2_000_000;

/// What is left to take.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: u64,
    entries: u64,
}

impl Budget {
    /// What the disk under `path` has room for.
    pub(super) fn of_disk(path: &Path) -> Result<Self, RuntimeError> {
        let disk_state = statvfs(path).map_err(|error| disk("cannot tell the free disk space", &error))?;
        let free = disk_state.f_bavail.saturating_mul(disk_state.f_frsize);
        Ok(Self { bytes: free.saturating_sub(RESERVE), entries: MAX_ENTRIES })
    }

    /// Takes room for one more file of this many bytes.
    pub(super) fn take(&mut self, bytes: u64) -> Result<(), RuntimeError> {
        self.entries = self.entries.checked_sub(1).ok_or_else(|| bad(format!("more than {MAX_ENTRIES} files")))?;
        self.bytes = self
            .bytes
            .checked_sub(bytes)
            .ok_or_else(|| bad(format!("a file of {bytes} bytes is more than the disk has room for")))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_bytes_nor_files_go_beyond_what_there_is() {
        let mut budget = Budget { bytes: 10, entries: 3 };
        assert!(budget.take(8).is_ok());
        assert!(budget.take(8).is_err());
        assert!(budget.take(2).is_ok());
        assert!(budget.take(0).is_err());
    }
}
