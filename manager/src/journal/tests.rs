//! The journal on a real directory: order, bounds, and what is left after a crash or damage.

use std::{
    fs,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use skep_common::clock::{ManualClock, Timestamp};
use skep_proto::v1::{JournalEntry, Node};
use skep_raft::Vault;
use skep_store::{TxBuilder, View};
use tempfile::TempDir;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

struct Home {
    dir: TempDir,
    vault: Vault,
    limits: Limits,
}

impl Home {
    fn new() -> Self {
        let limits = Limits { age: Duration::MAX, ..Limits::default() };
        Self { dir: tempfile::tempdir().unwrap(), vault: Vault::ephemeral(), limits }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn open(&self) -> Log {
        let mut log = self.log();
        log.open(NOW);
        log
    }

    fn log(&self) -> Log {
        Log::new(self.path().join("journal"), self.vault.clone(), self.limits)
    }

    fn journal(&self) -> Journal {
        Journal::new(self.path().join("journal"), self.vault.clone())
    }

    /// Versions about service `s`, newest first.
    fn versions(&self) -> Vec<u64> {
        let found = self.journal().newest(&About::Service("s".into()), Timestamp(0), 10_000).unwrap();
        found.into_iter().map(|entry| entry.version).collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> =
            fs::read_dir(self.path().join("journal")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

fn entry(version: u64) -> JournalEntry {
    JournalEntry {
        at: NOW.as_nanos(),
        version,
        service_id: "s".into(),
        task_id: format!("t{version}"),
        node_id: format!("n{}", version % 2),
        slot: version % 3,
        text: "canary".into(),
        ..JournalEntry::default()
    }
}

fn entries(versions: std::ops::RangeInclusive<u64>) -> Vec<JournalEntry> {
    versions.map(entry).collect()
}

#[test]
fn entries_come_back_newest_first_and_only_those_asked_for() {
    let home = Home::new();
    let mut log = home.open();
    log.append(&entries(1..=9), NOW);
    let other = JournalEntry { service_id: "other".into(), ..entry(10) };
    log.append(&[other], NOW);
    let asked = |about: About, limit| {
        let found = home.journal().newest(&about, Timestamp(0), limit).unwrap();
        found.into_iter().map(|entry| entry.version).collect::<Vec<_>>()
    };
    assert_eq!(asked(About::Service("s".into()), 3), [9, 8, 7]);
    assert_eq!(asked(About::Task("t4".into()), 3), [4]);
    let place = |slot, node: &str| About::Place { service: "s".into(), slot, node: node.into() };
    assert_eq!(asked(place(2, ""), 9), [8, 5, 2]);
    assert_eq!(asked(place(0, "n1"), 9), [9, 7, 5, 3, 1]);
    let later = home.journal().newest(&About::Service("s".into()), NOW + Duration::from_secs(1), 9).unwrap();
    assert_eq!(later, [], "what is too old is not shown");
}

#[test]
fn nothing_in_it_can_be_read_and_nobody_else_may_try() {
    let home = Home::new();
    home.open().append(&entries(1..=9), NOW);
    for file in home.files() {
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"canary"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o077, 0);
    }
    assert_eq!(fs::metadata(home.path().join("journal")).unwrap().permissions().mode() & 0o077, 0);
    let stranger = Journal::new(home.path().join("journal"), Vault::ephemeral());
    assert_eq!(stranger.newest(&About::Service("s".into()), Timestamp(0), 9).unwrap(), []);
}

#[test]
fn a_version_is_written_once_whatever_is_restarted() {
    let home = Home::new();
    let mut log = home.open();
    log.append(&entries(1..=3), NOW);
    log.append(&entries(2..=4), NOW);
    let mut log = home.open();
    assert_eq!(log.last(), 4);
    log.append(&entries(3..=5), NOW);
    // All that one version did belongs together.
    log.append(&[entry(6), entry(6)], NOW);
    assert_eq!(home.versions(), [6, 6, 5, 4, 3, 2, 1]);
    assert_eq!(home.files().len(), 1, "a whole file is continued");
}

#[test]
fn a_torn_last_record_is_dropped_and_nothing_is_written_behind_it() {
    let home = Home::new();
    home.open().append(&entries(1..=3), NOW);
    let file = home.files().remove(0);
    let whole = fs::metadata(&file).unwrap().len();
    for cut in [1, 20, whole / 3 - 1] {
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() - cut as usize]).unwrap();
        assert_eq!(home.versions(), [2, 1], "cut by {cut}");
        fs::write(&file, bytes).unwrap();
    }
    fs::File::options().write(true).open(&file).unwrap().set_len(whole - 1).unwrap();
    let mut log = home.open();
    assert_eq!(log.last(), 2);
    log.append(&entries(3..=4), NOW);
    assert_eq!(home.versions(), [4, 3, 2, 1]);
}

#[test]
fn damage_costs_the_rest_of_its_file_and_no_other() {
    let mut home = Home::new();
    home.limits.segment_bytes = 200;
    home.open().append(&entries(1..=20), NOW);
    let whole = home.versions();
    assert!(home.files().len() > 3, "{}", home.files().len());
    let file = &home.files()[1];
    let length = fs::metadata(file).unwrap().len();
    fs::File::options().write(true).open(file).unwrap().write_all_at(&[0xff], length / 2).unwrap();
    let left = home.versions();
    assert!(left.len() < whole.len() && left.starts_with(&[20, 19]) && left.ends_with(&[2, 1]), "{left:?}");
    assert_eq!(home.open().last(), 20);
}

#[test]
fn size_and_age_are_bounded() {
    let mut home = Home::new();
    home.limits = Limits { segment_bytes: 1000, total_bytes: 5000, ..home.limits };
    let mut log = home.open();
    for version in 1..=500 {
        log.append(&[entry(version)], NOW);
        let total: u64 = home.files().iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        assert!(total <= home.limits.total_bytes + 200, "{total} bytes at {version}");
    }
    let kept = home.versions();
    assert!(kept.len() > 10 && kept.len() < 60 && kept[0] == 500, "{kept:?}");

    // A day later another file is begun; a month later the old ones are gone.
    home.limits = Limits::default();
    let now = Timestamp::from(std::time::SystemTime::now());
    let mut log = home.log();
    log.open(now);
    let before = home.files().len();
    log.append(&entries(501..=501), now);
    assert_eq!(home.files().len(), before + 1);
    log.append(&entries(502..=502), now + 31 * Duration::from_secs(24 * 3600));
    assert_eq!(home.versions(), [502, 501]);
}

#[test]
fn a_disk_that_cannot_be_written_stops_nobody() {
    let home = Home::new();
    fs::write(home.path().join("journal"), "a file where the directory should be").unwrap();
    let mut log = home.open();
    log.append(&entries(1..=3), NOW);
    assert_eq!(log.last(), 0);
    fs::remove_file(home.path().join("journal")).unwrap();
    log.append(&entries(4..=5), NOW);
    assert_eq!(home.versions(), [5, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_is_written_down_and_what_was_missed_is_told_by_how_it_stands() {
    let home = Home::new();
    home.open().append(&entries(1..=1), NOW);
    let store = Store::new(View::default());
    let keep = |stop: &CancellationToken| {
        let clock = Arc::new(ManualClock::new(NOW));
        tokio::spawn(keep(home.log(), store.clone(), clock, stop.clone()))
    };
    let mut expected = vec![(1, "canary".to_owned())];
    let standing = "not heard of yet by the leader";

    create(&store, 1);
    create(&store, 2);
    let stop = CancellationToken::new();
    let kept = keep(&stop);
    expected.push((2, standing.to_owned()));
    said(&home, &expected).await;
    create(&store, 3);
    expected.push((3, "joined the swarm as a worker".to_owned()));
    said(&home, &expected).await;
    stop.cancel();
    kept.await.unwrap();

    create(&store, 4);
    let stop = CancellationToken::new();
    let kept = keep(&stop);
    expected.push((4, standing.to_owned()));
    said(&home, &expected).await;

    // A snapshot from the leader takes the place of what this manager had.
    let ahead = Store::new(store.view());
    create(&ahead, 5);
    store.replace(ahead.view());
    expected.push((5, standing.to_owned()));
    said(&home, &expected).await;
    stop.cancel();
    kept.await.unwrap();
}

fn create(store: &Store, version: u64) {
    let view = store.view();
    let mut tx = TxBuilder::new(&view, NOW);
    tx.create(Node { id: format!("n{version}"), ..Node::default() });
    store.commit(version, &tx.build()).unwrap();
}

async fn said(home: &Home, expected: &[(u64, String)]) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while texts(home) != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "{:?} is not {expected:?}", texts(home));
}

/// Version and text of everything, oldest first.
fn texts(home: &Home) -> Vec<(u64, String)> {
    let dir = home.path().join("journal");
    let mut found = Vec::new();
    for number in segment::list(&dir).unwrap_or_default() {
        for record in segment::read(&dir, number, &home.vault).unwrap().records {
            found.extend(record.entries.into_iter().map(|entry| (entry.version, entry.text)));
        }
    }
    found
}
