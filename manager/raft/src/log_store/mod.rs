//! openraft's log storage: log and vote on disk.
//!
//! One thread ([`writer`]) writes one file ([`disk`]); reads are served from a cache of the newest entries ([`known`]) and
//! from the file for older ones. openraft waits for each append, truncation and vote before the next write; the cache's mark
//! of what is durable relies on that order.

mod disk;
mod known;
mod pulse;
mod reserved_space;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fmt::Debug,
    ops::RangeBounds,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use openraft::{
    AnyError, LogState, OptionalSend, RaftLogReader, StorageIOError,
    storage::{LogFlushed, RaftLogStorage},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use self::{
    disk::Op,
    known::Known,
    writer::{Request, Waiting, Writer},
};
pub(crate) use self::{
    disk::{Contents, Disk, DiskError, Owner},
    known::size_of_entry,
    pulse::Pulse,
};
use crate::{
    OnFatal,
    blocking::blocking,
    snapshot::Snapshots,
    types::{Entry, LogId, StorageError, TypeConfig, Vote},
};

/// Entries sent to a follower in one message, unless a single one is larger.
const MAX_APPEND_BYTES: usize = 512 << 10;

/// The log of one member. Clones are the same log; they serve as its readers.
#[derive(Clone)]
pub(crate) struct LogStore {
    disk: Arc<Disk>,
    known: Arc<RwLock<Known>>,
    requests: mpsc::Sender<Request>,
    snapshots: Arc<Snapshots>,
    on_fatal: OnFatal,
}

impl LogStore {
    /// Serves the log in `disk`, whose contents were read from it just now.
    pub(crate) fn new(
        disk: Disk,
        contents: Contents,
        snapshots: Arc<Snapshots>,
        pulse: Arc<Pulse>,
        on_fatal: OnFatal,
    ) -> std::io::Result<Self> {
        let disk = Arc::new(disk);
        let known = Arc::new(RwLock::new(Known::from(contents)));
        let writer = Writer { disk: disk.clone(), known: known.clone(), pulse, on_fatal: on_fatal.clone() };
        Ok(Self { disk, known, requests: writer.spawn()?, snapshots, on_fatal })
    }

    async fn log_id_at(&self, index: u64) -> Result<Option<LogId>, StorageError> {
        Ok(self.read(index..=index, usize::MAX).await?.first().map(|entry| entry.log_id))
    }

    /// Writes what was put off and lets go of the file. Reads and writes fail from then on.
    pub(crate) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.requests.send(Request::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
        // The thread has ended by itself after an error.
        self.disk.close();
    }

    /// Whether the disk is full and the log lives on the space reserved for it.
    pub(crate) fn is_short(&self) -> watch::Receiver<bool> {
        self.disk.is_short().unwrap_or_else(|| watch::Sender::new(false).subscribe())
    }

    /// Bytes of the entries that were appended since the log was opened.
    pub(crate) fn appended_bytes(&self) -> u64 {
        self.disk.appended_bytes()
    }

    /// Reserves the space for the log again, until `stop`, when the disk has it.
    pub(crate) async fn keep_space_reserved(self, stop: CancellationToken) {
        let mut short = self.is_short();
        let keep = async {
            while short.wait_for(|short| *short).await.is_ok() {
                sleep(reserved_space::AGAIN).await;
                let disk = self.disk.clone();
                blocking(move || disk.reserve_space()).await;
            }
        };
        stop.run_until_cancelled(keep).await;
    }

    /// Returns when `op` is durable.
    async fn write(&self, op: Op) -> Result<(), StorageError> {
        let (done, durable) = oneshot::channel();
        self.request(op, Waiting::Caller(done)).await?;
        durable.await.map_err(|_| write_failed())
    }

    async fn request(&self, op: Op, waiting: Waiting) -> Result<(), StorageError> {
        self.requests.send(Request::Write(op, waiting)).await.map_err(|_| write_failed())
    }

    /// The entries in `range`; those from disk only as far as they take no more than `bytes`, and then none after them.
    async fn read(&self, range: impl RangeBounds<u64>, bytes: usize) -> Result<Vec<Entry>, StorageError> {
        let found = self.known().find(range);
        if found.on_disk.is_empty() {
            return Ok(found.cached);
        }
        let disk = self.disk.clone();
        match blocking(move || disk.entries(found.on_disk, bytes)).await {
            Ok((mut entries, is_all)) => {
                if is_all {
                    entries.extend(found.cached);
                }
                Ok(entries)
            }
            Err(error) => {
                if !matches!(error, DiskError::Closed) {
                    self.on_fatal.call(&format!("{}: {error}", self.disk.file().display()));
                }
                Err(StorageIOError::read_logs(AnyError::error(error)).into())
            }
        }
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_failed() -> StorageError {
    StorageIOError::write(AnyError::error("the log could not be written, or is closed")).into()
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        self.read((range.start_bound().cloned(), range.end_bound().cloned()), usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        let mut entries = self.read(start..end, MAX_APPEND_BYTES).await?;
        let mut bytes = 0;
        let fitting = entries.iter().take_while(|entry| {
            bytes += size_of_entry(entry);
            bytes <= MAX_APPEND_BYTES
        });
        let fitting = fitting.count().max(1);
        entries.truncate(fitting);
        Ok(entries)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let known = self.known();
        Ok(LogState { last_purged_log_id: known.purged, last_log_id: known.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        self.write(Op::Vote(*vote)).await?;
        self.known_mut().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.known().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.known_mut().committed = committed;
        // Only saves work after a restart.
        self.request(Op::Committed(committed), Waiting::Nobody).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.known().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        for entry in &entries {
            if let openraft::EntryPayload::Normal(batch) = &entry.payload {
                batch.note_appended(entry.log_id.leader_id.term);
            }
        }
        self.known_mut().append(entries.iter().cloned());
        self.request(Op::Append(entries), Waiting::Raft(callback)).await
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let before = match log_id.index.checked_sub(1) {
            Some(before) => self.log_id_at(before).await?,
            None => None,
        };
        self.known_mut().truncate(log_id.index, before);
        self.write(Op::Truncate(log_id.index)).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let goes_on = self.known().last > Some(log_id);
        self.known_mut().purge(log_id);
        // The disk keeps what follows the older snapshot, should the newer one turn out to be damaged. When nothing is left of
        // the log it must not: what is appended next would not follow.
        let oldest = self.snapshots.oldest().filter(|oldest| goes_on && oldest.index < log_id.index);
        // A crash before it is durable leaves entries that are purged again.
        self.request(Op::Purge(oldest.unwrap_or(log_id)), Waiting::Nobody).await
    }
}
