//! The log applied to the store, and the store kept as snapshots.
//!
//! The state is in memory; on disk there are only snapshots and the log since. Applying is total: a transaction that the
//! store refuses is a normal answer. An entry that cannot be decoded ends the process, since skipping it would make this
//! member's state differ from the others'; so does a feature level that this release does not support. A snapshot that
//! cannot be written loses nothing: it is reported and tried again.
//!
//! Versions: each transaction gets the index of its entry, or one more than the version before it when a batch has used that
//! number already. So versions only grow, are the same on every member, and are never below the log index.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder, StorageIOError, storage::RaftStateMachine};
use skep_common::random;
use skep_proto::v1::RaftProposal;
use skep_store::{Store, View};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    OnFatal,
    blocking::finished,
    error::StartError,
    log_store::size_of_entry,
    pack::{self, Unpacker},
    snapshot::{Description, SnapshotData, SnapshotError, Snapshots},
    types::{Batch, Entry, LogId, Outcome, Snapshot, SnapshotMeta, StorageError, StoredMembership, TypeConfig},
};

pub(crate) struct StateMachine {
    store: Arc<Store>,
    snapshots: Arc<Snapshots>,
    raft_id: u64,
    /// The highest feature level this member reads.
    knows: u32,
    unpacker: Unpacker,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    /// About how many bytes of log were applied since the start, unpacked.
    applied_bytes: Arc<AtomicU64>,
    /// What is being written; a shutdown waits for it.
    jobs: TaskTracker,
    on_fatal: OnFatal,
}

impl StateMachine {
    /// Begins with the state of the newest snapshot, or with nothing.
    pub(crate) fn new(
        store: Arc<Store>,
        snapshots: Arc<Snapshots>,
        newest: Option<(Arc<Description>, View)>,
        raft_id: u64,
        knows: u32,
        jobs: TaskTracker,
        on_fatal: OnFatal,
    ) -> Self {
        let mut machine = Self {
            store,
            snapshots,
            raft_id,
            knows,
            unpacker: Unpacker::default(),
            last_applied: None,
            membership: StoredMembership::default(),
            applied_bytes: Arc::default(),
            jobs,
            on_fatal,
        };
        if let Some((description, view)) = newest {
            machine.set(&description.meta, view);
        }
        machine
    }

    /// Grows by the size of every entry that is applied.
    pub(crate) fn applied_bytes(&self) -> Arc<AtomicU64> {
        self.applied_bytes.clone()
    }

    fn set(&mut self, meta: &SnapshotMeta, view: View) {
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.store.replace(view);
    }

    /// What follows in the log may be of a kind that this release does not know.
    #[expect(clippy::result_large_err, reason = "openraft's error")]
    fn check_level(&self, log_id: LogId) -> Result<(), StorageError> {
        StartError::check_level(&self.store.view(), self.knows)
            .map_err(|error| StorageIOError::apply(log_id, AnyError::new(&error)).into())
    }

    #[expect(clippy::result_large_err, reason = "openraft's error")]
    fn apply_batch(&mut self, log_id: LogId, batch: &Batch) -> Result<Vec<Outcome>, StorageError> {
        let decoded = match batch.is_packed && self.knows < pack::LEVEL {
            // To a release of that level it is an entry without anything in it.
            true => Err(format!("it is of feature level {}", pack::LEVEL)),
            false => self.unpacker.unpack(batch),
        };
        let decoded = decoded.map_err(|error| {
            self.on_fatal.call(&format!("entry {} is no batch of transactions: {error}", log_id.index));
            StorageIOError::apply(log_id, AnyError::error(error))
        })?;
        let apply = |proposal| {
            let outcome = self.apply_proposal(log_id, proposal);
            self.check_level(log_id).map(|()| outcome)
        };
        decoded.proposals.into_iter().map(apply).collect()
    }

