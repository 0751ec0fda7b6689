//! The directory of one member: its key, its log, its snapshots.
//!
//! `raft.key` (0600) is the data key that everything else is sealed with; `log.redb` is the log; `snapshots/` has the
//! snapshots. The directory is the member's as soon as the log names its owner. A part that is missing then means that a
//! vote or an acknowledged entry may be lost, and the member must not come back.

use std::{
    fs,
    fs::OpenOptions,
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use skep_common::{
    durable::{sync_dir, write_atomic},
    secret::Secret,
};
use skep_store::View;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use zeroize::Zeroizing;

use crate::{
    error::StartError,
    log_store::{Contents, Disk, DiskError, Owner},
    seal::{KEY_BYTES, Key, Seal, new_key},
    snapshot::{Description, Loaded, SnapshotError, Snapshots},
};

const KEY: &str = "raft.key";
const LOG: &str = "log.redb";
const SNAPSHOTS: &str = "snapshots";

/// An opened directory.
pub(crate) struct Opened {
    pub(crate) seal: Arc<Seal>,
    pub(crate) owner: Owner,
    pub(crate) disk: Disk,
    pub(crate) contents: Contents,
    pub(crate) snapshots: Arc<Snapshots>,
    /// The state to begin with; the log has everything after it.
    pub(crate) newest: Option<(Arc<Description>, View)>,
}

/// Makes the directory of a new member.
pub(crate) fn create(dir: &Path, owner: Owner) -> Result<(), StartError> {
    if is_owned(dir)? {
        return Err(StartError::Occupied { dir: dir.to_owned() });
    }
    let made = || -> io::Result<Key> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        for left_over in [KEY, LOG] {
            ignore_missing(fs::remove_file(dir.join(left_over)))?;
        }
        ignore_missing(fs::remove_dir_all(dir.join(SNAPSHOTS)))?;
        let key = new_key();
        write_atomic(&dir.join(KEY), key.expose(), 0o600)?;
        Ok(key)
    };
    let key = made().map_err(|source| io_error(dir, source))?;
    let log = dir.join(LOG);
    let made =
        open_disk(&log, Arc::new(Seal::new(&key)), &CancellationToken::new()).and_then(|disk| disk.set_owner(owner));
    made.map_err(|error| error.at_start(&log))?;
    let durable = || -> io::Result<()> {
        sync_dir(dir)?;
        dir.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_dir)
    };
    durable().map_err(|source| io_error(dir, source))
}

/// Whether a member lives here.
fn is_owned(dir: &Path) -> Result<bool, StartError> {
    let (Some(key), log) = (read_key(dir)?, dir.join(LOG)) else { return Ok(false) };
    if !log.exists() {
        return Ok(false);
    }
    let disk =
        open_disk(&log, Arc::new(Seal::new(&key)), &CancellationToken::new()).map_err(|error| error.at_start(&log))?;
    Ok(disk.owner().map_err(|error| error.at_start(&log))?.is_some())
}

/// Opens the directory of a member that ran before, and checks all of it; as long as nobody gives that up.
pub(crate) fn open(dir: &Path, node_id: &str, give_up: &CancellationToken) -> Result<Opened, StartError> {
    let wiped = |missing| StartError::Wiped { dir: dir.to_owned(), missing };
    let log = dir.join(LOG);
    let key = read_key(dir)?.ok_or_else(|| wiped("its key"))?;
    if !log.exists() {
        return Err(wiped("its log"));
    }
    let seal = Arc::new(Seal::new(&key));
    let disk = open_disk(&log, seal.clone(), give_up).map_err(|error| error.at_start(&log))?;
    let mut contents = disk.contents(give_up).map_err(|error| error.at_start(&log))?;
    let owner = contents.owner.clone().ok_or_else(|| wiped("the record of its owner"))?;
    if owner.node_id != node_id {
        return Err(StartError::OtherNode { dir: dir.to_owned(), owner: owner.node_id });
    }
    let snapshots = Snapshots::open(dir.join(SNAPSHOTS), seal.clone()).map_err(|source| io_error(dir, source))?;
    let loaded = snapshots.load(give_up).map_err(|source| io_error(dir, source))?;
    if give_up.is_cancelled() {
        return Err(StartError::GivenUp);
    }
    let newest = start_of_log(dir, &contents, loaded)?;
    if let Some((snapshot, _)) = &newest {
        join(&disk, &mut contents, snapshot).map_err(|error| error.at_start(&log))?;
    }
    Ok(Opened { seal, owner, disk, contents, snapshots, newest })
}

