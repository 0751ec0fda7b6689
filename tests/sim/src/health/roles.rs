//! Every node is what it was asked to be, and the members are the managers.

use skep_core::roles;
use skep_proto::v1::NodeRole;
use skep_store::View;

use crate::context::{Step, must};

pub(super) fn check(view: &View, members: &[roles::Member]) -> Step {
    for node in view.nodes() {
        let wanted = node.spec.as_ref().map_or(NodeRole::Worker, |spec| spec.desired_role());
        must!(node.role() == wanted, "{} is to be {wanted:?} and is {:?}", node.id, node.role());
        let member = members.iter().find(|member| member.node_id == node.id);
        let raft_id = node.manager.as_ref().map(|manager| manager.raft_id);
        must!(
            member.map(|member| member.raft_id) == raft_id,
            "{} is on record as member {raft_id:?}, and is {member:?}",
            node.id
        );
        let votes = member.is_some_and(|member| member.voter);
        must!(votes == (wanted == NodeRole::Manager), "{} is to be {wanted:?}, and is {member:?}", node.id);
    }
    let stranger = members.iter().find(|member| view.node(&member.node_id).is_none());
    must!(stranger.is_none(), "{stranger:?} is a member, and no node");
    Ok(())
}
