//! Errors of [`RaftNode`](crate::RaftNode).

use std::{io, path::PathBuf};

use skep_store::{ApplyError, View};

use crate::Leader;

/// Why a member could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory's key, log or id is gone. This member cannot come back; the node must join anew and gets a new id.
    #[error("the Raft state in {} is incomplete ({missing} is missing): this manager must join the swarm again", dir.display())]
    Wiped {
        /// The directory.
        dir: PathBuf,
        /// What is not there.
        missing: &'static str,
    },
    /// The directory holds the state of a member already.
    #[error("{} already holds the Raft state of a manager", dir.display())]
    Occupied {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory belongs to another node.
    #[error("the Raft state in {} belongs to node {owner}", dir.display())]
    OtherNode {
        /// The directory.
        dir: PathBuf,
        /// The node id on record.
        owner: String,
    },
    /// Another process has the directory open.
    #[error("the Raft state in {} is in use by another process", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// Something that was committed cannot be read back. Never skipped: skipping loses writes.
    #[error("the Raft state in {} is damaged at {location}: {reason}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The record: "entry 17", "vote", "chunk 3".
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk refused.
    #[error("the Raft state in {} cannot be opened: {source}", dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The state is of a newer release than this one.
    #[error(
        "the managers of this swarm use feature level {level} and this release of skep knows {knows}: upgrade skep on this node"
    )]
    TooOld {
        /// The cluster's feature level.
        level: u32,
        /// The highest this release knows.
        knows: u32,
    },
    /// It is no longer wanted. The directory is closed, and as it was.
    #[error("the opening of the Raft state was given up")]
    GivenUp,
    /// The timing makes no sense, or consensus could not be started.
    #[error("Raft cannot start: {0}")]
    Raft(String),
}

impl StartError {
    /// Refuses a state that this release would not read as the others do.
    pub(crate) fn check_level(view: &View, knows: u32) -> Result<(), Self> {
        let level = view.feature_level();
        if level <= knows { Ok(()) } else { Err(Self::TooOld { level, knows }) }
    }
}

/// Why a transaction was not applied, or why that is not known.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProposeError {
    /// This manager does not lead, or not in the term that was asked for. Nothing was written.
    #[error("this manager is not the leader")]
    NotLeader {
        /// Who leads, when known.
        leader: Option<Leader>,
    },
    /// It was committed, and refused by the state: what it had read has changed. Nothing was written.
    #[error(transparent)]
    Conflict(#[from] ApplyError),
    /// It may yet be applied, or never: the deadline passed or leadership was lost on the way.
    #[error("whether the change was made is not known")]
    Unknown,
    /// It is larger than an entry may be. Nothing was written.
    #[error("the change is too large: {size} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Its encoded size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// This member has been shut down.
    #[error("this manager is shutting down")]
    Stopped,
}

/// Why a linearizable read is not possible here and now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// This manager does not lead.
    #[error("this manager is not the leader")]
    NotLeader {
        /// Who leads, when known.
        leader: Option<Leader>,
    },
    /// A majority of the managers did not answer in time.
    #[error("the swarm has no quorum: fewer than half of the managers answer")]
    NoQuorum,
    /// This member has been shut down.
    #[error("this manager is shutting down")]
    Stopped,
}

/// Why the set of members was not changed, or why that is not known.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MembershipError {
    /// This manager does not lead.
    #[error("this manager is not the leader")]
    NotLeader {
        /// Who leads, when known.
        leader: Option<Leader>,
    },
    /// There is no member with this id.
    #[error("there is no manager with Raft id {0}")]
    NotFound(u64),
    /// The node that asks to become a member leads the members already.
    #[error("this node is the leader of the swarm it wants to join")]
    Leads,
    /// Without it the rest could not decide anything any more.
    #[error("removing this manager would lose the quorum: {reachable} of the {voters} that remain can be reached")]
    QuorumLoss {
        /// Voters that would remain.
        voters: usize,
        /// Those of them that can be reached now.
        reachable: usize,
    },
    /// The state refused the transaction that belongs to the change.
    #[error(transparent)]
    Conflict(#[from] ApplyError),
    /// It may yet happen, or never. Asking again is safe.
    #[error("whether the managers were changed is not known")]
    Unknown,
    /// This member has been shut down.
    #[error("this manager is shutting down")]
    Stopped,
}