/// The newest snapshot that can be read, if the log goes on from it.
fn start_of_log(
    dir: &Path,
    contents: &Contents,
    loaded: Loaded,
) -> Result<Option<(Arc<Description>, View)>, StartError> {
    let Loaded { newest, unreadable } = loaded;
    if contents.purged <= newest.as_ref().and_then(|(snapshot, _)| snapshot.meta.last_log_id) {
        return Ok(newest);
    }
    match unreadable {
        None => Err(StartError::Wiped { dir: dir.to_owned(), missing: "its snapshot" }),
        Some(unreadable) => {
            let (location, reason) = match unreadable.error {
                SnapshotError::Damaged { location, reason } => (location, reason),
                error => ("its content".into(), error.to_string()),
            };
            Err(StartError::Damaged { file: unreadable.file, location, reason })
        }
    }
}

/// A snapshot from the leader is on disk before the log is told of it. If the process ended in between, the log may still
/// hold entries of a leader that had been overruled; the snapshot, which holds only what was committed, says so.
fn join(disk: &Disk, contents: &mut Contents, snapshot: &Description) -> Result<(), DiskError> {
    let Some(last) = snapshot.meta.last_log_id else { return Ok(()) };
    let is_purged = contents.purged >= Some(last);
    if !is_purged && disk.log_id_at(last.index)?.is_some_and(|own| own != last) {
        warn!(%last, "the log contradicts the snapshot that was received last; what was overruled is dropped");
        disk.start_after(contents, last)?;
    }
    Ok(())
}

fn open_disk(path: &Path, seal: Arc<Seal>, give_up: &CancellationToken) -> Result<Disk, DiskError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    Disk::open_file(file.map_err(|error| DiskError::Redb(error.into()))?, path.to_owned(), seal, give_up)
}

