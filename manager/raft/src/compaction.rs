//! Log compaction: when this member takes a snapshot and how much of the log it keeps, as the cluster's spec says, or
//! [`Tuning`] while there is no cluster. A snapshot is also due when the log has grown by the size of the state.
//!
//! openraft's own policy cannot be changed while it runs, so it has none and is driven from here. Invariant: entries that a
//! reachable member still needs, or that follow the snapshot a member is being sent, are not purged as long as they are
//! less than `held_bytes`.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use skep_common::net::backoff::Backoff;
use skep_store::{Store, View};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    Tuning,
    network::{Contacts, Transfers},
    snapshot::Snapshots,
    types::{LogId, Metrics, Raft},
};

/// Least time between two looks at how many entries there are: seldom enough to cost nothing under load.
const PAUSE: Duration = Duration::from_millis(10);

/// The waits before a snapshot that could not be written is tried again.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// Entries between two marks of how large the log was.
const MARK_EVERY: u64 = 256;

/// The loop of one member.
pub(crate) struct Compaction {
    pub(crate) raft: Raft,
    pub(crate) store: Arc<Store>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) contacts: Arc<Contacts>,
    pub(crate) transfers: Arc<Transfers>,
    /// Grows by the size of every entry that is applied.
    pub(crate) applied_bytes: Arc<AtomicU64>,
    pub(crate) tuning: Tuning,
}

/// Log indexes; 0 is: none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Progress {
    /// Last entry applied.
    applied: u64,
    /// Last entry in a snapshot.
    snapshot: u64,
    /// Last entry that is no longer in the log.
    purged: u64,
    /// Bytes of log applied since the snapshot.
    bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Policy {
    /// Entries between snapshots.
    interval: u64,
    /// Bytes of log between snapshots.
    bytes: u64,
    /// Entries kept behind a snapshot.
    keep: u64,
}

/// What is to be asked of openraft.
#[derive(Debug, Default, PartialEq, Eq)]
struct Due {
    snapshot: bool,
    purge_upto: Option<u64>,
}

impl Compaction {
    pub(crate) async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.keep()).await;
    }

    async fn keep(self) {
        let mut metrics = self.raft.metrics();
        let mut trouble = self.snapshots.trouble();
        let mut retry = RETRY;
        // What was asked for already counts as done: both take their time.
        let mut asked = Progress::default();
        let mut bytes_then = 0;
        let mut volume = Volume::default();
        loop {
            let applied_bytes = self.applied_bytes.load(Ordering::Relaxed);
            let (now, needed) = {
                let metrics = metrics.borrow_and_update();
                (progress(&metrics), self.needed(&metrics))
            };
            volume.note(now.applied, applied_bytes);
            let held = needed.map(|needed| needed.max(volume.index_before(self.tuning.held_bytes)));
            let known = Progress {
                snapshot: now.snapshot.max(asked.snapshot),
                purged: now.purged.max(asked.purged),
                bytes: applied_bytes - bytes_then,
                ..now
            };
            let Due { snapshot, purge_upto } = due(known, now.snapshot, held, self.policy());
            let trigger = self.raft.trigger();
            if snapshot {
                debug!(upto = now.applied, "a snapshot is due");
                (asked.snapshot, bytes_then) = (now.applied, applied_bytes);
                if trigger.snapshot().await.is_err() {
                    return;
                }
            }
            if let Some(upto) = purge_upto {
                asked.purged = upto;
                volume.forget(upto);
                if trigger.purge_log(upto).await.is_err() {
                    return;
                }
            }
            sleep(PAUSE).await;
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() { return },
                Ok(()) = trouble.changed() => {
                    let failed = trouble.borrow_and_update().is_some();
                    if failed {
                        retry.wait().await;
                        (asked.snapshot, bytes_then) = (0, 0);
                    } else {
                        retry.reset();
                    }
                }
            }
        }
    }

    fn policy(&self) -> Policy {
        let state = self.snapshots.newest().map_or(0, |newest| newest.description.size);
        policy(&self.store.view(), &self.tuning, state)
    }

    /// The last entry that no member needs any more which is reached or is being sent a snapshot.
    fn needed(&self, metrics: &Metrics) -> Option<u64> {
        self.transfers.keep(|member| self.contacts.is_reachable(member));
        let others = metrics.replication.iter().flatten().filter(|(member, _)| **member != metrics.id);
        others
            .filter_map(|(member, matched)| {
                let matched = matched.map_or(0, |matched| matched.index);
                let covered = self.transfers.covered(*member, matched);
                covered.or_else(|| self.contacts.is_reachable(*member).then_some(matched))
            })
            .min()
    }
}

/// How much log there is, in bytes: marks of an index and the bytes applied by then.
#[derive(Debug, Default)]
struct Volume(VecDeque<(u64, u64)>);

impl Volume {
    fn note(&mut self, index: u64, bytes: u64) {
        if self.0.back().is_none_or(|(last, _)| index >= last + MARK_EVERY) {
            self.0.push_back((index, bytes));
        }
    }

    /// The last marked index behind which more than `limit` bytes follow; 0 when there are not as many.
    fn index_before(&self, limit: u64) -> u64 {
        let newest = self.0.back().map_or(0, |(_, bytes)| *bytes);
        let over = self.0.iter().take_while(|(_, bytes)| newest - bytes > limit);
        over.last().map_or(0, |(index, _)| *index)
    }

