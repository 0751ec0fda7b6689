//! Reader of the journal: entries, newest first, one file in memory at a time; and gaps.
//!
//! Reads the files without synchronising with the writer: a record just being written looks like a torn one. Which versions
//! a file covers is cached once the file is closed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prost::Message as _;
use skep_common::clock::Timestamp;
use skep_proto::v1::{JournalEntry, JournalRecord};
use skep_raft::Vault;
use tracing::warn;

use super::{
    segment::{self, Contents, End},
    span::{self, Gap, Span},
};

/// The journal as those who ask it have it. Clones are the same.
#[derive(Clone)]
pub(crate) struct Journal {
    dir: PathBuf,
    vault: Vault,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    /// Damaged files that were spoken of.
    spoken_of: BTreeSet<u64>,
    /// What the closed files cover.
    closed: BTreeMap<u64, Vec<Span>>,
}

/// Which entries are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum About {
    /// A service (id) and all its tasks.
    Service(String),
    /// A slot of a service (id): its number, or of a global service a node (id).
    Slot {
        /// The service's id.
        service: String,
        /// The slot; 0 = the node says which.
        slot: u64,
        /// The node's id.
        node: String,
    },
    /// One task (id).
    Task(String),
    /// A node (id), without its tasks.
    Node(String),
    /// Everything but tasks.
    Swarm,
}

impl About {
    /// Whether an entry is one of those.
    pub(crate) fn includes(&self, entry: &JournalEntry) -> bool {
        match self {
            Self::Service(service) => entry.service_id == *service,
            Self::Task(task) => entry.task_id == *task,
            Self::Slot { service, slot, node } => {
                let here = if *slot == 0 { entry.node_id == *node } else { entry.slot == *slot };
                entry.service_id == *service && !entry.task_id.is_empty() && here
            }
            Self::Node(node) => entry.node_id == *node && entry.task_id.is_empty(),
            Self::Swarm => entry.task_id.is_empty(),
        }
    }
}

impl Journal {
    pub(crate) fn new(dir: PathBuf, vault: Vault) -> Self {
        Self { dir, vault, known: Arc::default() }
    }

    /// At most `limit` entries no older than `oldest`, newest first. Waits for the disk.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(crate) fn newest(&self, about: &About, oldest: Timestamp, limit: usize) -> io::Result<Vec<JournalEntry>> {
        let mut found = Vec::new();
        for number in self.files()?.into_iter().rev() {
            let entries = self.read(number)?.into_iter().rev().flat_map(|record| record.entries.into_iter().rev());
            let wanted = entries.filter(|entry| entry.at >= oldest.as_nanos() && about.includes(entry));
            found.extend(wanted.take(limit - found.len()));
            if found.len() == limit {
                break;
            }
        }
        Ok(found)
    }

    /// What is missing, oldest first. Waits for the disk.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(crate) fn gaps(&self) -> io::Result<Vec<Gap>> {
        Ok(span::gaps(&self.spans()?))
    }

    /// The newest unbroken piece of the versions after `after` and up to `upto`, as much of its end as fits into `bytes`,
    /// but all of a version. Waits for the disk.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(crate) fn piece(&self, after: u64, upto: u64, bytes: usize) -> io::Result<Option<JournalRecord>> {
        let mut spans = self.spans()?;
        spans.retain(|span| span.after < upto && span.upto > after && span.after < span.upto);
        let mut files: Vec<u64> = spans.iter().map(|span| span.number).collect();
        files.dedup();
        let (mut piece, mut size): (Option<JournalRecord>, usize) = (None, 0);
        for number in files.into_iter().rev() {
            for mut record in self.read(number)?.into_iter().rev() {
                let (low, high) = (record.after.max(after), record.upto.min(upto));
                if low >= high {
                    continue;
                }
                record.entries.retain(|entry| low < entry.version && entry.version <= high);
                size += record.encoded_len();
                match &mut piece {
                    None => piece = Some(JournalRecord { after: low, upto: high, ..record }),
                    Some(piece) if piece.after == high && size <= bytes => {
                        piece.after = low;
                        piece.entries.splice(0..0, record.entries);
                    }
                    Some(_) => return Ok(piece),
                }
            }
        }
        Ok(piece)
    }

    /// What is covered, oldest first.
    pub(super) fn spans(&self) -> io::Result<Vec<Span>> {
        let files = self.files()?;
        let newest = files.last().copied();
        self.known().closed.retain(|number, _| files.binary_search(number).is_ok());
        let mut spans = Vec::new();
        for number in files {
            let closed = self.known().closed.get(&number).cloned();
            spans.extend(match closed {
                Some(closed) => closed,
                None => {
                    let read = span::spans(number, &self.read(number)?);
                    if Some(number) != newest {
                        self.known().closed.insert(number, read.clone());
                    }
                    read
                }
            });
        }
        Ok(spans)
    }

    /// The numbers of the files, oldest first; none when nothing was ever written.
    pub(super) fn files(&self) -> io::Result<Vec<u64>> {
        match segment::list(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            files => files,
        }
    }

    /// The readable records of a file, oldest first; none when it was just deleted.
    fn read(&self, number: u64) -> io::Result<Vec<JournalRecord>> {
        match segment::read(&self.dir, number, &self.vault) {
            Ok(contents) => Ok(self.whole_part(number, contents)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn whole_part(&self, number: u64, contents: Contents) -> Vec<JournalRecord> {
        if contents.end == End::Damaged && self.known().spoken_of.insert(number) {
            let file = segment::path(&self.dir, number);
            warn!(file = %file.display(), at = contents.bytes, "a part of the journal cannot be read and is passed over");
        }
        contents.records
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
