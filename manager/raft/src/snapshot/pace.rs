//! Throttling of snapshot writes. One final sync of a gigabyte keeps the disk busy for many seconds, and the log's own syncs
//! wait behind it. So a snapshot is synced in small pieces, with a pause after each for as long as it took.

use std::{fs::File, io, thread, time::Instant};

use skep_common::durable::sync_file;

/// Written between two syncs: what a sync of the log may have to wait for.
const STEP: usize = 4 << 20;

/// The pace of one file.
#[derive(Debug, Default)]
pub(super) struct Pace {
    unsynced: usize,
}

impl Pace {
    /// So many bytes were written to `file`. Blocks when it is time.
    pub(super) fn wrote(&mut self, file: &File, bytes: usize) -> io::Result<()> {
        self.unsynced += bytes;
        if self.unsynced >= STEP {
            self.unsynced = 0;
            let begun = Instant::now();
            sync_file(file)?;
            thread::sleep(begun.elapsed());
        }
        Ok(())
    }
}
