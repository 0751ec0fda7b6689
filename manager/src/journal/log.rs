//! The writing end of the journal.
//!
//! Invariants: no file is continued behind something that cannot be read; versions only grow from record to record; an
//! error of the disk is said once, until writing goes well again.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    time::Duration,
};

use skep_common::{
    clock::Timestamp,
    limits::{JOURNAL_AGE, JOURNAL_BYTES},
};
use skep_proto::v1::{JournalEntry, JournalRecord};
use skep_raft::Vault;
use tracing::{info, warn};

use super::segment::{self, End};

/// Entries in one record; what a version did beyond it goes into the next.
const MAX_ENTRIES: usize = 500;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// A file that has this many bytes gets no more.
    pub(crate) segment_bytes: u64,
    /// Nor one that was begun this long ago.
    pub(crate) segment_age: Duration,
    /// Bytes of all files together; the oldest goes first.
    pub(crate) total_bytes: u64,
    /// A file last written this long ago goes.
    pub(crate) age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self { segment_bytes: 1 << 20, segment_age: DAY, total_bytes: JOURNAL_BYTES, age: JOURNAL_AGE }
    }
}

/// The journal as its one writer has it.
pub(crate) struct Log {
    dir: PathBuf,
    vault: Vault,
    limits: Limits,
    /// Version of the newest record; 0 = there is none.
    last: u64,
    open: Option<Open>,
    failing: bool,
}

/// The file that is written.
struct Open {
    number: u64,
    file: File,
    bytes: u64,
    records: u64,
    begun: Timestamp,
}

impl Log {
    /// The journal in `dir`; not looked at yet.
    pub(crate) fn new(dir: PathBuf, vault: Vault, limits: Limits) -> Self {
        Self { dir, vault, limits, last: 0, open: None, failing: false }
    }

    /// Finds the end of what is there, or makes the directory. To be called once, before anything is appended.
    pub(crate) fn open(&mut self, now: Timestamp) {
        let opened = self.find_end().and_then(|()| self.prune(now));
        self.note(opened);
    }

    /// Version of the newest record; 0 = there is none.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Writes entries, oldest version first. Those of versions that are there already are left out.
    pub(crate) fn append(&mut self, entries: &[JournalEntry], now: Timestamp) {
        let known = self.last;
        let fresh = entries.chunk_by(|a, b| a.version == b.version).filter(|entries| entries[0].version > known);
        let mut records = fresh.flat_map(|entries| entries.chunks(MAX_ENTRIES)).peekable();
        if records.peek().is_some() {
            let written = records.try_for_each(|entries| self.write(entries, now));
            self.note(written);
        }
    }

    /// Lets go of what is too old, if it is time to look.
    pub(crate) fn tidy(&mut self, now: Timestamp) {
        if self.is_over(now)
            && let Err(error) = self.prune(now)
        {
            self.note(Err(error));
        }
    }

    /// Finds the newest record and whether its file can be continued.
    fn find_end(&mut self) -> io::Result<()> {
        for (back, number) in self.files()?.into_iter().rev().enumerate() {
            let contents = segment::read(&self.dir, number, &self.vault)?;
            let first = contents.records.first().and_then(|record| record.entries.first());
            if back == 0 && contents.end == End::Whole {
                self.open = Some(Open {
                    number,
                    file: segment::open(&self.dir, number)?,
                    bytes: contents.bytes,
                    records: contents.records.len() as u64,
                    begun: Timestamp(first.map_or(0, |entry| entry.at)),
                });
            }
            if let Some(entry) = contents.records.last().and_then(|record| record.entries.last()) {
                self.last = entry.version;
                break;
            }
        }
        Ok(())
    }

    fn write(&mut self, entries: &[JournalEntry], now: Timestamp) -> io::Result<()> {
        if self.open.is_none() || self.is_over(now) {
            self.begin(now)?;
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let record = JournalRecord { entries: entries.to_vec() };
        let frame = segment::frame(&self.vault, open.number, open.records, &record);
        if let Err(error) = open.file.write_all(&frame) {
            // A part of it may be there, and nothing may come behind that.
            if open.file.set_len(open.bytes).is_err() {
                self.open = None;
            }
            return Err(error);
        }
        open.bytes += frame.len() as u64;
        open.records += 1;
        self.last = entries.last().map_or(self.last, |entry| entry.version);
        Ok(())
    }

    /// Whether the open file takes no more.
    fn is_over(&self, now: Timestamp) -> bool {
        let over =
            |open: &Open| open.bytes >= self.limits.segment_bytes || now.since(open.begun) >= self.limits.segment_age;
        self.open.as_ref().is_some_and(over)
    }

    /// Begins a new file and lets go of what is too much or too old.
    fn begin(&mut self, now: Timestamp) -> io::Result<()> {
        self.prune(now)?;
        let number = self.files()?.last().map_or(0, |newest| newest + 1);
        let file = segment::open(&self.dir, number)?;
        self.open = Some(Open { number, file, bytes: 0, records: 0, begun: now });
        Ok(())
    }

    /// The numbers of the files, oldest first; the directory is there afterwards.
    fn files(&self) -> io::Result<Vec<u64>> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        segment::list(&self.dir)
    }

    fn prune(&self, now: Timestamp) -> io::Result<()> {
        let mut kept = 0;
        for number in self.files()?.into_iter().rev() {
            let path = segment::path(&self.dir, number);
            let metadata = fs::metadata(&path)?;
            kept += metadata.len();
            let stale = now.since(metadata.modified()?.into()) >= self.limits.age;
            // Room is left for the file that is about to be written.
            let too_much = kept + self.limits.segment_bytes > self.limits.total_bytes;
            if (stale || too_much) && self.open.as_ref().is_none_or(|open| open.number != number) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn note(&mut self, result: io::Result<()>) {
        match result {
            Err(error) if !self.failing => {
                let dir = self.dir.display();
                warn!(%error, %dir, "the journal cannot be written: what happens now will be missing from it");
                self.failing = true;
            }
            Ok(()) if self.failing => {
                info!(dir = %self.dir.display(), "the journal is written again");
                self.failing = false;
            }
            _ => {}
        }
    }
}
