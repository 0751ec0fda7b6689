//! The log against openraft's own suite, against a disk that fails at every single operation, and against a thief.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex},
};

use futures::future::join_all;
use openraft::{
    storage::RaftLogStorageExt as _,
    testing::{StoreBuilder, Suite},
};
use redb::{Database, TableDefinition};
use skep_common::clock::SystemClock;
use skep_store::{Store, View};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use super::*;
use crate::{
    error::StartError,
    seal::{Key, Location, Seal, new_key},
    snapshot::Snapshots,
    state_machine::StateMachine,
    testing::{Fault, FaultDisk, Survives, batch, create_node, entry, entry_with, log_id},
    types::SnapshotMeta,
};

fn open(disk: &FaultDisk, key: &Key) -> Result<(Disk, Contents), DiskError> {
    let disk = Disk::open(disk.clone(), "log.redb".into(), Arc::new(Seal::new(key)), &CancellationToken::new())?;
    let contents = disk.contents(&CancellationToken::new())?;
    Ok((disk, contents))
}

/// A crash leaves a file that has to be repaired, which takes long when it is large.
#[tokio::test]
async fn a_repair_can_be_given_up_and_is_made_the_next_time() {
    let (disk, key) = (FaultDisk::default(), new_key());
    let mut log = store(&disk, &key, ignore());
    log.blocking_append((0..10).map(|index| entry(1, index))).await.unwrap();
    let crashed = disk.after_power_cut(Survives::Nothing);
    let seal = Arc::new(Seal::new(&key));
    let given_up = CancellationToken::new();
    given_up.cancel();
    let opened = Disk::open(crashed.clone(), "log.redb".into(), seal, &given_up);
    assert!(matches!(opened.err(), Some(DiskError::GivenUp)));
    assert_eq!(open(&crashed, &key).unwrap().1.entries.len(), 10);
}

fn pulse() -> Arc<Pulse> {
    Arc::new(Pulse::new(Arc::new(SystemClock::new())))
}

fn store(disk: &FaultDisk, key: &Key, on_fatal: OnFatal) -> LogStore {
    let (disk, contents) = open(disk, key).unwrap();
    LogStore::new(disk, contents, no_snapshots(), pulse(), on_fatal).unwrap()
}

fn no_snapshots() -> Arc<Snapshots> {
    Snapshots::open(tempfile::tempdir().unwrap().path().to_owned(), Arc::new(Seal::new(&new_key()))).unwrap()
}

fn ignore() -> OnFatal {
    OnFatal::new(|_| {})
}

// ---- openraft's suite --------------------------------------------------------------------------

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let key = new_key();
        let snapshots = Snapshots::open(dir.path().to_owned(), Arc::new(Seal::new(&key))).unwrap();
        let machine = StateMachine::new(
            Arc::new(Store::default()),
            snapshots,
            None,
            1,
            skep_common::feature_level::FEATURE_LEVEL,
            TaskTracker::new(),
            ignore(),
        );
        Ok((dir, store(&FaultDisk::default(), &key, ignore()), machine))
    }
}

#[test]
fn openraft_is_content_with_log_and_state_machine() {
    Suite::test_all(Builder).unwrap();
}

// ---- a disk that fails -------------------------------------------------------------------------

/// What a restart finds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Durable {
    vote: Option<Vote>,
    log: Vec<LogId>,
}

impl From<&Contents> for Durable {
    fn from(contents: &Contents) -> Self {
        Self { vote: contents.vote, log: contents.entries.iter().map(|entry| entry.log_id).collect() }
    }
}

const STEPS: usize = 7;

/// One step of the life of a log. Each ends with something that is waited for, so it is durable as a whole or not at all.
async fn step(number: usize, log: &mut LogStore) -> Result<(), StorageError> {
    match number {
        0 => log.save_vote(&Vote::new(1, 1)).await,
        1 => log.blocking_append((0..4).map(|index| entry(1, index))).await,
        2 => log.save_vote(&Vote::new_committed(2, 3)).await,
        3 => log.truncate(log_id(1, 3)).await,
        4 => log.blocking_append([entry_with(2, 3, batch([(create_node("n"), 0)])), entry(2, 4)]).await,
        5 => {
            log.purge(log_id(1, 1)).await?;
            log.save_committed(Some(log_id(2, 3))).await?;
            log.blocking_append([entry(2, 5)]).await
        }
        6 => log.save_vote(&Vote::new(4, 2)).await,
        _ => unreachable!(),
    }
}

