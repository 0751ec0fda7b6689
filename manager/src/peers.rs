//! The list of managers, for nodes and for the daemon; and the Raft members, for decisions about roles.

use skep_core::roles::Member;
use skep_proto::v1::PeerManager;
use skep_raft::{Leadership, MemberHealth, RaftNode};
use skep_store::View;

/// The members on record, by node id; `leader` is set on the one that leads.
pub(crate) fn managers(view: &View, leadership: &Leadership) -> Vec<PeerManager> {
    let members = view.managers().filter_map(|node| Some((node, node.manager.as_ref()?)));
    let leader = leadership.leader.as_ref().map(|leader| leader.raft_id);
    let peers = members.map(|(node, member)| PeerManager {
        node_id: node.id.clone(),
        addr: member.addr.clone(),
        leader: leader == Some(member.raft_id),
    });
    peers.collect()
}

/// The members as the leader sees them now.
pub(crate) fn members(raft: &RaftNode) -> Vec<Member> {
    let member = |health: MemberHealth| {
        let MemberHealth { raft_id, node_id, voter, reachable, leader, addr: _ } = health;
        Member { raft_id, node_id, voter, reachable, leader }
    };
    raft.members().into_iter().map(member).collect()
}
