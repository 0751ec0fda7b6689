//! A member of the Raft group, for decisions about roles and the feature level.

/// A Raft member as the leader sees it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its Raft id.
    pub raft_id: u64,
    /// The node it is on.
    pub node_id: String,
    /// Counts in quorums (else it is a learner).
    pub voter: bool,
    /// Answered lately.
    pub reachable: bool,
    /// Leads.
    pub leader: bool,
}
