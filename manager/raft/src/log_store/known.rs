//! In-memory cache of the log: vote, bounds, and the newest entries.
//!
//! Invariant: the cached entries are the end of the log without a gap, with every entry that is not durable yet; so
//! everything older than the cache can be read from disk.

use std::{
    collections::BTreeMap,
    ops::{Bound, Range, RangeBounds},
};

use openraft::EntryPayload;

use super::disk::Contents;
use crate::types::{Entry, LogId, Vote};

/// Durable entries are let go of when the cache outgrows this: seconds of a busy log, compressed as it is.
pub(super) const TAIL_BYTES: usize = 8 << 20;

#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
    cache: BTreeMap<u64, Entry>,
    cache_bytes: usize,
    /// Entries below this index are durable.
    durable: u64,
}

impl From<Contents> for Known {
    fn from(contents: Contents) -> Self {
        let Contents { vote, committed, purged, last, entries, .. } = contents;
        let mut known = Self { vote, committed, purged, last: last.or(purged), ..Self::default() };
        known.append(entries);
        known.made_durable(known.next());
        known
    }
}

impl Known {
    fn next(&self) -> u64 {
        self.last.map_or(0, |last| last.index + 1)
    }

    pub(super) fn append(&mut self, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            self.last = Some(entry.log_id);
            self.cache_bytes += size_of_entry(&entry);
            if let Some(old) = self.cache.insert(entry.log_id.index, entry) {
                self.cache_bytes -= size_of_entry(&old);
            }
        }
    }

    /// Everything below `end` is on disk.
    pub(super) fn made_durable(&mut self, end: u64) {
        self.durable = self.durable.max(end);
        while self.cache_bytes > TAIL_BYTES
            && let Some(oldest) = self.cache.first_entry()
            && *oldest.key() < self.durable
        {
            self.cache_bytes -= size_of_entry(&oldest.remove());
        }
    }

    /// Forgets the entries from `since` on; `before` is the one that is the last then, when there is one.
    pub(super) fn truncate(&mut self, since: u64, before: Option<LogId>) {
        let removed = self.cache.split_off(&since);
        self.cache_bytes -= removed.values().map(size_of_entry).sum::<usize>();
        self.durable = self.durable.min(since);
        self.last = before.or(self.purged);
    }

    pub(super) fn purge(&mut self, upto: LogId) {
        let kept = self.cache.split_off(&(upto.index + 1));
        let removed = std::mem::replace(&mut self.cache, kept);
        self.cache_bytes -= removed.values().map(size_of_entry).sum::<usize>();
        self.purged = self.purged.max(Some(upto));
        self.last = self.last.max(self.purged);
        self.durable = self.durable.max(upto.index + 1);
    }

    /// The part of `range` that the log has, and of that what the cache holds; the rest comes from disk.
    pub(super) fn find(&self, range: impl RangeBounds<u64>) -> Found {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let start = start.max(self.purged.map_or(0, |purged| purged.index + 1));
        let end = end.min(self.next());
        if start >= end {
            return Found { on_disk: 0..0, cached: Vec::new() };
        }
        let first_cached = self.cache.first_key_value().map_or(end, |(index, _)| *index).clamp(start, end);
        let cached = self.cache.range(first_cached..end).map(|(_, entry)| entry.clone()).collect();
        Found { on_disk: start..first_cached, cached }
    }
}

/// Where the entries of a range are: first those on disk, then the cached ones.
pub(super) struct Found {
    pub(super) on_disk: Range<u64>,
    pub(super) cached: Vec<Entry>,
}

/// About how much room an entry takes, in memory or in a message.
pub(crate) fn size_of_entry(entry: &Entry) -> usize {
    const FIXED: usize = 64;
    const PER_MEMBER: usize = 128;
    FIXED
        + match &entry.payload {
            EntryPayload::Blank => 0,
            EntryPayload::Normal(batch) => batch.bytes.len(),
            EntryPayload::Membership(membership) => membership.nodes().count() * PER_MEMBER,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{testing::entry, types::Batch};

    fn indexes(found: &Found) -> (Range<u64>, Vec<u64>) {
        (found.on_disk.clone(), found.cached.iter().map(|entry| entry.log_id.index).collect())
    }

    #[test]
    fn finds_only_what_the_log_has() {
        let mut known = Known::default();
        assert_eq!(indexes(&known.find(..)), (0..0, vec![]));
        known.append([entry(1, 0), entry(1, 1), entry(1, 2), entry(1, 3)]);
        assert_eq!(indexes(&known.find(1..=2)), (1..1, vec![1, 2]));
        known.purge(entry(1, 1).log_id);
        assert_eq!(indexes(&known.find(..)), (2..2, vec![2, 3]));
        known.truncate(3, Some(entry(1, 2).log_id));
        assert_eq!(indexes(&known.find(0..99)), (2..2, vec![2]));
        known.truncate(2, None);
        assert_eq!(known.last, known.purged);
        assert_eq!(indexes(&known.find(..)), (0..0, vec![]));
    }

    #[test]
    fn only_durable_entries_leave_the_cache() {
        let big = |index| {
            let mut big = entry(1, index);
            big.payload = EntryPayload::Normal(Batch::new(vec![0; TAIL_BYTES / 2].into()));
            big
        };
        let mut known = Known::default();
        known.append([big(0), big(1), big(2)]);
        assert_eq!(indexes(&known.find(..)).1, [0, 1, 2], "not durable yet");
        known.made_durable(1);
        assert_eq!(indexes(&known.find(..)), (0..1, vec![1, 2]));
        known.made_durable(3);
        assert_eq!(indexes(&known.find(..)), (0..2, vec![2]));
    }
}
