//! Which versions the journal covers, and its gaps. Pure.

use skep_common::clock::Timestamp;
use skep_proto::v1::JournalRecord;

/// Versions of which all there is to tell is in one file: those after the first and up to the second. Where both are the
/// same there are none: the journal goes on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) after: u64,
    pub(crate) upto: u64,
    /// The file.
    pub(crate) number: u64,
    /// Time of the oldest entry; `None` when nothing happened.
    pub(crate) first_at: Option<Timestamp>,
    /// Time of the newest entry.
    pub(crate) last_at: Option<Timestamp>,
}

/// Versions nothing is known of: those after the first and up to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) after: u64,
    pub(crate) upto: u64,
    /// Time of the newest entry before it; `None` when there is none.
    pub(crate) from: Option<Timestamp>,
    /// Time of the oldest entry behind it; `None` when there is none.
    pub(crate) until: Option<Timestamp>,
}

impl Gap {
    /// Whether a version is in it.
    pub(crate) fn includes(&self, version: u64) -> bool {
        self.after < version && version <= self.upto
    }
}

/// What the records of a file cover, oldest first; those that follow one another are one span.
pub(super) fn spans(number: u64, records: &[JournalRecord]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for record in records {
        let at = |entry: Option<&skep_proto::v1::JournalEntry>| entry.map(|entry| Timestamp(entry.at));
        let (first_at, last_at) = (at(record.entries.first()), at(record.entries.last()));
        match spans.last_mut().filter(|span| span.upto == record.after) {
            Some(span) => {
                span.upto = record.upto;
                span.first_at = span.first_at.or(first_at);
                span.last_at = last_at.or(span.last_at);
            }
            None => spans.push(Span { after: record.after, upto: record.upto, number, first_at, last_at }),
        }
    }
    spans
}

/// What is missing between the spans, and before the first; oldest first. The spans come in order.
pub(super) fn gaps(spans: &[Span]) -> Vec<Gap> {
    let (mut gaps, mut known, mut from) = (Vec::new(), 0, None);
    for (index, span) in spans.iter().enumerate() {
        if span.after > known {
            let until = spans[index..].iter().find_map(|span| span.first_at);
            gaps.push(Gap { after: known, upto: span.after, from, until });
        }
        known = known.max(span.upto);
        from = span.last_at.or(from);
    }
    gaps
}

/// Where a file with versions after `after` and up to `upto` belongs: a number that is free between its neighbours'. `None`
/// when it does not fit into a gap, or there is no number.
pub(super) fn place(spans: &[Span], files: &[u64], after: u64, upto: u64) -> Option<u64> {
    let index = spans.iter().position(|span| span.after >= upto)?;
    let (below, above) = (index.checked_sub(1).map(|below| spans[below]), spans[index]);
    if upto <= after || below.is_some_and(|below| below.upto > after) {
        return None;
    }
    let low = below.map_or(0, |below| below.number + 1);
    let wanted = match below {
        // Nothing will ever come between it and its neighbour.
        _ if above.after == upto => above.number.checked_sub(1)?,
        Some(below) if below.upto == after => low,
        _ => low + above.number.saturating_sub(low) / 2,
    };
    let free = |number: &u64| files.binary_search(number).is_err();
    (low..=wanted).rev().find(free).or_else(|| (wanted..above.number).find(free))
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::JournalEntry;

    use super::*;

    fn record(after: u64, upto: u64, at: &[i64]) -> JournalRecord {
        let entry = |at: &i64| JournalEntry { at: *at, version: upto, ..JournalEntry::default() };
        JournalRecord { entries: at.iter().map(entry).collect(), after, upto }
    }

    fn span(after: u64, upto: u64, number: u64) -> Span {
        Span { after, upto, number, first_at: None, last_at: None }
    }

    #[test]
    fn records_that_follow_one_another_are_one_span() {
        let records = [record(3, 3, &[]), record(3, 5, &[7, 8]), record(5, 9, &[]), record(10, 11, &[20])];
        let expected = [
            Span { after: 3, upto: 9, number: 6, first_at: Some(Timestamp(7)), last_at: Some(Timestamp(8)) },
            Span { after: 10, upto: 11, number: 6, first_at: Some(Timestamp(20)), last_at: Some(Timestamp(20)) },
        ];
        assert_eq!(spans(6, &records), expected);
    }

    #[test]
    fn gaps_are_what_is_between_and_before() {
        let of = |spans: &[Span]| gaps(spans).into_iter().map(|gap| (gap.after, gap.upto)).collect::<Vec<_>>();
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[span(0, 5, 1)]), []);
        assert_eq!(of(&[span(5, 5, 1), span(5, 9, 2), span(12, 13, 3)]), [(0, 5), (9, 12)]);

        let spans =
            [spans(1, &[record(0, 3, &[30])]), spans(2, &[record(7, 8, &[])]), spans(3, &[record(8, 9, &[90])])];
        let [gap] = gaps(&spans.concat())[..] else { panic!("there is one") };
        assert_eq!((gap.from, gap.until), (Some(Timestamp(30)), Some(Timestamp(90))));
        assert_eq!([3, 4, 7, 8].map(|version| gap.includes(version)), [false, true, true, false]);
    }

    #[test]
    fn a_piece_is_put_between_its_neighbours() {
        let spans = [span(0, 10, 100), span(50, 60, 200)];
        let files = [100, 150, 199, 200];
        let table = [
            (40, 50, Some(198), "next to the one above, past a number that is taken"),
            (10, 20, Some(101), "next to the one below"),
            (20, 30, Some(149), "somewhere between, so that others fit beside it"),
            (9, 20, None, "a part of it is there"),
            (40, 51, None, "a part of it is there"),
            (20, 20, None, "nothing"),
            (60, 70, None, "newer than everything"),
        ];
        for (after, upto, expected, why) in table {
            assert_eq!(place(&spans, &files, after, upto), expected, "{why}");
        }
        let beginning = [span(10, 20, 7)];
        assert_eq!(place(&beginning, &[7], 5, 10), Some(6));
        assert_eq!(place(&beginning, &[7], 0, 5), Some(3));
        assert_eq!(place(&[span(10, 20, 0)], &[0], 5, 10), None, "no number is left");
    }
}