fn read_key(dir: &Path) -> Result<Option<Key>, StartError> {
    let path = dir.join(KEY);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => Zeroizing::new(bytes.map_err(|source| io_error(dir, source))?),
    };
    match <[u8; KEY_BYTES]>::try_from(bytes.as_slice()) {
        Ok(key) => Ok(Some(Secret::new(key))),
        Err(_) => {
            let reason = format!("it has {} bytes, not {KEY_BYTES}", bytes.len());
            Err(StartError::Damaged { file: path, location: "the key".into(), reason })
        }
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn io_error(dir: &Path, source: io::Error) -> StartError {
    StartError::Io { dir: PathBuf::from(dir), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use openraft::storage::RaftLogStorageExt as _;
    use skep_common::clock::SystemClock;

    use super::*;
    use crate::{
        OnFatal,
        log_store::{LogStore, Pulse},
        testing::{entry, log_id, view_of},
        types::{SnapshotMeta, StoredMembership},
    };

    fn owner() -> Owner {
        Owner { node_id: "node".into(), raft_id: 7 }
    }

    fn meta(term: u64, index: u64) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: Some(log_id(term, index)),
            last_membership: StoredMembership::default(),
            snapshot_id: format!("{term}-{index}"),
        }
    }

    async fn fill(opened: Opened, entries: u64, purge: Option<u64>) {
        let pulse = Arc::new(Pulse::new(Arc::new(SystemClock::new())));
        let mut log = LogStore::new(opened.disk, opened.contents, opened.snapshots, pulse, OnFatal::default()).unwrap();
        log.blocking_append((0..entries).map(|index| entry(1, index))).await.unwrap();
        if let Some(index) = purge {
            openraft::storage::RaftLogStorage::purge(&mut log, log_id(1, index)).await.unwrap();
        }
        log.close().await;
    }

    fn modes(dir: &Path) -> Vec<u32> {
        let mut modes: Vec<u32> = Vec::new();
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            modes.push(fs::metadata(&path).unwrap().permissions().mode() & 0o777);
            if path.is_dir() {
                modes.extend(self::modes(&path));
            }
        }
        modes
    }

    #[test]
    fn nobody_else_can_read_anything() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("raft");
        create(&dir, owner()).unwrap();
        let opened = open(&dir, "node", &CancellationToken::new()).unwrap();
        opened.snapshots.save(meta(1, 1), &view_of(1)).unwrap();
        assert_eq!(opened.owner, owner());
        assert!(modes(home.path()).iter().all(|mode| mode & 0o077 == 0), "{:?}", modes(home.path()));
    }

    #[test]
    fn a_half_made_directory_is_made_again_and_a_whole_one_is_not() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        fs::write(dir.join(KEY), [1; KEY_BYTES]).unwrap();
        create(dir, owner()).unwrap();
        assert!(matches!(create(dir, owner()), Err(StartError::Occupied { .. })));
        assert!(matches!(open(dir, "other", &CancellationToken::new()), Err(StartError::OtherNode { .. })));
    }

    #[tokio::test]
    async fn what_is_given_up_is_closed_and_as_it_was() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        create(dir, owner()).unwrap();
        let opened = open(dir, "node", &CancellationToken::new()).unwrap();
        opened.snapshots.save(meta(1, 5), &view_of(5)).unwrap();
        fill(opened, 10, None).await;
        let given_up = CancellationToken::new();
        given_up.cancel();
        assert!(matches!(open(dir, "node", &given_up), Err(StartError::GivenUp)));
        let opened = open(dir, "node", &CancellationToken::new()).unwrap();
        assert!(matches!(opened.disk.contents(&given_up), Err(DiskError::GivenUp)));
        let loaded = opened.snapshots.load(&given_up).unwrap();
        assert!(loaded.newest.is_none() && loaded.unreadable.is_none(), "nothing was read, and nothing is damaged");
        assert_eq!(opened.newest.unwrap().0.meta.last_log_id, Some(log_id(1, 5)));
        assert_eq!(opened.contents.entries.len(), 10);
    }

    #[tokio::test]
    async fn a_log_that_begins_after_the_newest_snapshot_is_not_whole() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        create(dir, owner()).unwrap();
        let opened = open(dir, "node", &CancellationToken::new()).unwrap();
        opened.snapshots.save(meta(1, 8), &view_of(8)).unwrap();
        fill(opened, 10, Some(5)).await;
        assert_eq!(open(dir, "node", &CancellationToken::new()).unwrap().contents.entries.len(), 4);
        fs::remove_dir_all(dir.join(SNAPSHOTS)).unwrap();
        let error = open(dir, "node", &CancellationToken::new()).err().unwrap();
        assert!(matches!(error, StartError::Wiped { missing: "its snapshot", .. }), "{error}");
    }

    #[tokio::test]
    async fn a_snapshot_overrules_a_log_that_contradicts_it() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        create(dir, owner()).unwrap();
        fill(open(dir, "node", &CancellationToken::new()).unwrap(), 10, None).await;
        // Agrees with the log: all of it stays.
        open(dir, "node", &CancellationToken::new()).unwrap().snapshots.save(meta(1, 4), &view_of(4)).unwrap();
        assert_eq!(open(dir, "node", &CancellationToken::new()).unwrap().contents.entries.len(), 10);
        // A later leader had another entry there.
        open(dir, "node", &CancellationToken::new()).unwrap().snapshots.save(meta(2, 6), &view_of(6)).unwrap();
        for _ in 0..2 {
            let opened = open(dir, "node", &CancellationToken::new()).unwrap();
            assert!(opened.contents.entries.is_empty());
            assert_eq!(opened.contents.purged, Some(log_id(2, 6)));
        }
    }
}
