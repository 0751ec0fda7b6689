//! When this member takes a snapshot and how much of its log it keeps behind one: as the cluster's spec says at the moment,
//! or as [`Tuning`] says while there is no cluster.
//!
//! Owns nothing. openraft's own policy is fixed when it starts, so it is given none, and is told here.

use std::{sync::Arc, time::Duration};

use skep_store::{Store, View};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    Tuning,
    types::{LogId, Metrics, Raft},
};

/// Least time between two looks at how many entries there are: seldom enough to cost nothing under load.
const PAUSE: Duration = Duration::from_millis(10);

/// The loop of one member.
pub(crate) struct Compaction {
    pub(crate) raft: Raft,
    pub(crate) store: Arc<Store>,
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Policy {
    /// Entries between snapshots.
    interval: u64,
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
        // What was asked for already counts as done: both take their time.
        let mut asked = Progress::default();
        loop {
            let now = progress(&metrics.borrow_and_update());
            let known =
                Progress { snapshot: now.snapshot.max(asked.snapshot), purged: now.purged.max(asked.purged), ..now };
            let Due { snapshot, purge_upto } = due(known, now.snapshot, policy(&self.store.view(), &self.tuning));
            let trigger = self.raft.trigger();
            if snapshot {
                debug!(upto = now.applied, "a snapshot is due");
                asked.snapshot = now.applied;
                if trigger.snapshot().await.is_err() {
                    return;
                }
            }
            if let Some(upto) = purge_upto {
                asked.purged = upto;
                if trigger.purge_log(upto).await.is_err() {
                    return;
                }
            }
            sleep(PAUSE).await;
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }
}

/// `known` counts what was asked for; behind `in_snapshot` nothing may go yet.
fn due(known: Progress, in_snapshot: u64, policy: Policy) -> Due {
    let purge_upto = in_snapshot.saturating_sub(policy.keep);
    Due {
        snapshot: known.applied.saturating_sub(known.snapshot) >= policy.interval,
        purge_upto: Some(purge_upto).filter(|upto| *upto > known.purged),
    }
}

fn policy(view: &View, tuning: &Tuning) -> Policy {
    let spec = view.cluster().and_then(|cluster| cluster.spec.as_ref()).filter(|spec| spec.snapshot_interval > 0);
    spec.map_or(Policy { interval: tuning.snapshot_interval, keep: tuning.keep_entries }, |spec| Policy {
        interval: spec.snapshot_interval,
        keep: spec.log_entries_for_slow_followers,
    })
}

fn progress(metrics: &Metrics) -> Progress {
    let index = |log_id: Option<LogId>| log_id.map_or(0, |log_id| log_id.index);
    Progress { applied: index(metrics.last_applied), snapshot: index(metrics.snapshot), purged: index(metrics.purged) }
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{Cluster, ClusterSpec};
    use skep_store::TxBuilder;

    use super::*;

    #[test]
    fn a_snapshot_is_due_by_the_interval_and_the_log_is_cut_behind_it() {
        let policy = Policy { interval: 100, keep: 10 };
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
            let known = Progress { applied, snapshot: asked, purged };
            let wanted = Due { snapshot: is_due, purge_upto };
            assert_eq!(due(known, snapshot, policy), wanted, "{applied} {asked} {snapshot} {purged}");
        }
    }

    #[test]
    fn the_clusters_spec_counts_as_soon_as_there_is_one() {
        let tuning = Tuning { snapshot_interval: 7, keep_entries: 3, ..Tuning::default() };
        let view = View::default();
        assert_eq!(policy(&view, &tuning), Policy { interval: 7, keep: 3 });
        let spec = ClusterSpec { snapshot_interval: 500, log_entries_for_slow_followers: 0, ..ClusterSpec::default() };
        let mut tx = TxBuilder::new(&view, skep_common::clock::Timestamp(1));
        tx.create(Cluster { id: "c1".into(), spec: Some(spec), ..Cluster::default() });
        let (view, _) = view.apply(1, &tx.build()).unwrap();
        assert_eq!(policy(&view, &tuning), Policy { interval: 500, keep: 0 });
    }
}
