//! What a member is started with.

use std::{path::PathBuf, time::Duration};

use skep_common::limits::{LOG_ENTRIES_FOR_SLOW_FOLLOWERS, SNAPSHOT_INTERVAL};
use tokio_util::sync::CancellationToken;

use crate::OnFatal;

/// The Raft id of the manager that bootstraps a swarm. Every later id is at least the index of the log entry that assigns
/// it, which is above this one, so none comes twice.
pub const FIRST_RAFT_ID: u64 = 1;

/// Everything a [`RaftNode`](crate::RaftNode) needs besides the store it writes to and the way to its peers.
#[derive(Debug, Clone)]
pub struct RaftConfig {
    /// The directory of log, vote, snapshots and their key. Belongs to this member alone.
    pub dir: PathBuf,
    /// Whether the directory is to be made or must be there.
    pub open: Open,
    /// This node's id, the CN of its certificate.
    pub node_id: String,
    /// host:port under which the other managers reach this one.
    pub addr: String,
    /// Timing and bounds.
    pub tuning: Tuning,
    /// The highest feature level this member reads: [`FEATURE_LEVEL`](skep_common::feature_level::FEATURE_LEVEL), or less to be
    /// as good as an earlier release.
    pub feature_level: u32,
    /// What to do when the state on disk cannot be trusted any more; by default the process ends.
    pub on_fatal: OnFatal,
    /// Ends a start that is under way, with [`GivenUp`](crate::StartError::GivenUp): a large state takes long to read. Means
    /// nothing to a member that has started.
    pub give_up: CancellationToken,
}

/// How the directory is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// A new directory for the member with this id: [`FIRST_RAFT_ID`], or what
    /// [`add_member`](crate::RaftNode::add_member) returned. What a half-finished creation left over is replaced; the
    /// state of a member is not.
    Create {
        /// The new member's id.
        raft_id: u64,
    },
    /// The directory of a member that ran before. It must be whole: a member that lost its vote or its log must not
    /// come back under its id.
    Resume,
}

/// Timing and bounds of one member. All members should run with the same.
///
/// A follower that has heard nothing for a time drawn from `election_min..election_max` asks the others whether they miss
/// the leader too, and only then stands for election. They do when they have not heard from it for `lease`. So a leader
/// that stalls for less than `election_min` minus one heartbeat keeps its place. One whose process has ended (its connection
/// is closed and nobody listens at its address) is replaced at once, one whose machine has vanished after about `election_min`.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// How often a leader lets its followers hear from it.
    pub heartbeat: Duration,
    /// For how long after hearing from a leader a member votes for nobody else, unless that leader's process has ended.
    pub lease: Duration,
    /// Shortest silence after which a follower considers an election.
    pub election_min: Duration,
    /// Longest such silence.
    pub election_max: Duration,
    /// How long a proposal may take before its fate is called unknown.
    pub propose_deadline: Duration,
    /// How long to look for a quorum before a linearizable read is refused.
    pub read_deadline: Duration,
    /// A new member that has not been reached for this long while it catches up is dropped again.
    pub catch_up: Duration,
    /// A leader whose disk is busy with one write for this long gives up leading.
    pub disk_stall: Duration,
    /// Log entries between snapshots, until the cluster's spec says.
    pub snapshot_interval: u64,
    /// Bytes of log after which a snapshot is due whatever the number of entries, or the size of the last snapshot if that is more:
    /// a start reads no more than about the state again, and snapshots write no more than the log does.
    pub snapshot_bytes: u64,
    /// Bytes of log that are kept at most for a member that is reached but late.
    pub held_bytes: u64,
    /// Log entries kept behind a snapshot for followers that are a little late, until the cluster's spec says.
    pub keep_entries: u64,
}

impl Tuning {
    /// Whether the times fit together.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.heartbeat.is_zero() || self.heartbeat * 2 > self.lease {
            return Err("the lease must be at least two heartbeats");
        }
        if self.lease > self.election_min || self.election_min >= self.election_max {
            return Err("lease, shortest and longest election silence must grow in this order");
        }
        if self.snapshot_interval == 0 || self.snapshot_bytes == 0 {
            return Err("the snapshot interval must not be 0");
        }
        Ok(())
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            lease: Duration::from_millis(400),
            election_min: Duration::from_millis(750),
            election_max: Duration::from_millis(1050),
            propose_deadline: Duration::from_secs(8),
            read_deadline: Duration::from_secs(3),
            catch_up: Duration::from_secs(60),
            disk_stall: Duration::from_secs(2),
            snapshot_interval: SNAPSHOT_INTERVAL,
            snapshot_bytes: 64 << 20,
            held_bytes: 1 << 30,
            keep_entries: LOG_ENTRIES_FOR_SLOW_FOLLOWERS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_together_and_bear_a_stall_of_half_a_second() {
        let tuning = Tuning::default();
        assert_eq!(tuning.check(), Ok(()));
        assert!(tuning.election_min > Duration::from_millis(500) + tuning.heartbeat);
    }

    #[test]
    fn times_that_contradict_each_other_are_refused() {
        let second = Duration::from_secs(1);
        assert!(Tuning { lease: second, ..Tuning::default() }.check().is_err());
        assert!(Tuning { election_max: Tuning::default().election_min, ..Tuning::default() }.check().is_err());
        assert!(Tuning { heartbeat: second, ..Tuning::default() }.check().is_err());
        assert!(Tuning { snapshot_interval: 0, ..Tuning::default() }.check().is_err());
    }
}
