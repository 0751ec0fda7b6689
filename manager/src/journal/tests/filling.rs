//! Gaps, and how they are filled from others: everything once and in order, within the bounds, nothing that makes no sense.

use std::collections::BTreeMap;

use skep_proto::v1::{JournalRecord, PeerManager, ReadJournalRequest};
use tonic::Status;

use super::*;
use crate::journal::filler::Source;

/// Other managers by name, and what they send.
#[derive(Default)]
struct Others(BTreeMap<&'static str, Other>);

enum Other {
    /// What is in its journal, in pages of so many bytes.
    Honest(Journal, usize),
    Silent,
    /// Always the same.
    Stubborn(JournalRecord),
}

impl Source for Others {
    fn others(&self) -> Vec<PeerManager> {
        self.0.keys().map(|name| PeerManager { node_id: (*name).into(), ..PeerManager::default() }).collect()
    }

    async fn read(&self, peer: &PeerManager, request: ReadJournalRequest) -> Result<Option<JournalRecord>, Status> {
        match &self.0[peer.node_id.as_str()] {
            Other::Honest(journal, bytes) => Ok(journal.piece(request.after, request.upto, *bytes).unwrap()),
            Other::Silent => Err(Status::unavailable("silent")),
            Other::Stubborn(record) => Ok(Some(record.clone())),
        }
    }
}

fn honest(home: &Home) -> Other {
    Other::Honest(home.journal(), 300)
}

/// Asks everybody once. Gives how many versions were taken over and how many gaps are left.
async fn fill(home: &Home, others: impl IntoIterator<Item = (&'static str, Other)>) -> (u64, usize) {
    Filler { keeper: home.keeper(), source: Others(others.into_iter().collect()) }.round().await
}

/// A journal of these versions, each with one entry; what is between them was not seen.
fn with(parts: &[std::ops::RangeInclusive<u64>]) -> Home {
    let home = Home::new();
    let mut log = home.open();
    for part in parts {
        log.skip_to(part.start() - 1, NOW);
        append(&mut log, &entries(part.clone()));
    }
    home
}

fn newest_first(versions: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    versions.rev().collect()
}

#[tokio::test]
async fn a_journal_that_began_late_gets_its_beginning() {
    let old = with(&[1..=60]);
    let late = with(&[61..=70]);
    assert_eq!(late.gaps(), [(0, 60)]);
    assert_eq!(fill(&late, [("old", honest(&old))]).await, (60, 0));
    assert_eq!((late.versions(), late.gaps()), (newest_first(1..=70), vec![]));
    assert!(late.files().len() > 3, "it came in pages");

    // It is there for good, and can be handed on.
    append(&mut late.open(), &entries(71..=71));
    let later = with(&[72..=72]);
    assert_eq!(fill(&later, [("late", honest(&late))]).await, (71, 0));
    assert_eq!(later.versions(), newest_first(1..=72));
    assert_eq!(fill(&later, [("late", honest(&late))]).await, (0, 0), "nothing is asked for twice");
}

#[tokio::test]
async fn gaps_in_the_middle_are_filled_from_several_who_have_parts() {
    let home = with(&[1..=10, 41..=50, 91..=100]);
    assert_eq!(home.gaps(), [(10, 40), (50, 90)]);
    let (a, b) = (with(&[5..=25, 60..=70]), with(&[1..=3, 20..=65]));
    assert_eq!(fill(&home, [("a", honest(&a)), ("b", honest(&b)), ("c", Other::Silent)]).await.1, 1);
    assert_eq!(home.gaps(), [(70, 90)], "what nobody has is still missing");
    let expected: Vec<u64> = (1..=100).rev().filter(|version| !(71..=90).contains(version)).collect();
    assert_eq!(home.versions(), expected, "everything once and in order");

    // Somebody comes back who has the rest.
    let c = with(&[1..=100]);
    assert_eq!(fill(&home, [("c", honest(&c))]).await, (20, 0));
    assert_eq!(home.versions(), newest_first(1..=100));
}

#[tokio::test]
async fn history_that_makes_no_sense_is_not_kept() {
    let whole = JournalRecord { entries: entries(1..=10), after: 0, upto: 10 };
    let changed = |edit: fn(&mut JournalRecord)| {
        let mut record = whole.clone();
        edit(&mut record);
        record
    };
    let wrong = [
        changed(|record| record.upto = 11),
        changed(|record| record.after = 10),
        changed(|record| record.entries[0].version = 11),
        changed(|record| record.entries.swap(2, 3)),
        changed(|record| record.entries[4].text.clear()),
        changed(|record| record.entries[4].text = "x".repeat(100_000)),
        changed(|record| record.entries[4].by = "x".repeat(100_000)),
        changed(|record| record.entries[4].at = -1),
        changed(|record| record.entries = vec![entry(5); 100_000]),
    ];
    for (row, record) in wrong.into_iter().enumerate() {
        let home = with(&[11..=12]);
        assert_eq!(fill(&home, [("liar", Other::Stubborn(record))]).await, (0, 1), "row {row}");
        assert_eq!((home.versions(), home.gaps()), (vec![12, 11], vec![(0, 10)]), "row {row}");
        let old = with(&[1..=10]);
        assert_eq!(fill(&home, [("liar", Other::Silent), ("old", honest(&old))]).await, (10, 0));
    }
    let home = with(&[11..=12]);
    assert_eq!(fill(&home, [("exact", Other::Stubborn(whole))]).await, (10, 0));
    assert_eq!(home.versions(), newest_first(1..=12));
}

#[tokio::test]
async fn a_torn_or_damaged_file_is_made_good_by_others() {
    let mut home = Home::new();
    home.limits.segment_bytes = 200;
    append(&mut home.open(), &entries(1..=40));
    let other = with(&[1..=50]);
    let files = home.files();
    let damage = |file: &Path, at: u64| {
        fs::File::options().write(true).open(file).unwrap().write_all_at(&[0xff; 8], at).unwrap();
    };
    damage(&files[1], fs::metadata(&files[1]).unwrap().len() / 2);
    damage(&files[3], 0);
    let last = files.last().unwrap();
    fs::File::options().write(true).open(last).unwrap().set_len(fs::metadata(last).unwrap().len() - 1).unwrap();
    fs::write(home.path().join("journal/unfinished"), "a page that was being written").unwrap();

    home.open().skip_to(45, NOW);
    assert!(home.gaps().len() == 3, "{:?}", home.gaps());
    assert_eq!(fill(&home, [("other", honest(&other))]).await.1, 0);
    assert_eq!((home.versions(), home.gaps()), (newest_first(1..=45), vec![]));
}

#[tokio::test]
async fn size_is_bounded_after_filling_as_well() {
    let old = with(&[1..=2000]);
    let total = |home: &Home| -> u64 { home.files().iter().map(|file| fs::metadata(file).unwrap().len()).sum() };
    let mut home = Home::new();
    home.limits = Limits { segment_bytes: 1000, total_bytes: 20_000, ..home.limits };
    let mut log = home.open();
    log.skip_to(2000, NOW);
    append(&mut log, &entries(2001..=2010));
    let (taken, left) = fill(&home, [("old", honest(&old))]).await;
    assert!(taken > 50 && left == 0 && total(&home) <= 20_000, "{taken} taken, {left} left, {} bytes", total(&home));
    let kept = home.versions();
    assert_eq!(kept, newest_first(kept.last().copied().unwrap()..=2010), "the newest, without a gap");
    assert_eq!(fill(&home, [("old", honest(&old))]).await, (0, 0), "what had no room is not asked for again and again");

    // A gap in the middle is worth more than what is older than it.
    let newer = with(&[1..=2100]);
    let mut log = home.open();
    log.skip_to(2100, NOW);
    append(&mut log, &entries(2101..=2101));
    assert_eq!(fill(&home, [("newer", honest(&newer))]).await.1, 0);
    let kept = home.versions();
    assert_eq!(kept, newest_first(kept.last().copied().unwrap()..=2101));
    assert!(total(&home) <= 20_000, "{}", total(&home));
}

#[tokio::test]
async fn age_is_bounded_after_filling_as_well() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let days_ago = |version: u64, days: u32| JournalEntry { at: (NOW - days * DAY).as_nanos(), ..entry(version) };
    let old = Home::new();
    let mut log = old.open();
    for one in [days_ago(1, 40), days_ago(2, 35), days_ago(3, 29), days_ago(4, 1)] {
        append(&mut log, &[one]);
    }
    let source = || [("old", Other::Honest(old.journal(), 1))];

    let mut home = Home::new();
    home.limits.age = 30 * DAY;
    let mut log = home.open();
    log.skip_to(4, NOW);
    append(&mut log, &[JournalEntry { at: NOW.as_nanos(), ..entry(5) }]);
    assert_eq!(fill(&home, source()).await, (2, 1));
    assert_eq!(home.versions(), [5, 4, 3], "what is too old is not taken");
    assert_eq!(fill(&home, source()).await, (0, 1));

    // What was taken over grows old like everything else, from when it happened.
    let mut log = home.open();
    log.append(&[], 6, NOW + 2 * DAY);
    log.catch_up(NOW + 2 * DAY);
    assert_eq!(home.versions(), [5, 4]);
}
