//! The log file: one redb database with two tables, every value sealed.
//!
//! `log` maps an index to its entry; `records` holds the owner, the vote, and how far the log is committed and purged.
//! A commit of the database is atomic, whatever happens to the machine. An entry that cannot be read back is an error,
//! never skipped: it may have been acknowledged.
//!
//! A purge only records up to which index the log is gone. The entries are removed a few at a time with the commits that
//! follow, since removing thousands of them, or many megabytes, in one commit would delay the appends behind it.

use std::{
    collections::VecDeque,
    fs::File,
    ops::{Bound, RangeBounds},
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use redb::{
    Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageBackend, Table, TableDefinition,
    WriteTransaction, backends::FileBackend,
};
use skep_proto::{Message, v1};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    known::{TAIL_BYTES, size_of_entry},
    reserved_space::ReservedSpace,
};
use crate::{
    convert::{decode_entry, encode_entry, log_id_from_proto, log_id_to_proto, vote_from_proto, vote_to_proto},
    error::StartError,
    seal::{Location, Seal},
    types::{Entry, LogId, Vote},
};

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");

const OWNER: &str = "owner";
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";

/// The log is small (see `Tuning`), and its newest part is cached decoded.
const CACHE_BYTES: usize = 8 << 20;

/// Purged entries that one commit removes at most.
pub(super) const SWEPT_AT_ONCE: usize = 512;

/// Bytes of purged entries after which a commit removes no more: redb reads what it removes, and a disk that has to be read for that
/// keeps everybody waiting.
pub(super) const SWEPT_BYTES: usize = 4 << 20;

/// Whose log this is.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Owner {
    #[prost(string, tag = "1")]
    pub(crate) node_id: String,
    #[prost(uint64, tag = "2")]
    pub(crate) raft_id: u64,
}

/// Why the file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("{0}")]
    Redb(#[from] redb::Error),
    #[error("{location}: {reason}")]
    Damaged { location: String, reason: String },
    #[error("the log is closed")]
    Closed,
    #[error("nobody wants it any more")]
    GivenUp,
}

impl DiskError {
    fn damaged(location: impl ToString, reason: impl ToString) -> Self {
        Self::Damaged { location: location.to_string(), reason: reason.to_string() }
    }

    /// The same, for a member that starts.
    pub(crate) fn at_start(self, file: &Path) -> StartError {
        let dir = file.parent().unwrap_or(file).to_owned();
        let damaged = |location, reason| StartError::Damaged { file: file.to_owned(), location, reason };
        match self {
            Self::Damaged { location, reason } => damaged(location, reason),
            Self::GivenUp => StartError::GivenUp,
            Self::Redb(redb::Error::DatabaseAlreadyOpen) => StartError::InUse { dir },
            Self::Redb(redb::Error::Io(source)) => StartError::Io { dir, source },
            other => damaged("its structure".into(), other.to_string()),
        }
    }
}

/// One change of the file. Changes are applied in the order they were asked for.
pub(super) enum Op {
    Append(Vec<Entry>),
    /// Removes the entries from this index on.
    Truncate(u64),
    /// Removes the entries up to this one.
    Purge(LogId),
    Vote(Vote),
    Committed(Option<LogId>),
    Owner(Owner),
}

/// What the file holds, as far as it is to be known at a start.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) owner: Option<Owner>,
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    pub(crate) last: Option<LogId>,
    /// The newest entries without a gap; those before them stay on disk.
    pub(crate) entries: VecDeque<Entry>,
    /// About what these take.
    bytes: usize,
}

impl Contents {
    fn push(&mut self, entry: Entry) {
        self.last = Some(entry.log_id);
        self.bytes += size_of_entry(&entry);
        self.entries.push_back(entry);
        while self.bytes > TAIL_BYTES
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= size_of_entry(&oldest);
        }
    }

    /// The log is gone up to `upto`, all of it.
    fn start_after(&mut self, upto: LogId) {
        (self.purged, self.last, self.bytes) = (Some(upto), None, 0);
        self.entries.clear();
    }
}

