//! Writer of the journal.
//!
//! Invariants: no file is appended to after an unreadable record; versions only grow from record to record and from file to
//! file; a record covers a version only with all its entries, so what is missing is always a gap between two records; a disk
//! error is logged once, until writing succeeds again.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use skep_common::{
    clock::Timestamp,
    limits::{JOURNAL_AGE, JOURNAL_BYTES},
};
use skep_proto::v1::{JournalEntry, JournalRecord};
use skep_raft::Vault;
use tracing::{info, warn};

use super::{
    reader::Journal,
    segment::{self, End, STEP},
    span::{self, Gap},
};

/// Entries of one version, that is of one record; the last of them says how many there would be more.
pub(super) const MAX_VERSION_ENTRIES: usize = 1000;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// A file that has this many bytes gets no more.
    pub(crate) segment_bytes: u64,
    /// Nor one that was begun this long ago.
    pub(crate) segment_age: Duration,
    /// Bytes of all files together; the oldest goes first.
    pub(crate) total_bytes: u64,
    /// What a file counts for at least.
    pub(crate) file_bytes: u64,
    /// A file whose newest entry is this old goes.
    pub(crate) age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            segment_bytes: 1 << 20,
            segment_age: DAY,
            total_bytes: JOURNAL_BYTES,
            file_bytes: 4 << 10,
            age: JOURNAL_AGE,
        }
    }
}

impl Limits {
    /// How much there may be for something older than everything that is there to be added. Less than the whole: what is
    /// added must not be what has to go next.
    fn room_for_older(&self) -> u64 {
        self.total_bytes / 4 * 3
    }
}