/// What is durable after each number of steps.
fn milestones() -> Vec<Durable> {
    let ids = |ids: &[(u64, u64)]| ids.iter().map(|(term, index)| log_id(*term, *index)).collect::<Vec<_>>();
    let first = ids(&[(1, 0), (1, 1), (1, 2), (1, 3)]);
    let cut = ids(&[(1, 0), (1, 1), (1, 2)]);
    let second = ids(&[(1, 0), (1, 1), (1, 2), (2, 3), (2, 4)]);
    let third = ids(&[(1, 2), (2, 3), (2, 4), (2, 5)]);
    let (a, b, c) = (Some(Vote::new(1, 1)), Some(Vote::new_committed(2, 3)), Some(Vote::new(4, 2)));
    let durable = |vote, log: &[LogId]| Durable { vote, log: log.to_vec() };
    vec![
        durable(None, &[]),
        durable(a, &[]),
        durable(a, &first),
        durable(b, &first),
        durable(b, &cut),
        durable(b, &second),
        durable(b, &third),
        durable(c, &third),
    ]
}

struct Life {
    disk: FaultDisk,
    key: Key,
    /// Steps that were acknowledged.
    acknowledged: usize,
    /// Whether the process was told to end.
    stopped: bool,
}

/// Lives through the steps on a new disk that fails at operation `at`.
async fn live(fault: Option<(usize, Fault)>) -> Life {
    let (disk, key) = (FaultDisk::default(), new_key());
    drop(open(&disk, &key).unwrap());
    let told = Arc::new(Mutex::new(false));
    let on_fatal = OnFatal::new({
        let told = told.clone();
        move |_| *told.lock().unwrap() = true
    });
    let mut log = store(&disk, &key, on_fatal);
    let (at, fault) = fault.unwrap_or((usize::MAX - 1, Fault::Fail));
    disk.plan(at, fault);
    let mut acknowledged = 0;
    for number in 0..STEPS {
        let result = step(number, &mut log).await;
        // When an operation is lost, the machine is off: nobody hears what comes after.
        if result.is_err() || fault == Fault::Lose && disk.is_broken() {
            break;
        }
        acknowledged += 1;
    }
    let disk_after = disk.clone();
    log.close().await;
    let stopped = *told.lock().unwrap();
    Life { disk: disk_after, key, acknowledged, stopped }
}

#[tokio::test]
async fn an_undisturbed_life_passes_every_milestone() {
    let (disk, key) = (FaultDisk::default(), new_key());
    for (number, milestone) in milestones().iter().enumerate().skip(1) {
        let mut log = store(&disk, &key, ignore());
        step(number - 1, &mut log).await.unwrap();
        log.close().await;
        drop(log);
        let (_, contents) = open(&disk, &key).unwrap();
        assert_eq!(Durable::from(&contents), *milestone, "after step {number}");
    }
    let (_, contents) = open(&disk, &key).unwrap();
    assert_eq!((contents.purged, contents.committed), (Some(log_id(1, 1)), Some(log_id(2, 3))));
}

/// Every write, truncation and sync fails, tears or is lost in turn; then the power goes, and of what was not synced
/// nothing, a part or all has arrived. What was acknowledged is there, and nothing is there by halves.
#[tokio::test]
async fn whatever_the_disk_does_what_was_acknowledged_survives() {
    let undisturbed = live(None).await;
    assert_eq!((undisturbed.acknowledged, undisturbed.stopped), (STEPS, false));
    let operations = undisturbed.disk.operations();
    assert!(operations > 2 * STEPS, "only {operations} operations");

    let milestones = milestones();
    let mut stops = 0;
    for at in 0..operations {
        for fault in [Fault::Fail, Fault::Tear, Fault::Lose] {
            let life = live(Some((at, fault))).await;
            let acknowledged = life.acknowledged;
            if acknowledged < STEPS && fault != Fault::Lose {
                assert!(life.stopped, "operation {at} {fault:?}: an error, and the process goes on");
                stops += 1;
            }
            for survives in [Survives::Nothing, Survives::EverySecond, Survives::Everything] {
                let disk = life.disk.after_power_cut(survives);
                let case = format!("operation {at} {fault:?}, {survives:?} survives, {acknowledged} acknowledged");
                let (_, contents) = open(&disk, &life.key).unwrap_or_else(|error| panic!("{case}: {error}"));
                let found = Durable::from(&contents);
                // The step that was not answered may have happened.
                let allowed = &milestones[acknowledged..(acknowledged + 2).min(milestones.len())];
                assert!(allowed.contains(&found), "{case}: {found:?}");
            }
        }
    }
    assert!(stops > operations, "most faults must be noticed: {stops} of {operations}");
}