    fn apply_proposal(&self, log_id: LogId, proposal: RaftProposal) -> Outcome {
        if proposal.only_in_term != 0 && proposal.only_in_term != log_id.leader_id.term {
            return Outcome::TermOver;
        }
        let version = log_id.index.max(self.store.view().version() + 1);
        // A message leaves out what is empty, so a transaction that is not there is an empty one.
        match self.store.commit_owned(version, proposal.transaction.unwrap_or_default()) {
            Ok(changes) => Outcome::Applied(Arc::new(changes)),
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    fn note_empty(&self, log_id: LogId) {
        if self.store.view().version() < log_id.index {
            self.store.skip(log_id.index);
        }
    }

    fn failed(&self, error: &SnapshotError) -> StorageError {
        self.on_fatal.call(&format!("a snapshot failed: {error}"));
        snapshot_failed(error)
    }
}

fn snapshot_failed(error: &SnapshotError) -> StorageError {
    StorageIOError::write_snapshot(None, AnyError::new(error)).into()
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Vec<Outcome>>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut answers = Vec::new();
        for entry in entries {
            let mut size = size_of_entry(&entry);
            let Entry { log_id, payload } = entry;
            if let EntryPayload::Normal(batch) = &payload {
                // What a start has to read again is what counts, and that is unpacked.
                size += pack::unpacked_len(batch).saturating_sub(batch.bytes.len());
            }
            self.applied_bytes.fetch_add(size as u64, Ordering::Relaxed);
            answers.push(match payload {
                EntryPayload::Normal(batch) => self.apply_batch(log_id, &batch)?,
                EntryPayload::Blank => {
                    self.note_empty(log_id);
                    Vec::new()
                }
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(log_id), membership);
                    self.note_empty(log_id);
                    Vec::new()
                }
            });
            self.last_applied = Some(log_id);
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let index = self.last_applied.map_or(0, |log_id| log_id.index);
        let unique = u64::from_be_bytes(random::bytes());
        Builder {
            snapshots: self.snapshots.clone(),
            view: self.store.view(),
            meta: SnapshotMeta {
                last_log_id: self.last_applied,
                last_membership: self.membership.clone(),
                snapshot_id: format!("{index}-{}-{unique:016x}", self.raft_id),
            },
            jobs: self.jobs.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotData>, StorageError> {
        Ok(Box::new(SnapshotData::Empty))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: Box<SnapshotData>) -> Result<(), StorageError> {
        let snapshots = self.snapshots.clone();
        let of_meta = meta.clone();
        let installed = self.jobs.spawn_blocking(move || {
            let view = match *data {
                SnapshotData::Received(view) => view,
                SnapshotData::Stored(file) => {
                    let view = file.load(&CancellationToken::new())?;
                    snapshots.save(of_meta, &view)?;
                    view
                }
                SnapshotData::Empty => return Err(SnapshotError::content("it is empty")),
            };
            snapshots.keep_newest();
            Ok(view)
        });
        let view = finished(installed).await.map_err(|error| self.failed(&error))?;
        StartError::check_level(&view, self.knows)
            .map_err(|error| StorageIOError::read_snapshot(None, AnyError::new(&error)))?;
        self.set(meta, view);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        Ok(self.snapshots.newest().map(|file| Snapshot {
            meta: file.description.meta.clone(),
            snapshot: Box::new(SnapshotData::Stored(file)),
        }))
    }
}

/// A moment's state on its way to disk, while the store goes on.
pub(crate) struct Builder {
    snapshots: Arc<Snapshots>,
    view: View,
    meta: SnapshotMeta,
    jobs: TaskTracker,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let (snapshots, view, meta) = (self.snapshots.clone(), self.view.clone(), self.meta.clone());
        let saved = self.jobs.spawn_blocking(move || {
            let saved = snapshots.save(meta, &view);
            snapshots.note(&saved);
            saved
        });
        // An error here would end openraft. A snapshot of nothing is no news to it; who asked for one asks again.
        Ok(finished(saved).await.map_or_else(
            |_| Snapshot { meta: SnapshotMeta::default(), snapshot: Box::new(SnapshotData::Empty) },
            |file| Snapshot { meta: self.meta.clone(), snapshot: Box::new(SnapshotData::Stored(file)) },
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_common::feature_level::FEATURE_LEVEL;

    use crate::{
        pack::Packer,
        testing::{batch, create_cluster, create_node, entry_with, update_node},
    };

    fn machine(dir: &std::path::Path) -> (StateMachine, Arc<Store>) {
        let store = Arc::new(Store::default());
        let seal = Arc::new(crate::seal::Seal::new(&crate::seal::new_key()));
        let snapshots = Snapshots::open(dir.to_owned(), seal).unwrap();
        let on_fatal = OnFatal::new(|_| {});
        (StateMachine::new(store.clone(), snapshots, None, 1, FEATURE_LEVEL, TaskTracker::new(), on_fatal), store)
    }

    #[tokio::test]
    async fn versions_grow_within_a_batch_and_follow_the_log_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let (mut machine, store) = machine(dir.path());
        let three = batch([create_node("a"), create_node("b"), create_node("c")].map(|tx| (tx, 0)));
        machine.apply([entry_with(1, 5, three)]).await.unwrap();
        let versions: Vec<u64> = store.view().nodes().map(|node| node.meta.as_ref().unwrap().version).collect();
        assert_eq!(versions, [5, 6, 7]);

        machine.apply([entry_with(1, 6, batch([(create_node("d"), 0)]))]).await.unwrap();
        assert_eq!(store.view().version(), 8);
        machine.apply([entry_with(1, 20, batch([(create_node("e"), 0)]))]).await.unwrap();
        assert_eq!(store.view().version(), 20);
    }

    #[tokio::test]
    async fn a_refused_proposal_is_an_answer_and_the_rest_of_its_batch_applies() {
        let dir = tempfile::tempdir().unwrap();
        let (mut machine, store) = machine(dir.path());
        machine.apply([entry_with(3, 1, batch([(create_node("a"), 0)]))]).await.unwrap();
        let stale = update_node(&store.view(), "a");
        let mixed = batch([(stale.clone(), 0), (stale, 0), (create_node("b"), 2), (create_node("c"), 3)]);
        let answers = machine.apply([entry_with(3, 2, mixed)]).await.unwrap();
        assert!(matches!(
            answers[0][..],
            [Outcome::Applied(_), Outcome::Refused(_), Outcome::TermOver, Outcome::Applied(_)]
        ));
        assert!(store.view().node("b").is_none() && store.view().node("c").is_some());
    }

    #[tokio::test]
    async fn an_entry_that_cannot_be_decoded_is_fatal() {
        let dir = tempfile::tempdir().unwrap();
        let (mut machine, store) = machine(dir.path());
        let (sender, told) = std::sync::mpsc::channel();
        machine.on_fatal = OnFatal::new(move |reason| sender.send(reason.to_owned()).unwrap());
        let junk = Batch::new(bytes::Bytes::from_static(b"\xff\xff\xff"));
        assert!(machine.apply([entry_with(1, 9, junk)]).await.is_err());
        assert!(told.try_recv().unwrap().starts_with("entry 9 is no batch"));
        assert_eq!(store.view().version(), 0);
    }

    #[tokio::test]
    async fn an_entry_of_a_level_that_this_release_does_not_know_is_fatal() {
        let many = || batch((0..20).map(|number| (create_node(&format!("node{number}")), 0)));
        let packed = Packer::default().pack(&Unpacker::default().unpack(&many()).unwrap(), pack::LEVEL);
        assert!(packed.is_packed);
        for knows in [pack::LEVEL - 1, pack::LEVEL] {
            let dir = tempfile::tempdir().unwrap();
            let (mut machine, store) = machine(dir.path());
            machine.knows = knows;
            let applied = machine.apply([entry_with(1, 1, packed.clone())]).await;
            assert!(machine.applied_bytes.load(Ordering::Relaxed) as usize > many().bytes.len());
            assert_eq!((applied.is_ok(), store.view().node_count()), [(false, 0), (true, 20)][(knows - 1) as usize]);
        }
    }

    #[tokio::test]
    async fn nothing_is_applied_at_a_level_that_this_release_does_not_know() {
        let dir = tempfile::tempdir().unwrap();
        let (mut machine, store) = machine(dir.path());
        let raised = batch([(create_cluster(FEATURE_LEVEL + 1), 0), (create_node("a"), 0)]);
        machine.apply([entry_with(1, 1, batch([(create_node("b"), 0)]))]).await.unwrap();
        let error = machine.apply([entry_with(1, 2, raised)]).await.unwrap_err();
        assert!(error.to_string().contains("upgrade skep on this node"), "{error}");
        assert!(store.view().node("a").is_none());
    }

    #[tokio::test]
    async fn a_snapshot_is_of_the_moment_it_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let (mut machine, store) = machine(dir.path());
        machine.apply([entry_with(1, 1, batch([(create_node("a"), 0)]))]).await.unwrap();
        let mut builder = machine.get_snapshot_builder().await;
        machine.apply([entry_with(1, 2, batch([(create_node("b"), 0)]))]).await.unwrap();
        builder.build_snapshot().await.unwrap();
        let snapshot = machine.snapshots.newest().unwrap();
        let view = snapshot.load(&CancellationToken::new()).unwrap();
        assert!(view.node("a").is_some() && view.node("b").is_none());
        assert_eq!((view.version(), store.view().version()), (1, 2));
    }
}
