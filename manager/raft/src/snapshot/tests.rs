//! Snapshots on disk: what is kept, what damage does, how a transfer goes on.

use skep_common::{durable::power_cut, limits::SNAPSHOT_CHUNK_BYTES};
use tempfile::TempDir;

use super::*;
use crate::{
    seal::new_key,
    testing::{log_id, view_of},
    types::StoredMembership,
};

struct Home {
    dir: TempDir,
    seal: Arc<Seal>,
}

impl Home {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), seal: Arc::new(Seal::new(&new_key())) }
    }

    fn open(&self) -> Arc<Snapshots> {
        Snapshots::open(self.dir.path().to_owned(), self.seal.clone()).unwrap()
    }

    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.dir.path()).unwrap().map(|file| file.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|found| found == extension));
        files.sort();
        files
    }
}

fn meta(index: u64) -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(log_id(1, index)),
        last_membership: StoredMembership::default(),
        snapshot_id: format!("snapshot-{index}"),
    }
}

/// A state of four chunks: the long text is both id and name.
fn big_view() -> View {
    view_of(1).apply(2, &crate::testing::create_node(&"n".repeat(3 * SNAPSHOT_CHUNK_BYTES / 2))).unwrap().0
}

fn newest_index(loaded: &Loaded) -> Option<u64> {
    loaded.newest.as_ref().map(|(description, _)| description.meta.last_log_id.unwrap().index)
}