#[tokio::test]
async fn after_an_error_nothing_is_acknowledged_any_more() {
    let (disk, key) = (FaultDisk::default(), new_key());
    let mut log = store(&disk, &key, ignore());
    log.save_vote(&Vote::new(1, 1)).await.unwrap();
    disk.plan(0, Fault::Fail);
    assert!(log.save_vote(&Vote::new(2, 1)).await.is_err());
    assert!(log.save_vote(&Vote::new(3, 1)).await.is_err());
    assert!(log.blocking_append([entry(1, 0)]).await.is_err());
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(1, 1)));
}

// ---- group commit ------------------------------------------------------------------------------

#[tokio::test]
async fn appends_that_pile_up_share_a_commit_and_are_readable_at_once() {
    const MANY: u64 = 50;
    let (disk, key) = (FaultDisk::default(), new_key());
    let mut log = store(&disk, &key, ignore());
    let before = disk.syncs();
    log.blocking_append([entry(1, 0)]).await.unwrap();
    let one_commit = disk.syncs() - before;

    disk.hold();
    let before = disk.syncs();
    let appends = (1..=MANY).map(|index| {
        let mut log = log.clone();
        async move { log.blocking_append([entry(1, index)]).await.unwrap() }
    });
    let mut appends = Box::pin(join_all(appends));
    assert!(futures::poll!(&mut appends).is_pending());
    assert_eq!(log.try_get_log_entries(..).await.unwrap().len() as u64, MANY + 1, "readable before durable");
    disk.release();
    appends.await;
    let commits = (disk.syncs() - before) / one_commit;
    assert!(commits <= 2, "{commits} commits for {MANY} appends");
}

#[tokio::test]
async fn what_nobody_waits_for_is_written_with_the_next_commit_or_at_the_end() {
    let (disk, key) = (FaultDisk::default(), new_key());
    let mut log = store(&disk, &key, ignore());
    log.blocking_append([entry(1, 0), entry(1, 1)]).await.unwrap();
    let before = disk.syncs();
    log.save_committed(Some(log_id(1, 1))).await.unwrap();
    log.purge(log_id(1, 0)).await.unwrap();
    assert_eq!(disk.syncs(), before);
    log.close().await;
    drop(log);
    let (_, contents) = open(&disk, &key).unwrap();
    assert_eq!((contents.committed, contents.purged), (Some(log_id(1, 1)), Some(log_id(1, 0))));
}

#[tokio::test]
async fn the_disk_keeps_what_follows_the_older_snapshot_as_long_as_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, key) = (FaultDisk::default(), new_key());
    let snapshots = Snapshots::open(dir.path().to_owned(), Arc::new(Seal::new(&key))).unwrap();
    let (opened, contents) = open(&disk, &key).unwrap();
    let mut log = LogStore::new(opened, contents, snapshots.clone(), pulse(), ignore()).unwrap();
    log.blocking_append((0..20).map(|index| entry(1, index))).await.unwrap();
    for index in [5, 15] {
        let meta = SnapshotMeta { last_log_id: Some(log_id(1, index)), ..SnapshotMeta::default() };
        snapshots.save(meta, &View::default()).unwrap();
    }
    let purged_on_disk = || open(&disk.after_power_cut(Survives::Everything), &key).unwrap().1.purged.unwrap().index;

    log.purge(log_id(1, 10)).await.unwrap();
    assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, Some(log_id(1, 10)));
    log.blocking_append([entry(1, 20)]).await.unwrap();
    assert_eq!(purged_on_disk(), 5);

    // The leader's snapshot covers everything and more.
    log.purge(log_id(2, 100)).await.unwrap();
    log.blocking_append([entry(2, 101)]).await.unwrap();
    assert_eq!(purged_on_disk(), 100);
}

#[tokio::test]
async fn a_busy_disk_shows() {
    let (disk, key) = (FaultDisk::default(), new_key());
    let (opened, contents) = open(&disk, &key).unwrap();
    let pulse = pulse();
    let log = LogStore::new(opened, contents, no_snapshots(), pulse.clone(), ignore()).unwrap();
    disk.hold();
    let writing = tokio::spawn({
        let mut log = log.clone();
        async move { log.save_vote(&Vote::new(1, 1)).await }
    });
    while pulse.busy_for().is_zero() {
        tokio::task::yield_now().await;
    }
    disk.release();
    writing.await.unwrap().unwrap();
    assert!(pulse.busy_for().is_zero());
}

