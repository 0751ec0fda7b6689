//! A member of the Raft group, for decisions about roles and the feature level.

use std::{collections::BTreeMap, sync::Arc};

use skep_proto::v1::Node;
use skep_store::View;

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

/// The nodes that are Raft members, managers, or to become managers, by id. All others are workers and stay workers.
pub(crate) fn managing_nodes<'v>(view: &'v View, members: &[Member]) -> BTreeMap<&'v str, &'v Arc<Node>> {
    let members = members.iter().filter_map(|member| view.node(&member.node_id));
    view.managers().chain(members).map(|node| (node.id.as_str(), node)).collect()
}
