//! Finding entries again, newest first, one file in memory at a time.
//!
//! Reads what is on disk without asking the writer: a record that is just being written looks like a torn one.

use std::{
    collections::BTreeSet,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use skep_common::clock::Timestamp;
use skep_proto::v1::JournalEntry;
use skep_raft::Vault;
use tracing::warn;

use super::segment::{self, Contents, End};

/// The journal as those who ask it have it. Clones are the same.
#[derive(Clone)]
pub(crate) struct Journal {
    dir: PathBuf,
    vault: Vault,
    /// Damaged files that were spoken of.
    spoken_of: Arc<Mutex<BTreeSet<u64>>>,
}

/// Which entries are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum About {
    /// A service (id) and all its tasks.
    Service(String),
    /// A place of a service (id): a slot, or of a global service a node (id).
    Place {
        /// The service's id.
        service: String,
        /// The slot; 0 = the node says which.
        slot: u64,
        /// The node's id.
        node: String,
    },
    /// One task (id).
    Task(String),
}

impl About {
    fn includes(&self, entry: &JournalEntry) -> bool {
        match self {
            Self::Service(service) => entry.service_id == *service,
            Self::Task(task) => entry.task_id == *task,
            Self::Place { service, slot, node } => {
                let here = if *slot == 0 { entry.node_id == *node } else { entry.slot == *slot };
                entry.service_id == *service && !entry.task_id.is_empty() && here
            }
        }
    }
}

impl Journal {
    pub(crate) fn new(dir: PathBuf, vault: Vault) -> Self {
        Self { dir, vault, spoken_of: Arc::default() }
    }

    /// At most `limit` entries no older than `oldest`, newest first. Waits for the disk.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(crate) fn newest(&self, about: &About, oldest: Timestamp, limit: usize) -> io::Result<Vec<JournalEntry>> {
        let mut found = Vec::new();
        let files = match segment::list(&self.dir) {
            // Nothing was ever written.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            files => files?,
        };
        for number in files.into_iter().rev() {
            let records = match segment::read(&self.dir, number, &self.vault) {
                Ok(contents) => self.whole_part(number, contents),
                // It was let go just now, and all that are older with it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            };
            let entries = records.into_iter().rev().flat_map(|record| record.entries.into_iter().rev());
            let wanted = entries.filter(|entry| entry.at >= oldest.as_nanos() && about.includes(entry));
            found.extend(wanted.take(limit - found.len()));
            if found.len() == limit {
                break;
            }
        }
        Ok(found)
    }

    fn whole_part(&self, number: u64, contents: Contents) -> Vec<skep_proto::v1::JournalRecord> {
        let mut spoken_of = self.spoken_of.lock().unwrap_or_else(PoisonError::into_inner);
        if contents.end == End::Damaged && spoken_of.insert(number) {
            let file = segment::path(&self.dir, number);
            warn!(file = %file.display(), at = contents.bytes, "a part of the journal cannot be read and is passed over");
        }
        contents.records
    }
}
