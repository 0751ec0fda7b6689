//! openraft's types, filled in: what an entry carries, what applying it answers, who a member is.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use skep_store::{ApplyError, ChangeSet};

use crate::{runtime::Runtime, snapshot::SnapshotData};

openraft::declare_raft_types!(
    /// The instance of openraft this crate runs.
    pub(crate) TypeConfig:
        D = Batch,
        R = Vec<Outcome>,
        NodeId = u64,
        Node = Member,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = SnapshotData,
        AsyncRuntime = Runtime,
);

pub(crate) type Raft = openraft::Raft<TypeConfig>;
pub(crate) type Entry = openraft::Entry<TypeConfig>;
pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type Membership = openraft::Membership<u64, Member>;
pub(crate) type StoredMembership = openraft::StoredMembership<u64, Member>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, Member>;
pub(crate) type Snapshot = openraft::Snapshot<TypeConfig>;
pub(crate) type Metrics = openraft::RaftMetrics<u64, Member>;
pub(crate) type StorageError = openraft::StorageError<u64>;

/// A member as the others find it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) node_id: String,
    pub(crate) addr: String,
    /// Its removal has begun: the leader finishes it, and it never votes again.
    pub(crate) leaving: bool,
}

/// Proposals that share one log entry: an encoded `RaftBatch`, encoded once by the leader and carried as it is to disk
/// and to the followers. [`crate::pack`] says what is in it.
#[derive(Clone)]
pub(crate) struct Batch {
    pub(crate) bytes: Bytes,
    /// Whether the bytes are compressed.
    pub(crate) is_packed: bool,
    /// The term it was first written in; 0 before.
    term: Arc<AtomicU64>,
}

impl Batch {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { bytes, is_packed: false, term: Arc::default() }
    }

    pub(crate) fn packed(bytes: Bytes) -> Self {
        Self { is_packed: true, ..Self::new(bytes) }
    }

    /// Noted before the batch is first written to a log, in `term`. Without it the batch is nowhere, and will be nowhere.
    pub(crate) fn note_appended(&self, term: u64) {
        self.term.store(term, Ordering::Release);
    }

    /// The term it was written in, if it ever was.
    pub(crate) fn term(&self) -> Option<u64> {
        Some(self.term.load(Ordering::Acquire)).filter(|term| *term > 0)
    }

    pub(crate) fn was_appended(&self) -> bool {
        self.term().is_some()
    }
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        (&self.bytes, self.is_packed) == (&other.bytes, other.is_packed)
    }
}

/// The content may hold keys and tokens.
impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} bytes)", self.bytes.len())
    }
}

/// The outcome of one proposal of a batch; the same on every member.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Applied(Arc<ChangeSet>),
    Refused(ApplyError),
    /// It was meant for one term only, and its entry is of another.
    TermOver,
}