#[tokio::test]
async fn a_message_to_a_follower_is_bounded_but_never_empty() {
    let (disk, key) = (FaultDisk::default(), new_key());
    let mut log = store(&disk, &key, ignore());
    let big = |index, bytes: usize| entry_with(1, index, crate::types::Batch::new(vec![7; bytes].into()));
    log.blocking_append([big(0, 2 * MAX_APPEND_BYTES), big(1, 300 << 10), big(2, 100 << 10), big(3, 200 << 10)])
        .await
        .unwrap();
    let mut sent = Vec::new();
    let mut start = 0;
    while start < 4 {
        let entries = log.limited_get_log_entries(start, 4).await.unwrap();
        start += entries.len() as u64;
        sent.push(entries.len());
    }
    assert_eq!(sent, [1, 2, 1]);
}

// ---- a long log --------------------------------------------------------------------------------

fn entry_of(index: u64, bytes: usize) -> Entry {
    entry_with(1, index, crate::types::Batch::new(vec![7; bytes].into()))
}

/// How many entries the file has, those included that are purged.
fn rows(disk: &Disk) -> usize {
    disk.entries(.., usize::MAX).unwrap().0.len()
}

/// Purges a log of `entries` entries of `bytes` each but for the last, with a crash of every kind after every commit. How many
/// entries each commit has removed.
fn purge_all_but_one(entries: u64, bytes: usize) -> Vec<usize> {
    let (backend, key) = (FaultDisk::default(), new_key());
    let (disk, _) = open(&backend, &key).unwrap();
    disk.commit([Op::Append((0..entries).map(|index| entry_of(index, bytes)).collect())].iter()).unwrap();

    let (upto, last) = (log_id(1, entries - 2), log_id(1, entries - 1));
    let mut swept = Vec::new();
    let purge = [Op::Purge(upto)];
    let mut ops = purge.iter();
    loop {
        let before = rows(&disk);
        disk.commit(ops).unwrap();
        swept.push(before - rows(&disk));
        for survives in [Survives::Nothing, Survives::EverySecond, Survives::Everything] {
            let crashed = backend.after_power_cut(survives);
            let (reopened, contents) = open(&crashed, &key).unwrap();
            assert_eq!((contents.purged, contents.last, contents.entries.len()), (Some(upto), Some(last), 1));
            // A new start goes on with it.
            let left = rows(&reopened);
            reopened.commit(std::iter::empty()).unwrap();
            assert!(rows(&reopened) == 1 || rows(&reopened) < left);
        }
        if !disk.is_unswept() {
            assert_eq!(rows(&disk), 1);
            return swept;
        }
        ops = [].iter();
    }
}

#[test]
fn the_purge_of_many_entries_takes_several_commits_and_a_crash_between_them_is_none() {
    let swept = purge_all_but_one(2 * disk::SWEPT_AT_ONCE as u64 + 10, 0);
    assert_eq!(swept, [disk::SWEPT_AT_ONCE, disk::SWEPT_AT_ONCE, 9]);
}

#[test]
fn the_purge_of_large_entries_takes_several_commits_though_they_are_few() {
    let swept = purge_all_but_one(6, disk::SWEPT_BYTES / 2);
    assert_eq!(swept, [2, 2, 1]);
}

#[tokio::test]
async fn what_was_appended_is_counted_as_the_file_has_it_and_a_purge_takes_nothing_back() {
    const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
    let (backend, key) = (FaultDisk::default(), new_key());
    let mut log = store(&backend, &key, ignore());
    log.blocking_append((0..5).map(|index| entry_of(index, 1000 * index as usize))).await.unwrap();
    log.close().await;
    let in_file: usize = {
        let database = Database::builder().create_with_backend(backend.clone()).unwrap();
        let log = redb::ReadableDatabase::begin_read(&database).unwrap().open_table(LOG).unwrap();
        redb::ReadableTable::iter(&log).unwrap().map(|row| row.unwrap().1.value().len()).sum()
    };
    assert!(in_file > 10_000);
    assert_eq!(log.appended_bytes(), in_file as u64);

    let mut log = store(&backend, &key, ignore());
    assert_eq!(log.appended_bytes(), 0);
    log.blocking_append([entry_of(5, 1000)]).await.unwrap();
    let counted = log.appended_bytes();
    assert!((1_000..2_000).contains(&counted), "{counted}");
    log.purge(log_id(1, 4)).await.unwrap();
    log.close().await;
    assert_eq!(log.appended_bytes(), counted);
}