/// The journal as its writer has it.
pub(crate) struct Log {
    dir: PathBuf,
    vault: Vault,
    limits: Limits,
    journal: Journal,
    /// Everything up to this version was seen, or is no longer available.
    seen: u64,
    /// As far as the newest record says so; never beyond `seen`.
    written: u64,
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
        let journal = Journal::new(dir.clone(), vault.clone());
        Self { dir, vault, limits, journal, seen: 0, written: 0, open: None, failing: false }
    }

    /// The reading end.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Finds the end of what is there, or makes the directory. To be called once, before anything is written.
    pub(crate) fn open(&mut self, now: Timestamp) {
        let opened = self.find_end().and_then(|()| self.prune(now));
        self.note(opened);
    }

    /// Whether something was seen that no record covers yet.
    pub(crate) fn is_behind(&self) -> bool {
        self.written < self.seen
    }

    /// Writes down all there is to tell of the versions up to `upto`, oldest first. What was seen before is left out.
    pub(crate) fn append(&mut self, entries: &[JournalEntry], upto: u64, now: Timestamp) {
        if upto <= self.seen {
            return;
        }
        let seen = self.seen;
        for version in entries.chunk_by(|a, b| a.version == b.version).filter(|one| one[0].version > seen) {
            let record = JournalRecord { after: self.written, upto: version[0].version, entries: bounded(version) };
            let written = self.write(&record, now);
            if !self.note(written) {
                return self.give_up(upto);
            }
        }
        self.seen = upto;
    }

    /// Records that everything seen so far is written, also where it had no entries.
    pub(crate) fn catch_up(&mut self, now: Timestamp) {
        if self.is_behind() {
            let record = JournalRecord { after: self.written, upto: self.seen, ..JournalRecord::default() };
            let written = self.write(&record, now);
            if !self.note(written) {
                self.give_up(self.seen);
            }
        }
    }

    /// Goes on from `version`, whatever was not seen until then. Gives whether there was something.
    pub(crate) fn skip_to(&mut self, version: u64, now: Timestamp) -> bool {
        if version <= self.seen {
            return false;
        }
        self.catch_up(now);
        self.give_up(version);
        let record = JournalRecord { after: version, upto: version, ..JournalRecord::default() };
        // When it is not written, the next record that is shows the gap as well.
        let written = self.write(&record, now);
        self.note(written);
        true
    }

    /// Puts entries that were missing into their gap. Gives whether they are wanted: they are not when they are too old,
    /// when there is no room for them, or when they belong into no gap.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn fill(&mut self, record: &JournalRecord, now: Timestamp) -> io::Result<bool> {
        let spans = self.journal.spans()?;
        let Some(number) = span::place(&spans, &self.files()?, record.after, record.upto) else { return Ok(false) };
        let is_oldest = spans.first().is_none_or(|span| record.upto <= span.after);
        if is_oldest && self.size()? >= self.limits.room_for_older() {
            return Ok(false);
        }
        let newest = record.entries.last().map(|entry| Timestamp(entry.at));
        let behind = spans.iter().filter(|span| span.after >= record.upto).find_map(|span| span.first_at);
        let age = newest.or(behind).unwrap_or(now).min(now);
        if now.since(age) >= self.limits.age {
            return Ok(false);
        }
        let modified = SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(age.as_nanos()).unwrap_or(0));
        segment::put(&self.dir, number, &self.vault, record, modified)?;
        self.prune(now)?;
        Ok(true)
    }

    /// The gaps that may be filled, the newest first.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn wanted(&self, now: Timestamp) -> io::Result<Vec<Gap>> {
        let mut gaps = self.journal.gaps()?;
        let full = self.size()? >= self.limits.room_for_older();
        gaps.retain(|gap| {
            let too_old = gap.until.is_some_and(|until| now.since(until) >= self.limits.age);
            let no_room = full && gap.after == 0;
            !too_old && !no_room
        });
        gaps.reverse();
        Ok(gaps)
    }

    /// Finds the newest record and whether its file can be continued.
    fn find_end(&mut self) -> io::Result<()> {
        for (back, number) in self.files()?.into_iter().rev().enumerate() {
            let contents = segment::read(&self.dir, number, &self.vault)?;
            if back == 0 && contents.end == End::Whole {
                let file = segment::open(&self.dir, number)?;
                let first = contents.records.iter().find_map(|record| record.entries.first());
                let begun = match first {
                    Some(entry) => Timestamp(entry.at),
                    None => file.metadata()?.modified()?.into(),
                };
                let records = contents.records.len() as u64;
                self.open = Some(Open { number, file, bytes: contents.bytes, records, begun });
            }
            if let Some(record) = contents.records.last() {
                (self.seen, self.written) = (record.upto, record.upto);
                break;
            }
        }
        Ok(())
    }

    /// Goes on behind a gap that ends with `version`: in a file of its own, so that there is room before it.
    fn give_up(&mut self, version: u64) {
        self.open = None;
        (self.seen, self.written) = (version, version);
    }

    fn write(&mut self, record: &JournalRecord, now: Timestamp) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|open| self.is_over(open, now)) {
            self.begin(now)?;
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let frame = segment::frame(&self.vault, open.number, open.records, record);
        if let Err(error) = open.file.write_all(&frame) {
            // A part of it may be there, and nothing may come behind that; the file is not continued.
            let _reads_as_torn = open.file.set_len(open.bytes);
            return Err(error);
        }
        open.bytes += frame.len() as u64;
        open.records += 1;
        self.written = record.upto;
        self.seen = self.seen.max(record.upto);
        Ok(())
    }

    /// Whether a file takes no more.
    fn is_over(&self, open: &Open, now: Timestamp) -> bool {
        open.bytes >= self.limits.segment_bytes || now.since(open.begun) >= self.limits.segment_age
    }

    /// Lets go of what is too old, if it is time to look.
    pub(crate) fn tidy(&mut self, now: Timestamp) {
        if self.open.as_ref().is_some_and(|open| self.is_over(open, now))
            && let Err(error) = self.prune(now)
        {
            self.note(Err(error));
        }
    }

    /// Begins a new file and lets go of what is too much or too old.
    fn begin(&mut self, now: Timestamp) -> io::Result<()> {
        self.prune(now)?;
        let number = self.files()?.last().map_or(0, |newest| newest / STEP) * STEP + STEP;
        let file = segment::open(&self.dir, number)?;
        self.open = Some(Open { number, file, bytes: 0, records: 0, begun: now });
        Ok(())
    }

    /// The numbers of the files, oldest first; the directory is there afterwards.
    fn files(&self) -> io::Result<Vec<u64>> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        segment::list(&self.dir)
    }

    /// What a file counts for, and when its newest entry was written.
    fn weigh(&self, number: u64) -> io::Result<(u64, Timestamp)> {
        let metadata = fs::metadata(segment::path(&self.dir, number))?;
        Ok((metadata.len().max(self.limits.file_bytes), metadata.modified()?.into()))
    }

    fn size(&self) -> io::Result<u64> {
        self.files()?.into_iter().map(|number| Ok(self.weigh(number)?.0)).sum()
    }

    fn prune(&self, now: Timestamp) -> io::Result<()> {
        let mut kept = 0;
        for number in self.files()?.into_iter().rev() {
            let (bytes, modified) = self.weigh(number)?;
            kept += bytes;
            let stale = now.since(modified) >= self.limits.age;
            // Room is left for the file that is about to be written.
            let too_much = kept + self.limits.segment_bytes > self.limits.total_bytes;
            if (stale || too_much) && self.open.as_ref().is_none_or(|open| open.number != number) {
                fs::remove_file(segment::path(&self.dir, number))?;
            }
        }
        Ok(())
    }

    /// Whether it went well; says so when that has changed.
    fn note(&mut self, result: io::Result<()>) -> bool {
        match &result {
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
        result.is_ok()
    }
}

/// What is kept of all that one version did.
fn bounded(entries: &[JournalEntry]) -> Vec<JournalEntry> {
    let mut kept = entries[..entries.len().min(MAX_VERSION_ENTRIES)].to_vec();
    let left = entries.len() - kept.len();
    if let Some(last) = kept.last_mut().filter(|_| left > 0) {
        last.text = format!("{} changes more, too many to keep", left + 1);
    }
    kept
}