fn spoil(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn the_newest_two_are_kept_and_found_again() {
    let home = Home::new();
    let snapshots = home.open();
    for index in [10, 20, 30] {
        snapshots.save(meta(index), &view_of(index)).unwrap();
    }
    assert_eq!(home.files("data").len(), 2);
    let reopened = home.open();
    let loaded = reopened.load(&CancellationToken::new()).unwrap();
    assert_eq!(newest_index(&loaded), Some(30));
    assert_eq!(loaded.newest.unwrap().1.node_count(), 30);
    assert_eq!(reopened.newest().unwrap().description.meta, meta(30));
    reopened.keep_newest();
    assert_eq!(home.files("meta").len(), 1);
}

#[test]
fn a_damaged_newest_gives_way_to_the_one_before() {
    for extension in ["data", "meta"] {
        let home = Home::new();
        let snapshots = home.open();
        snapshots.save(meta(10), &view_of(10)).unwrap();
        snapshots.save(meta(20), &view_of(20)).unwrap();
        spoil(&home.files(extension)[1]);
        let loaded = home.open().load(&CancellationToken::new()).unwrap();
        assert_eq!(newest_index(&loaded), Some(10));
        let unreadable = loaded.unreadable.unwrap();
        assert!(unreadable.file.to_str().unwrap().contains("00020-"));
        assert!(unreadable.error.to_string().contains("changed, or sealed with another key"), "{}", unreadable.error);
    }
}

#[test]
fn every_cut_and_every_swap_of_chunks_is_noticed() {
    let home = Home::new();
    let snapshots = home.open();
    let view = big_view();
    let snapshot = snapshots.save(meta(9), &view).unwrap();
    assert_eq!(snapshot.description.chunks(), 4);
    assert_eq!(snapshot.load(&CancellationToken::new()).unwrap().version(), view.version());
    let path = &home.files("data")[0];
    let whole = fs::read(path).unwrap();
    let sealed = whole.len() / 4 + 1;
    for cut in [0, 1, sealed, whole.len() - 1] {
        fs::write(path, &whole[..cut]).unwrap();
        assert!(home.open().load(&CancellationToken::new()).unwrap().newest.is_none(), "cut to {cut}");
    }
    let size = SNAPSHOT_CHUNK_BYTES + crate::seal::OVERHEAD;
    let mut swapped = whole[size..2 * size].to_vec();
    swapped.extend_from_slice(&whole[..size]);
    swapped.extend_from_slice(&whole[2 * size..]);
    fs::write(path, swapped).unwrap();
    assert!(home.open().load(&CancellationToken::new()).unwrap().newest.is_none());
}

#[test]
fn a_half_written_snapshot_is_none_and_is_cleared_away() {
    let home = Home::new();
    home.open().save(meta(10), &view_of(3)).unwrap();
    // Cut off before its description was there, while it was written, and while the description was.
    fs::write(home.dir.path().join(format!("{:020}-0123456789abcdef.data", 20)), b"data").unwrap();
    fs::write(home.dir.path().join(format!("{:020}-0123456789abcdef.part", 30)), b"part").unwrap();
    fs::write(home.dir.path().join(".x.meta.tmp"), b"tmp").unwrap();
    let snapshots = home.open();
    assert_eq!(newest_index(&snapshots.load(&CancellationToken::new()).unwrap()), Some(10));
    snapshots.save(meta(40), &view_of(4)).unwrap();
    assert_eq!(home.files("data").len(), 2);
    assert!(home.files("part").is_empty() && home.files("tmp").is_empty());
}

#[test]
fn a_transfer_goes_on_where_it_broke_off() {
    let (there, here) = (Home::new(), Home::new());
    let sent = there.open().save(meta(9), &big_view()).unwrap();
    let description = Description::clone(&sent.description);

    let mut incoming = Incoming::open(here.open(), description.clone()).unwrap();
    assert_eq!(incoming.have(), 0);
    incoming.push(0, &sent.chunk(0).unwrap()).unwrap();
    incoming.push(incoming.have(), &sent.chunk(1).unwrap()).unwrap();
    drop(incoming);
    // A crash tears the last chunk.
    let part = &here.files("part")[0];
    let length = fs::metadata(part).unwrap().len();
    OpenOptions::new().write(true).open(part).unwrap().set_len(length - 1).unwrap();

    let mut incoming = Incoming::open(here.open(), description.clone()).unwrap();
    assert_eq!(incoming.have(), SNAPSHOT_CHUNK_BYTES as u64);
    let out_of_order = incoming.push(2 * SNAPSHOT_CHUNK_BYTES as u64, &sent.chunk(2).unwrap());
    assert!(matches!(out_of_order, Err(SnapshotError::Damaged { .. })));
    for number in 1..4 {
        assert!(!incoming.is_complete());
        incoming.push(incoming.have(), &sent.chunk(number).unwrap()).unwrap();
    }
    assert!(incoming.is_complete());
    let (received, view) = incoming.finish(&CancellationToken::new()).unwrap();
    assert_eq!((&*received.description, view.node_count()), (&description, 2));

    let loaded = here.open().load(&CancellationToken::new()).unwrap();
    assert_eq!(newest_index(&loaded), Some(9));
    assert!(here.files("part").is_empty());
}

#[test]
fn what_is_not_what_was_announced_is_given_up() {
    let (there, here) = (Home::new(), Home::new());
    let sent = there.open().save(meta(9), &view_of(5)).unwrap();
    let mut description = Description::clone(&sent.description);
    description.sha256[0] ^= 1;
    let snapshots = here.open();
    let mut incoming = Incoming::open(snapshots.clone(), description).unwrap();
    incoming.push(0, &sent.chunk(0).unwrap()).unwrap();
    assert_eq!(incoming.finish(&CancellationToken::new()).unwrap_err().to_string(), "content: its digest is another");
    assert!(here.files("part").is_empty());
    assert!(snapshots.newest().is_none());
}

#[test]
fn another_snapshot_takes_the_place_of_a_broken_off_one() {
    let (there, here) = (Home::new(), Home::new());
    let older = there.open().save(meta(9), &big_view()).unwrap();
    let newer = there.open().save(meta(12), &big_view()).unwrap();
    let mut incoming = Incoming::open(here.open(), Description::clone(&older.description)).unwrap();
    incoming.push(0, &older.chunk(0).unwrap()).unwrap();
    drop(incoming);
    assert_eq!(Incoming::open(here.open(), Description::clone(&newer.description)).unwrap().have(), 0);
    assert_eq!(here.files("part").len(), 1);
}

#[test]
fn nothing_can_be_read_without_the_key() {
    let home = Home::new();
    home.open().save(meta(9), &view_of(50)).unwrap();
    for file in fs::read_dir(home.dir.path()).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(7).any(|window| window == b"name-of"));
    }
    let other = Snapshots::open(home.dir.path().to_owned(), Arc::new(Seal::new(&new_key()))).unwrap();
    assert!(other.load(&CancellationToken::new()).unwrap().newest.is_none());
}