/// The open file.
pub(crate) struct Disk {
    file: PathBuf,
    seal: Arc<Seal>,
    /// Taken when the log is closed.
    database: RwLock<Option<Database>>,
    /// The log begins with this index; what is before it goes.
    first: AtomicU64,
    /// Whether more is to go.
    unswept: AtomicBool,
    /// Bytes of the entries that were appended since the file was opened.
    appended: AtomicU64,
    reserved: Option<ReservedSpace>,
}

impl Disk {
    /// Opens the database in `backend`, or makes an empty one there; `file` is its name in errors.
    /// What a crash has left is repaired, which may take long and can be given up.
    pub(crate) fn open(
        backend: impl StorageBackend,
        file: PathBuf,
        seal: Arc<Seal>,
        give_up: &CancellationToken,
    ) -> Result<Self, DiskError> {
        let mut builder = Database::builder();
        let given_up = give_up.clone();
        builder.set_cache_size(CACHE_BYTES).set_repair_callback(move |repair| {
            if given_up.is_cancelled() {
                repair.abort();
            }
        });
        let database = builder.create_with_backend(backend).map_err(|error| match error {
            DatabaseError::RepairAborted => DiskError::GivenUp,
            DatabaseError::Storage(storage) => DiskError::Redb(storage.into()),
            other => DiskError::Redb(other.into()),
        })?;
        let (first, unswept, appended) = (AtomicU64::new(0), AtomicBool::new(false), AtomicU64::new(0));
        Ok(Self { file, seal, database: RwLock::new(Some(database)), first, unswept, appended, reserved: None })
    }

    /// Opens the database in an open file that is at `path`, and reserves space for it.
    pub(crate) fn open_file(
        file: File,
        path: PathBuf,
        seal: Arc<Seal>,
        give_up: &CancellationToken,
    ) -> Result<Self, DiskError> {
        let reserved = ReservedSpace::new(file.try_clone().map_err(|error| DiskError::Redb(error.into()))?);
        let backend = FileBackend::new(file).map_err(|error| DiskError::Redb(error.into()))?;
        let disk = Self { reserved: Some(reserved), ..Self::open(backend, path, seal, give_up)? };
        disk.reserve_space();
        Ok(disk)
    }

    /// Reserves again what was used of the space for the log.
    pub(super) fn reserve_space(&self) {
        if let Some(reserved) = &self.reserved {
            reserved.hold();
        }
    }

