//! What a member is started with.

use std::{path::PathBuf, time::Duration};

use skep_common::limits::{LOG_ENTRIES_FOR_SLOW_FOLLOWERS, SNAPSHOT_INTERVAL};

/// The Raft id of the manager that bootstraps a swarm. Every later id is the index of a log entry, and those start
/// above this one, so none comes twice.
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
#[derive(Debug, Clone)]
pub struct Tuning {
    /// How often a leader lets its followers hear from it.
    pub heartbeat: Duration,
    /// Shortest time that a follower hears nothing before it considers an election.
    pub election_min: Duration,
    /// Longest such time; each member draws its own between the two.
    pub election_max: Duration,
    /// How long a proposal may take before its fate is called unknown.
    pub propose_deadline: Duration,
    /// How long a new member may take to catch up before it is dropped again.
    pub catch_up: Duration,
    /// A leader whose disk has not made an entry durable for this long gives up leading.
    pub disk_stall: Duration,
    /// Log entries between snapshots.
    pub snapshot_interval: u64,
    /// Log entries kept behind a snapshot for followers that are a little late.
    pub keep_entries: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(300),
            election_max: Duration::from_millis(600),
            propose_deadline: Duration::from_secs(8),
            catch_up: Duration::from_secs(60),
            disk_stall: Duration::from_secs(2),
            snapshot_interval: SNAPSHOT_INTERVAL,
            keep_entries: LOG_ENTRIES_FOR_SLOW_FOLLOWERS,
        }
    }
}
