//! The log file: one redb database with two tables, every value sealed.
//!
//! `log` maps an index to its entry; `records` holds the owner, the vote, and how far the log is committed and purged.
//! A commit of the database is all or nothing, whatever happens to the machine. What cannot be read back is an error,
//! never skipped: the entry may have been acknowledged.

use std::{
    ops::{Bound, RangeBounds},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use redb::{Database, DatabaseError, ReadableDatabase as _, StorageBackend, TableDefinition, WriteTransaction};
use skep_proto::{Message, v1};

use crate::{
    convert::{decode_entry, encode_entry, log_id_from_proto, log_id_to_proto, vote_from_proto, vote_to_proto},
    error::StartError,
    seal::{Place, Seal},
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
    #[error("{place}: {reason}")]
    Damaged { place: String, reason: String },
    #[error("the log is closed")]
    Closed,
}

impl DiskError {
    fn damaged(place: impl ToString, reason: impl ToString) -> Self {
        Self::Damaged { place: place.to_string(), reason: reason.to_string() }
    }

    /// The same, for a member that starts.
    pub(crate) fn at_start(self, file: &Path) -> StartError {
        let dir = file.parent().unwrap_or(file).to_owned();
        let damaged = |place, reason| StartError::Damaged { file: file.to_owned(), place, reason };
        match self {
            Self::Damaged { place, reason } => damaged(place, reason),
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

/// Everything the file holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) owner: Option<Owner>,
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    pub(crate) entries: Vec<Entry>,
}

/// The open file.
pub(crate) struct Disk {
    file: PathBuf,
    seal: Arc<Seal>,
    /// Taken when the log is closed.
    database: RwLock<Option<Database>>,
}

impl Disk {
    /// Opens the database in `backend`, or makes an empty one there; `file` is its name in errors.
    pub(crate) fn open(backend: impl StorageBackend, file: PathBuf, seal: Arc<Seal>) -> Result<Self, DiskError> {
        let opened = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend);
        let database = opened.map_err(|error| match error {
            DatabaseError::Storage(storage) => DiskError::Redb(storage.into()),
            other => DiskError::Redb(other.into()),
        })?;
        Ok(Self { file, seal, database: RwLock::new(Some(database)) })
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Reads and checks everything: seals, order, no gap.
    pub(crate) fn contents(&self) -> Result<Contents, DiskError> {
        let log_id = |bytes: Vec<u8>| decode::<v1::RaftLogId>(&bytes).map(|log_id| log_id_from_proto(&log_id));
        let contents = Contents {
            owner: self.record(OWNER, |bytes| decode(&bytes))?,
            vote: self.record(VOTE, |bytes| decode(&bytes).map(|vote| vote_from_proto(&vote)))?,
            committed: self.record(COMMITTED, log_id)?,
            purged: self.record(PURGED, log_id)?,
            entries: self.entries(..)?,
        };
        let mut before = contents.purged;
        for entry in &contents.entries {
            // Without a purge the log begins at 0.
            let next = before.map_or(0, |log_id| log_id.index + 1);
            if entry.log_id.index != next {
                return Err(DiskError::damaged(Place::Entry(next), "it is missing"));
            }
            if Some(entry.log_id) <= before {
                return Err(DiskError::damaged(Place::Entry(next), "its term is older than the one before"));
            }
            before = Some(entry.log_id);
        }
        Ok(contents)
    }

    /// Records whose log this is.
    pub(crate) fn set_owner(&self, owner: Owner) -> Result<(), DiskError> {
        self.commit([Op::Owner(owner)].iter())
    }

    /// Forgets every entry, as if the log had been purged up to `upto`.
    pub(crate) fn start_after(&self, upto: LogId) -> Result<(), DiskError> {
        self.commit([Op::Truncate(0), Op::Purge(upto)].iter())
    }

    /// The entries in `range`, as many as there are.
    pub(super) fn entries(&self, range: impl RangeBounds<u64>) -> Result<Vec<Entry>, DiskError> {
        self.with(|database| {
            let transaction = database.begin_read().map_err(redb::Error::from)?;
            let table = match transaction.open_table(LOG) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                table => table.map_err(redb::Error::from)?,
            };
            let range: (Bound<u64>, Bound<u64>) = (range.start_bound().cloned(), range.end_bound().cloned());
            let mut entries = Vec::new();
            for row in table.range::<u64>(range).map_err(redb::Error::from)? {
                let (index, sealed) = row.map_err(redb::Error::from)?;
                entries.push(self.entry(index.value(), sealed.value())?);
            }
            Ok(entries)
        })
    }

    fn entry(&self, index: u64, sealed: &[u8]) -> Result<Entry, DiskError> {
        let place = Place::Entry(index);
        let bytes = self.seal.open(place, sealed).map_err(|error| DiskError::damaged(place, error))?;
        let entry = decode_entry(&bytes).map_err(|error| DiskError::damaged(place, error))?;
        match entry.log_id.index == index {
            true => Ok(entry),
            false => Err(DiskError::damaged(place, "it is another entry")),
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
            let place = Place::Record(name);
            let bytes = self.seal.open(place, sealed.value()).map_err(|error| DiskError::damaged(place, error))?;
            decode(bytes).map(Some).map_err(|error| DiskError::damaged(place, error))
        })
    }

    /// Makes all of `ops` durable, in order, or none of them.
    pub(super) fn commit<'a>(&self, ops: impl Iterator<Item = &'a Op>) -> Result<(), DiskError> {
        self.with(|database| {
            let transaction = database.begin_write().map_err(redb::Error::from)?;
            for op in ops {
                self.write(&transaction, op)?;
            }
            transaction.commit().map_err(redb::Error::from)?;
            Ok(())
        })
    }

    fn write(&self, transaction: &WriteTransaction, op: &Op) -> Result<(), redb::Error> {
        let mut log = transaction.open_table(LOG)?;
        let mut records = transaction.open_table(RECORDS)?;
        let mut record = |name: &'static str, value: Vec<u8>| {
            records.insert(name, self.seal.seal(Place::Record(name), &value).as_slice()).map(|_| ())
        };
        match op {
            Op::Append(entries) => {
                for entry in entries {
                    let index = entry.log_id.index;
                    log.insert(index, self.seal.seal(Place::Entry(index), &encode_entry(entry)).as_slice())?;
                }
            }
            Op::Truncate(since) => log.retain_in::<u64, _>(since.., |_, _| false)?,
            Op::Purge(upto) => {
                log.retain_in::<u64, _>(..=upto.index, |_, _| false)?;
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