/// Whenever the power goes while a snapshot is written, there is one to start from; and the new one when it was acknowledged.
#[test]
fn a_power_cut_leaves_the_old_or_the_new_snapshot() {
    for kept in [1, 2] {
        let home = Home::new();
        let snapshots = home.open();
        for index in 1..=kept {
            snapshots.save(meta(index * 10), &view_of(3)).unwrap();
        }
        let (saved, cuts) = power_cut::record(home.dir.path(), || snapshots.save(meta(90), &big_view()));
        saved.unwrap();
        assert!(cuts.len() >= 4, "{} places", cuts.len());
        let last = cuts.len() - 1;
        for (number, cut) in cuts.iter().enumerate() {
            for left in cut.outcomes() {
                let after = tempfile::tempdir().unwrap();
                left.write_to(after.path()).unwrap();
                let snapshots = Snapshots::open(after.path().to_owned(), home.seal.clone()).unwrap();
                let found = newest_index(&snapshots.load(&CancellationToken::new()).unwrap());
                let wanted: &[u64] = if number == last { &[90] } else { &[kept * 10, 90] };
                assert!(found.is_some_and(|found| wanted.contains(&found)), "place {number}: {found:?}");
            }
        }
    }
}

#[test]
fn a_snapshot_that_cannot_be_written_leaves_nothing_and_can_be_written_again() {
    let home = Home::new();
    let snapshots = home.open();
    snapshots.save(meta(10), &view_of(3)).unwrap();
    let moved = home.dir.path().with_extension("away");
    fs::rename(home.dir.path(), &moved).unwrap();
    let failed = snapshots.save(meta(20), &view_of(4));
    snapshots.note(&failed);
    failed.unwrap_err();
    assert!(snapshots.trouble().borrow().is_some());
    fs::rename(&moved, home.dir.path()).unwrap();
    assert_eq!(newest_index(&home.open().load(&CancellationToken::new()).unwrap()), Some(10));
    let saved = snapshots.save(meta(20), &view_of(4));
    snapshots.note(&saved);
    assert!(snapshots.trouble().borrow().is_none());
    assert_eq!(newest_index(&home.open().load(&CancellationToken::new()).unwrap()), Some(20));
}

#[test]
fn a_snapshot_that_comes_late_does_not_go_behind_a_newer_one() {
    let home = Home::new();
    let snapshots = home.open();
    snapshots.save(meta(30), &view_of(3)).unwrap();
    snapshots.keep_newest();
    snapshots.save(meta(20), &view_of(2)).unwrap();
    assert_eq!(snapshots.oldest(), meta(30).last_log_id, "the log before it is gone");
    assert_eq!(home.files("data").len(), 1);
    assert!(home.files("part").is_empty());
}

/// One writes its own, one receives another: neither takes the other's away.
#[test]
fn two_that_write_at_once_lose_nothing() {
    let (there, here) = (Home::new(), Home::new());
    let snapshots = here.open();
    for round in 0..20 {
        let sent = there.open().save(meta(round * 10 + 5), &view_of(2)).unwrap();
        let mut incoming = Incoming::open(snapshots.clone(), Description::clone(&sent.description)).unwrap();
        incoming.push(0, &sent.chunk(0).unwrap()).unwrap();
        let own = std::thread::scope(|scope| {
            let own = scope.spawn(|| snapshots.save(meta(round * 10 + 6), &view_of(3)).map(drop));
            incoming.finish(&CancellationToken::new()).unwrap();
            own.join().unwrap()
        });
        own.unwrap();
        assert_eq!(
            newest_index(&here.open().load(&CancellationToken::new()).unwrap()),
            Some(round * 10 + 6),
            "round {round}"
        );
    }
}
