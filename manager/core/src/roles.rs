//! Who is a manager: promotion, demotion, and which nodes may be removed.

#![expect(clippy::unimplemented, reason = "the API first")]

use skep_common::clock::Timestamp;
use skep_proto::v1::{NodeSpec, Transaction};
use skep_store::View;

use crate::Plan;

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

/// What has to happen in Raft before the state may say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RaftAction {
    /// The leader itself is to go: another must lead first.
    MoveLeadership,
    /// Take this member out.
    RemoveMember {
        /// Its Raft id.
        raft_id: u64,
    },
}

/// What the role manager does next: the plan first, then the action; then it plans again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RolePlan {
    /// Transactions.
    pub plan: Plan,
    /// At most one at a time: membership changes are serialised.
    pub action: Option<RaftAction>,
}

/// Why a role change or a removal is refused. Docker's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// There would be no manager left.
    #[error("attempting to demote the last manager of the swarm")]
    LastManager,
    /// The rest could not decide anything.
    #[error("can't remove member from the raft: this would result in a loss of quorum")]
    QuorumLoss,
    /// It still runs.
    #[error("node {0} is not down and can't be removed")]
    NotDown(String),
    /// It has to be demoted first.
    #[error("node {0} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal")]
    IsManager(String),
    /// No such node.
    #[error("node {0} not found")]
    NotFound(String),
}

/// Brings roles to what the specs ask for, one step at a time.
pub fn plan(_view: &View, _members: &[Member], _now: Timestamp) -> RolePlan {
    unimplemented!()
}

/// Whether a node's spec may be replaced by `spec`, as far as roles go; asked at admission.
pub fn check_spec(_view: &View, _members: &[Member], _node_id: &str, _spec: &NodeSpec) -> Result<(), RoleError> {
    unimplemented!()
}

/// Whether the rest can decide without this member.
pub fn can_remove_member(_members: &[Member], _raft_id: u64) -> bool {
    unimplemented!()
}

/// The removal of a node; its tasks are given up by the reaper.
pub fn remove_node(
    _view: &View,
    _members: &[Member],
    _node_id: &str,
    _force: bool,
    _now: Timestamp,
) -> Result<Transaction, RoleError> {
    unimplemented!()
}
