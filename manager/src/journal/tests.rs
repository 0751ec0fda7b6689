//! The journal on a real directory: order, bounds, and what is left after a crash or damage.

mod filling;

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

use super::{log::MAX_VERSION_ENTRIES, *};

const NOW: Timestamp = Timestamp::from_secs(1_000_000_000);

struct Home {
    dir: TempDir,
    vault: Vault,
    limits: Limits,
}

impl Home {
    fn new() -> Self {
        let limits = Limits { age: Duration::MAX, file_bytes: 0, ..Limits::default() };
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

    fn keeper(&self) -> Keeper {
        Keeper::new(self.log(), Arc::new(ManualClock::new(NOW)))
    }

    fn journal(&self) -> Journal {
        Journal::new(self.path().join("journal"), self.vault.clone())
    }

    /// Versions about service `s`, newest first.
    fn versions(&self) -> Vec<u64> {
        let found = self.journal().newest(&About::Service("s".into()), Timestamp(0), 10_000).unwrap();
        found.into_iter().map(|entry| entry.version).collect()
    }

    /// What is missing.
    fn gaps(&self) -> Vec<(u64, u64)> {
        self.journal().gaps().unwrap().into_iter().map(|gap| (gap.after, gap.upto)).collect()
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

/// Writes down entries, and that there is nothing more to tell of their versions.
fn append(log: &mut Log, entries: &[JournalEntry]) {
    log.append(entries, entries.last().unwrap().version, NOW);
}

fn entries(versions: std::ops::RangeInclusive<u64>) -> Vec<JournalEntry> {
    versions.map(entry).collect()
}

#[test]
fn entries_come_back_newest_first_and_only_those_asked_for() {
    let home = Home::new();
    let mut log = home.open();
    append(&mut log, &entries(1..=9));
    let other = JournalEntry { service_id: "other".into(), ..entry(10) };
    append(&mut log, &[other]);
    let asked = |about: About, limit| {
        let found = home.journal().newest(&about, Timestamp(0), limit).unwrap();
        found.into_iter().map(|entry| entry.version).collect::<Vec<_>>()
    };
    assert_eq!(asked(About::Service("s".into()), 3), [9, 8, 7]);
    assert_eq!(asked(About::Task("t4".into()), 3), [4]);
    let of_slot = |slot, node: &str| About::Slot { service: "s".into(), slot, node: node.into() };
    assert_eq!(asked(of_slot(2, ""), 9), [8, 5, 2]);
    assert_eq!(asked(of_slot(0, "n1"), 9), [9, 7, 5, 3, 1]);
    let later = home.journal().newest(&About::Service("s".into()), NOW + Duration::from_secs(1), 9).unwrap();
    assert_eq!(later, [], "what is too old is not shown");
}

#[test]
fn nothing_in_it_can_be_read_and_nobody_else_may_try() {
    let home = Home::new();
    append(&mut home.open(), &entries(1..=9));
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
    append(&mut log, &entries(1..=3));
    append(&mut log, &entries(2..=4));
    let mut log = home.open();
    assert_eq!(home.gaps(), []);
    append(&mut log, &entries(3..=5));
    // All that one version did belongs together.
    append(&mut log, &[entry(6), entry(6)]);
    assert_eq!(home.versions(), [6, 6, 5, 4, 3, 2, 1]);
    assert_eq!(home.files().len(), 1, "a whole file is continued");
}

#[test]
fn a_torn_last_record_is_dropped_and_nothing_is_written_behind_it() {
    let home = Home::new();
    append(&mut home.open(), &entries(1..=3));
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
    append(&mut log, &entries(3..=4));
    assert_eq!(home.versions(), [4, 3, 2, 1]);
}

#[test]
fn damage_costs_the_rest_of_its_file_and_no_other() {
    let mut home = Home::new();
    home.limits.segment_bytes = 200;
    append(&mut home.open(), &entries(1..=20));
    let whole = home.versions();
    assert!(home.files().len() > 3, "{}", home.files().len());
    let file = &home.files()[1];
    let length = fs::metadata(file).unwrap().len();
    fs::File::options().write(true).open(file).unwrap().write_all_at(&[0xff], length / 2).unwrap();
    let left = home.versions();
    assert!(left.len() < whole.len() && left.starts_with(&[20, 19]) && left.ends_with(&[2, 1]), "{left:?}");
    let gap =
        (left.iter().find(|version| !left.contains(&(*version + 1)) && **version < 20).copied().unwrap(), left.len());
    let [(after, upto)] = home.gaps()[..] else { panic!("{:?}", home.gaps()) };
    assert_eq!((after, after + 20 - upto), (gap.0, gap.1 as u64), "what is lost is known to be missing");
}

#[test]
fn size_and_age_are_bounded() {
    let mut home = Home::new();
    home.limits = Limits { segment_bytes: 1000, total_bytes: 5000, ..home.limits };
    let mut log = home.open();
    for version in 1..=500 {
        append(&mut log, &[entry(version)]);
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
    log.append(&entries(501..=501), 501, now);
    assert_eq!(home.files().len(), before + 1);
    log.append(&entries(502..=502), 502, now + 31 * Duration::from_secs(24 * 3600));
    assert_eq!(home.versions(), [502, 501]);
}

#[test]
fn a_disk_that_cannot_be_written_stops_nobody() {
    let home = Home::new();
    fs::write(home.path().join("journal"), "a file where the directory should be").unwrap();
    let mut log = home.open();
    append(&mut log, &entries(1..=3));
    fs::remove_file(home.path().join("journal")).unwrap();
    append(&mut log, &entries(4..=5));
    assert_eq!((home.versions(), home.gaps()), (vec![5, 4], vec![(0, 3)]));
}

#[test]
fn all_that_one_version_did_is_one_record_however_much_it_is() {
    let home = Home::new();
    let mut log = home.open();
    let many: Vec<_> = (0..2 * MAX_VERSION_ENTRIES).map(|_| entry(7)).collect();
    append(&mut log, &many);
    let kept = home.journal().newest(&About::Service("s".into()), Timestamp(0), 10_000).unwrap();
    assert_eq!(kept.len(), MAX_VERSION_ENTRIES);
    assert_eq!(kept[0].text, format!("{} changes more, too many to keep", MAX_VERSION_ENTRIES + 1));
    let piece = home.journal().piece(0, 7, 1).unwrap().unwrap();
    assert_eq!((piece.after, piece.upto, piece.entries.len()), (0, 7, MAX_VERSION_ENTRIES));
}

#[test]
fn what_was_not_worth_telling_is_no_gap() {
    let home = Home::new();
    let mut log = home.open();
    log.append(&[], 5, NOW);
    append(&mut log, &entries(8..=8));
    log.append(&[], 20, NOW);
    assert!(log.is_behind());
    log.catch_up(NOW);
    assert!(!log.is_behind());
    let mut log = home.open();
    assert!(!log.skip_to(20, NOW), "nothing was missed");
    assert_eq!(home.gaps(), []);
    assert!(log.skip_to(21, NOW));
    assert!(!log.skip_to(21, NOW));
    assert_eq!((home.versions(), home.gaps()), (vec![8], vec![(20, 21)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_is_written_down_and_what_was_missed_is_a_gap() {
    let home = Home::new();
    append(&mut home.open(), &entries(1..=1));
    let store = Store::new(View::default());
    let keep = |stop: &CancellationToken| tokio::spawn(home.keeper().keep(store.clone(), stop.clone()));

    create(&store, 1);
    create(&store, 2);
    let stop = CancellationToken::new();
    let kept = keep(&stop);
    eventually_missing(&home, &[(1, 2)]).await;
    create(&store, 3);
    store.skip(4);
    stop_when(&home, &[(1, "canary"), (3, "joined the swarm as a worker")], stop, kept).await;

    create(&store, 5);
    let stop = CancellationToken::new();
    let kept = keep(&stop);
    // What changed nothing is told with what comes next; this manager was stopped before.
    eventually_missing(&home, &[(1, 2), (3, 5)]).await;

    // A snapshot from the leader takes the place of what this manager had.
    let ahead = Store::new(store.view());
    create(&ahead, 6);
    store.replace(ahead.view());
    eventually_missing(&home, &[(1, 2), (3, 5), (5, 6)]).await;
    stop_when(&home, &[(1, "canary"), (3, "joined the swarm as a worker")], stop, kept).await;
}

fn create(store: &Store, version: u64) {
    let view = store.view();
    let mut tx = TxBuilder::new(&view, NOW);
    tx.create(Node { id: format!("n{version}"), ..Node::default() });
    store.commit(version, &tx.build()).unwrap();
}

/// Asks until the answer is right.
async fn eventually<T: PartialEq + std::fmt::Debug>(expected: T, ask: impl Fn() -> T) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while ask() != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "{:?} is not {expected:?}", ask());
}

async fn eventually_missing(home: &Home, expected: &[(u64, u64)]) {
    eventually(expected.to_vec(), || home.gaps()).await;
}

/// Waits until this, oldest first, and nothing else is written down; then stops who writes.
async fn stop_when(home: &Home, expected: &[(u64, &str)], stop: CancellationToken, kept: tokio::task::JoinHandle<()>) {
    let expected: Vec<_> = expected.iter().map(|(version, text)| (*version, (*text).to_owned())).collect();
    eventually(expected, || texts(home)).await;
    stop.cancel();
    kept.await.unwrap();
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