    fn forget(&mut self, upto: u64) {
        while self.0.front().is_some_and(|(index, _)| *index < upto) {
            self.0.pop_front();
        }
    }
}

/// `known` counts what was asked for; behind `in_snapshot` nothing may go yet, nor behind `needed`.
fn due(known: Progress, in_snapshot: u64, needed: Option<u64>, policy: Policy) -> Due {
    let purge_upto = in_snapshot.saturating_sub(policy.keep).min(needed.unwrap_or(u64::MAX));
    let is_new = known.applied > known.snapshot;
    Due {
        snapshot: is_new && (known.applied - known.snapshot >= policy.interval || known.bytes >= policy.bytes),
        purge_upto: Some(purge_upto).filter(|upto| *upto > known.purged),
    }
}

/// `state` is the size of the last snapshot.
fn policy(view: &View, tuning: &Tuning, state: u64) -> Policy {
    let bytes = tuning.snapshot_bytes.max(state);
    let spec = view.cluster().and_then(|cluster| cluster.spec.as_ref()).filter(|spec| spec.snapshot_interval > 0);
    spec.map_or(Policy { interval: tuning.snapshot_interval, bytes, keep: tuning.keep_entries }, |spec| Policy {
        interval: spec.snapshot_interval,
        bytes,
        keep: spec.log_entries_for_slow_followers,
    })
}

fn progress(metrics: &Metrics) -> Progress {
    let index = |log_id: Option<LogId>| log_id.map_or(0, |log_id| log_id.index);
    Progress {
        applied: index(metrics.last_applied),
        snapshot: index(metrics.snapshot),
        purged: index(metrics.purged),
        bytes: 0,
    }
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{Cluster, ClusterSpec};
    use skep_store::TxBuilder;

    use super::*;

    const POLICY: Policy = Policy { interval: 100, bytes: 1000, keep: 10 };

    #[test]
    fn a_snapshot_is_due_by_the_interval_and_the_log_is_cut_behind_it() {
        // applied, snapshot asked for, in a snapshot, purged: snapshot due, purged up to
        let cases = [
            ((0, 0, 0, 0), false, None),
            ((99, 0, 0, 0), false, None),
            ((100, 0, 0, 0), true, None),
            ((150, 120, 0, 0), false, None),
            ((150, 120, 120, 0), false, Some(110)),
            ((150, 120, 120, 110), false, None),
            ((250, 120, 120, 110), true, None),
            // Another member's snapshot was installed.
            ((500, 500, 500, 0), false, Some(490)),
        ];
        for ((applied, asked, snapshot, purged), is_due, purge_upto) in cases {
            let known = Progress { applied, snapshot: asked, purged, bytes: 0 };
            let wanted = Due { snapshot: is_due, purge_upto };
            assert_eq!(due(known, snapshot, None, POLICY), wanted, "{applied} {asked} {snapshot} {purged}");
        }
    }

    #[test]
    fn few_entries_of_many_bytes_are_a_reason_too() {
        let with = |bytes| Progress { applied: 10, snapshot: 5, purged: 0, bytes };
        assert!(!due(with(999), 5, None, POLICY).snapshot);
        assert!(due(with(1000), 5, None, POLICY).snapshot);
        assert!(!due(Progress { applied: 5, ..with(1000) }, 5, None, POLICY).snapshot, "nothing is new");
    }

    #[test]
    fn what_somebody_still_needs_stays() {
        let known = Progress { applied: 500, snapshot: 500, purged: 100, bytes: 0 };
        let upto = |needed| due(known, 500, needed, POLICY).purge_upto;
        assert_eq!((upto(None), upto(Some(495)), upto(Some(300))), (Some(490), Some(490), Some(300)));
        assert_eq!((upto(Some(100)), upto(Some(7))), (None, None), "it is gone already");
    }

    #[test]
    fn what_is_held_for_the_late_has_a_limit_in_bytes() {
        let mut volume = Volume::default();
        for index in (0..10_000).step_by(10) {
            volume.note(index, index * 100);
        }
        let held = volume.index_before(100_000);
        assert!((8_000..=9_000).contains(&held), "{held}");
        assert_eq!(volume.index_before(10_000_000), 0);
        volume.forget(9_500);
        assert_eq!(volume.index_before(100_000), 0);
    }

    #[test]
    fn the_clusters_spec_counts_as_soon_as_there_is_one() {
        let tuning = Tuning { snapshot_interval: 7, keep_entries: 3, ..Tuning::default() };
        let view = View::default();
        assert_eq!(policy(&view, &tuning, 0), Policy { interval: 7, bytes: tuning.snapshot_bytes, keep: 3 });
        let spec = ClusterSpec { snapshot_interval: 500, log_entries_for_slow_followers: 0, ..ClusterSpec::default() };
        let mut tx = TxBuilder::new(&view, skep_common::clock::Timestamp(1));
        tx.create(Cluster { id: "c1".into(), spec: Some(spec), ..Cluster::default() });
        let (view, _) = view.apply(1, &tx.build()).unwrap();
        assert_eq!(policy(&view, &tuning, u64::MAX), Policy { interval: 500, bytes: u64::MAX, keep: 0 });
    }
}