    /// Whether the disk is full and the log lives on its reserved space.
    pub(super) fn is_short(&self) -> Option<watch::Receiver<bool>> {
        self.reserved.as_ref().map(ReservedSpace::is_short)
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Bytes of the entries that were appended since the file was opened: sealed, as they are in it, without what the database
    /// takes around them.
    pub(super) fn appended_bytes(&self) -> u64 {
        self.appended.load(Ordering::Relaxed)
    }

    /// Whose log it is, if anybody's.
    pub(crate) fn owner(&self) -> Result<Option<Owner>, DiskError> {
        self.record(OWNER, |bytes| decode(&bytes))
    }

    /// Reads and checks everything: seals, order, no gap. Only the newest entries are kept.
    pub(crate) fn contents(&self, give_up: &CancellationToken) -> Result<Contents, DiskError> {
        let log_id = |bytes: Vec<u8>| decode::<v1::RaftLogId>(&bytes).map(|log_id| log_id_from_proto(&log_id));
        let mut contents = Contents {
            owner: self.owner()?,
            vote: self.record(VOTE, |bytes| decode(&bytes).map(|vote| vote_from_proto(&vote)))?,
            committed: self.record(COMMITTED, log_id)?,
            purged: self.record(PURGED, log_id)?,
            ..Contents::default()
        };
        // Without a purge the log begins at 0.
        let first = contents.purged.map_or(0, |purged| purged.index + 1);
        self.first.store(first, Ordering::Relaxed);
        self.each(first.., |entry| {
            if give_up.is_cancelled() {
                return Err(DiskError::GivenUp);
            }
            let before = contents.last.or(contents.purged);
            let next = before.map_or(0, |log_id| log_id.index + 1);
            if entry.log_id.index != next {
                return Err(DiskError::damaged(Location::Entry(next), "it is missing"));
            }
            if Some(entry.log_id) <= before {
                return Err(DiskError::damaged(Location::Entry(next), "its term is older than the one before"));
            }
            contents.push(entry);
            Ok(true)
        })?;
        Ok(contents)
    }

    /// The id of the entry at `index`, if the log has one there.
    pub(crate) fn log_id_at(&self, index: u64) -> Result<Option<LogId>, DiskError> {
        Ok(self.entries(index..=index, usize::MAX)?.0.first().map(|entry| entry.log_id))
    }

    /// Records whose log this is.
    pub(crate) fn set_owner(&self, owner: Owner) -> Result<(), DiskError> {
        self.commit([Op::Owner(owner)].iter())
    }

    /// Forgets every entry, as if the log had been purged up to `upto`.
    pub(crate) fn start_after(&self, contents: &mut Contents, upto: LogId) -> Result<(), DiskError> {
        self.commit([Op::Truncate(0), Op::Purge(upto)].iter())?;
        contents.start_after(upto);
        Ok(())
    }

    /// The entries in `range`, as many as there are, but none that would make them take more than `bytes` unless it is the
    /// first; and whether that is all of them.
    pub(super) fn entries(&self, range: impl RangeBounds<u64>, bytes: usize) -> Result<(Vec<Entry>, bool), DiskError> {
        let (mut entries, mut taken, mut is_all) = (Vec::new(), 0usize, true);
        self.each(range, |entry| {
            taken = taken.saturating_add(size_of_entry(&entry));
            is_all = entries.is_empty() || taken <= bytes;
            if is_all {
                entries.push(entry);
            }
            Ok(is_all)
        })?;
        Ok((entries, is_all))
    }

    /// Hands over the entries in `range`, one after the other, as long as they are wanted.
    fn each(
        &self,
        range: impl RangeBounds<u64>,
        mut wanted: impl FnMut(Entry) -> Result<bool, DiskError>,
    ) -> Result<(), DiskError> {
        self.with(|database| {
            let transaction = database.begin_read().map_err(redb::Error::from)?;
            let table = match transaction.open_table(LOG) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
                table => table.map_err(redb::Error::from)?,
            };
            let range: (Bound<u64>, Bound<u64>) = (range.start_bound().cloned(), range.end_bound().cloned());
            for row in table.range::<u64>(range).map_err(redb::Error::from)? {
                let (index, sealed) = row.map_err(redb::Error::from)?;
                if !wanted(self.entry(index.value(), sealed.value())?)? {
                    break;
                }
            }
            Ok(())
        })
    }

    fn entry(&self, index: u64, sealed: &[u8]) -> Result<Entry, DiskError> {
        let location = Location::Entry(index);
        let bytes = self.seal.open(location, sealed).map_err(|error| DiskError::damaged(location, error))?;
        let entry = decode_entry(&bytes).map_err(|error| DiskError::damaged(location, error))?;
        match entry.log_id.index == index {
            true => Ok(entry),
            false => Err(DiskError::damaged(location, "it is another entry")),
        }
    }