#[tokio::test]
async fn a_start_holds_the_end_of_a_long_log_and_reads_what_is_before_it_when_asked() {
    const EACH: usize = known::TAIL_BYTES / 4;
    let (backend, key) = (FaultDisk::default(), new_key());
    let (disk, _) = open(&backend, &key).unwrap();
    disk.commit([Op::Append((0..12).map(|index| entry_of(index, EACH)).collect())].iter()).unwrap();
    drop(disk);

    let (disk, contents) = open(&backend, &key).unwrap();
    assert_eq!((contents.last, contents.entries.back().unwrap().log_id), (Some(log_id(1, 11)), log_id(1, 11)));
    let held: usize = contents.entries.iter().map(size_of_entry).sum();
    assert!(held > known::TAIL_BYTES / 2 && held <= known::TAIL_BYTES, "{held}");
    let mut log = LogStore::new(disk, contents, no_snapshots(), pulse(), ignore()).unwrap();
    let indexes: Vec<u64> = log.try_get_log_entries(..).await.unwrap().iter().map(|entry| entry.log_id.index).collect();
    assert!(indexes.into_iter().eq(0..12));
}

// ---- damage and theft --------------------------------------------------------------------------

async fn filled(disk: &FaultDisk, key: &Key) {
    let mut log = store(disk, key, ignore());
    log.save_vote(&Vote::new(3, 1)).await.unwrap();
    log.blocking_append((0..20).map(|index| entry_with(2, index, batch([(create_node("canary-in-a-mine"), 0)]))))
        .await
        .unwrap();
    log.close().await;
}

#[tokio::test]
async fn nothing_can_be_read_without_the_key() {
    let (disk, key) = (FaultDisk::default(), new_key());
    filled(&disk, &key).await;
    let bytes = disk.bytes();
    assert!(!bytes.windows(6).any(|window| window == b"canary"));
    let error = open(&disk, &new_key()).err().unwrap().to_string();
    assert!(error.ends_with("it was changed, or sealed with another key"), "{error}");
}

type LogTable<'a> = redb::Table<'a, u64, &'static [u8]>;

#[tokio::test]
async fn a_record_that_cannot_be_read_is_named_and_never_skipped() {
    const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
    let (disk, key) = (FaultDisk::default(), new_key());
    filled(&disk, &key).await;
    let seal = Seal::new(&key);
    let complaint = |edit: &dyn Fn(&mut LogTable<'_>)| {
        let disk = disk.after_power_cut(Survives::Everything);
        {
            let database = Database::builder().create_with_backend(disk.clone()).unwrap();
            let transaction = database.begin_write().unwrap();
            edit(&mut transaction.open_table(LOG).unwrap());
            transaction.commit().unwrap();
        }
        let error = open(&disk, &key).err().unwrap().at_start("/var/lib/raft/log.redb".as_ref());
        assert!(matches!(error, StartError::Damaged { .. }));
        error.to_string()
    };
    let at = "the Raft state in /var/lib/raft/log.redb is damaged at entry 19: ";
    let spoiled =
        complaint(&|log| drop(log.insert(19, b"no sealed value, though long enough for one".as_slice()).unwrap()));
    assert_eq!(spoiled, format!("{at}it was changed, or sealed with another key"));
    let junk = complaint(&|log| {
        drop(log.insert(19, seal.seal(Location::Entry(19), b"\xff\xff").as_slice()).unwrap());
    });
    assert_eq!(junk, format!("{at}malformed message: not a log entry"));
    let other = complaint(&|log| {
        let moved = seal.seal(Location::Entry(19), &crate::convert::encode_entry(&entry(2, 3)));
        drop(log.insert(19, moved.as_slice()).unwrap());
    });
    assert_eq!(other, format!("{at}it is another entry"));
    let missing = complaint(&|log| drop(log.remove(7).unwrap()));
    assert_eq!(missing, "the Raft state in /var/lib/raft/log.redb is damaged at entry 7: it is missing");
}

/// Single flipped bits anywhere in the file: found, or without effect.
#[tokio::test]
async fn a_flipped_bit_never_changes_the_log_unnoticed() {
    let (disk, key) = (FaultDisk::default(), new_key());
    filled(&disk, &key).await;
    let whole = open(&disk.after_power_cut(Survives::Everything), &key).unwrap().1.entries;
    let used = disk.bytes().iter().rposition(|byte| *byte != 0).unwrap();
    let mut noticed = 0;
    for offset in (0..used).step_by(61) {
        let disk = disk.after_power_cut(Survives::Everything);
        disk.flip(offset);
        let outcome = std::panic::catch_unwind(|| match open(&disk, &key) {
            Ok((_, contents)) => ControlFlow::Continue(contents),
            Err(_) => ControlFlow::Break(()),
        });
        match outcome {
            Ok(ControlFlow::Continue(contents)) => assert_eq!(contents.entries, whole, "byte {offset}"),
            Ok(ControlFlow::Break(())) | Err(_) => noticed += 1,
        }
    }
    assert!(noticed > 0);
}
