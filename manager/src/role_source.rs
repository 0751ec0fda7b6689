//! Authorization lookups for the RPC server: node roles from the replicated state on this manager, and the Raft members.
//!
//! Invariants: a caller that is neither a node in the state nor a member is refused, whatever its certificate says and
//! whether there is a leader or not; a node that this manager does not know yet is refused without being called removed,
//! which would make it leave the swarm.

use std::sync::Arc;

use skep_common::net::server::{RoleAnswer, RoleSource};
use skep_proto::v1::NodeRole;
use skep_raft::{Leadership, Roster};
use skep_store::{Store, View};
use tokio::sync::watch;

use crate::strangers::Strangers;

/// Roles as the store has them.
pub(crate) struct StoredRoles<M> {
    pub(crate) node_id: String,
    pub(crate) store: Arc<Store>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) members: M,
    pub(crate) strangers: Strangers,
}

/// Knows the members of consensus.
pub(crate) trait Members: Send + Sync {
    /// Whether the node is one.
    fn includes(&self, node_id: &str) -> bool;
}

impl Members for Roster {
    fn includes(&self, node_id: &str) -> bool {
        self.includes(node_id)
    }
}

impl<M: Members> RoleSource for StoredRoles<M> {
    fn role_of(&self, node_id: &str) -> RoleAnswer {
        let view = self.store.view();
        match view.node(node_id) {
            Some(node) => RoleAnswer::Is(node.role()),
            None if self.is_current(&view) => RoleAnswer::Removed,
            None => RoleAnswer::NotKnown,
        }
    }

    fn is_member(&self, node_id: &str) -> bool {
        self.members.includes(node_id)
    }

    fn refused_member(&self) {
        self.strangers.refused();
    }
}

impl<M> StoredRoles<M> {
    /// Whether the state is recent enough to contain this manager and the present leader.
    fn is_current(&self, view: &View) -> bool {
        let leadership = self.leadership.borrow();
        let manages = |id: &str| view.node(id).is_some_and(|node| node.role() == NodeRole::Manager);
        manages(&self.node_id) && leadership.leader.as_ref().is_some_and(|leader| manages(&leader.node_id))
    }
}

#[cfg(test)]
mod tests {
    use skep_common::clock::Timestamp;
    use skep_proto::v1::Node;
    use skep_raft::Leader;
    use skep_store::TxBuilder;

    use super::*;

    fn view(nodes: &[(&str, NodeRole)]) -> View {
        let empty = View::default();
        let mut tx = TxBuilder::new(&empty, Timestamp(1));
        for (id, role) in nodes {
            tx.create(Node { id: (*id).into(), role: (*role).into(), ..Node::default() });
        }
        empty.apply(1, &tx.build()).unwrap().0
    }

    /// A membership of this one node.
    struct Only(&'static str);

    impl Members for Only {
        fn includes(&self, node_id: &str) -> bool {
            self.0 == node_id
        }
    }

    fn roles(nodes: &[(&str, NodeRole)], leader: Option<&str>) -> StoredRoles<Only> {
        let leader = leader.map(|id| Leader { raft_id: 9, node_id: id.into(), addr: String::new() });
        let (_, leadership) = watch::channel(Leadership { term: 1, leader, is_self: false });
        StoredRoles {
            node_id: "own".into(),
            store: Store::new(view(nodes)),
            leadership,
            members: Only("member"),
            strangers: Strangers::default(),
        }
    }

    #[test]
    fn the_store_decides_about_nodes_it_knows() {
        let roles = roles(&[("w", NodeRole::Worker), ("m", NodeRole::Manager)], None);
        assert_eq!(roles.role_of("w"), RoleAnswer::Is(NodeRole::Worker));
        assert_eq!(roles.role_of("m"), RoleAnswer::Is(NodeRole::Manager));
    }

    #[test]
    fn a_stranger_was_removed_only_if_this_manager_is_up_to_date() {
        let both = [("own", NodeRole::Manager), ("lead", NodeRole::Manager)];
        assert_eq!(roles(&both, Some("lead")).role_of("x"), RoleAnswer::Removed);
        assert_eq!(roles(&both, None).role_of("x"), RoleAnswer::NotKnown, "nobody leads");
        assert_eq!(roles(&both[..1], Some("lead")).role_of("x"), RoleAnswer::NotKnown, "the leader is not known yet");
        assert_eq!(roles(&both[1..], Some("lead")).role_of("x"), RoleAnswer::NotKnown, "not a manager yet");
        assert_eq!(roles(&[], None).role_of("x"), RoleAnswer::NotKnown);
    }

    #[test]
    fn members_are_those_of_the_membership_whatever_their_role_and_whoever_leads() {
        for leader in [None, Some("lead")] {
            let roles = roles(&[("own", NodeRole::Manager), ("m", NodeRole::Manager)], leader);
            assert!(roles.is_member("member") && !roles.is_member("m") && !roles.is_member("x"));
        }
    }
}