    fn record<T>(
        &self,
        name: &'static str,
        decode: impl FnOnce(Vec<u8>) -> Result<T, String>,
    ) -> Result<Option<T>, DiskError> {
        self.with(|database| {
            let transaction = database.begin_read().map_err(redb::Error::from)?;
            let table = match transaction.open_table(RECORDS) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                table => table.map_err(redb::Error::from)?,
            };
            let Some(sealed) = table.get(name).map_err(redb::Error::from)? else { return Ok(None) };
            let location = Location::Record(name);
            let bytes =
                self.seal.open(location, sealed.value()).map_err(|error| DiskError::damaged(location, error))?;
            decode(bytes).map(Some).map_err(|error| DiskError::damaged(location, error))
        })
    }

    /// Makes all of `ops` durable, in order, or none of them.
    pub(super) fn commit<'a>(&self, ops: impl Iterator<Item = &'a Op>) -> Result<(), DiskError> {
        self.with(|database| {
            let transaction = database.begin_write().map_err(redb::Error::from)?;
            for op in ops {
                self.write(&transaction, op)?;
            }
            self.sweep(&transaction)?;
            transaction.commit().map_err(redb::Error::from)?;
            self.reserve_space();
            Ok(())
        })
    }

    /// Whether purged entries are still to be removed, by commits of anything or of nothing.
    pub(super) fn is_unswept(&self) -> bool {
        self.unswept.load(Ordering::Relaxed)
    }

    /// Removes the oldest of what has been purged.
    fn sweep(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let first = self.first.load(Ordering::Relaxed);
        let mut log = transaction.open_table(LOG)?;
        let is_purged = |log: &Table<'_, u64, &[u8]>| {
            Ok::<_, redb::Error>(log.first()?.is_some_and(|(oldest, _)| oldest.value() < first))
        };
        let (mut entries, mut bytes) = (0, 0);
        let mut more = is_purged(&log)?;
        while more && entries < SWEPT_AT_ONCE && bytes < SWEPT_BYTES {
            let oldest = log.pop_first()?;
            entries += 1;
            bytes += oldest.map_or(0, |(_, sealed)| sealed.value().len());
            more = is_purged(&log)?;
        }
        self.unswept.store(more, Ordering::Relaxed);
        Ok(())
    }

    fn write(&self, transaction: &WriteTransaction, op: &Op) -> Result<(), redb::Error> {
        let mut log = transaction.open_table(LOG)?;
        let mut records = transaction.open_table(RECORDS)?;
        let mut record = |name: &'static str, value: Vec<u8>| {
            records.insert(name, self.seal.seal(Location::Record(name), &value).as_slice()).map(|_| ())
        };
        match op {
            Op::Append(entries) => {
                for entry in entries {
                    let index = entry.log_id.index;
                    let sealed = self.seal.seal(Location::Entry(index), &encode_entry(entry));
                    log.insert(index, sealed.as_slice())?;
                    self.appended.fetch_add(sealed.len() as u64, Ordering::Relaxed);
                }
            }
            Op::Truncate(since) => log.retain_in::<u64, _>(since.., |_, _| false)?,
            Op::Purge(upto) => {
                self.first.fetch_max(upto.index + 1, Ordering::Relaxed);
                record(PURGED, log_id_to_proto(upto).encode_to_vec())?;
            }
            Op::Vote(vote) => record(VOTE, vote_to_proto(vote).encode_to_vec())?,
            Op::Committed(Some(log_id)) => record(COMMITTED, log_id_to_proto(log_id).encode_to_vec())?,
            Op::Committed(None) => drop(records.remove(COMMITTED)?),
            Op::Owner(owner) => record(OWNER, owner.encode_to_vec())?,
        }
        Ok(())
    }

    /// Lets go of the file. What was committed stays.
    pub(super) fn close(&self) {
        drop(self.database.write().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn with<T>(&self, act: impl FnOnce(&Database) -> Result<T, DiskError>) -> Result<T, DiskError> {
        act(self.database.read().unwrap_or_else(PoisonError::into_inner).as_ref().ok_or(DiskError::Closed)?)
    }
}

fn decode<T: Message + Default>(bytes: &[u8]) -> Result<T, String> {
    T::decode(bytes).map_err(|error| error.to_string())
}
