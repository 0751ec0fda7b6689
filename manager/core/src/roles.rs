//! Roles of nodes: promotion to manager, demotion, and which nodes may be removed.
//!
//! Owns `Node.role`, and clears `Node.manager` (joining Raft sets it).
//!
//! Promotion is one step: the role is set, and the node gets its certificate and joins Raft by itself. Demotion goes the
//! other way round, so that no Raft member is ever without the role: leadership is transferred, the member is removed from
//! Raft, then `manager` is cleared and the role set to worker. Each step is decided from the state and the members alone,
//! so a new leader goes on where the last one stopped, and a member that should be none is removed, however it became one.

pub(crate) mod member;

use std::collections::BTreeMap;

use skep_common::clock::Timestamp;
use skep_proto::v1::{Node, NodeRole, NodeSpec, NodeState, ObjectKind, Transaction};
use skep_store::{TxBuilder, View};

pub use self::member::Member;
use crate::{
    Plan, feature_level, node_status,
    plan::{Planner, Write},
};

/// A change of the Raft group that has to come before the change of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RaftAction {
    /// Transfer leadership: the leader itself is to be removed.
    MoveLeadership,
    /// Remove this member.
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
    /// The feature level that the plan raises the cluster to.
    pub raises: Option<u32>,
}

/// Why a role change or a removal is refused. Docker's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// There would be no manager left.
    #[error("attempting to demote the last manager of the swarm")]
    LastManager,
    /// The rest would have no quorum.
    #[error("can't remove member from the raft: this would result in a loss of quorum")]
    QuorumLoss,
    /// It still runs.
    #[error("node {0} is not down and can't be removed")]
    NotDown(String),
    /// It has to be demoted first.
    #[error(
        "node {0} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal"
    )]
    IsManager(String),
    /// It is being demoted, and its role has not been taken yet.
    #[error("node {0} is to be a worker and cannot join the managers")]
    NotWanted(String),
    /// Its release is older than what the managers may write.
    #[error(
        "node {id} runs a release of skep that knows feature level {knows}, and the managers of this swarm use level {level}: upgrade skep on that node first"
    )]
    TooOld {
        /// The node.
        id: String,
        /// The level it knows.
        knows: u32,
        /// The cluster's.
        level: u32,
    },
    /// No such node.
    #[error("node {0} not found")]
    NotFound(String),
}

/// Brings roles to what the specs ask for, one step at a time. `members`: the Raft members; nothing is decided while they
/// are not known.
pub fn plan(view: &View, members: &[Member], now: Timestamp) -> RolePlan {
    let mut planner = Planner::new(view, now);
    let mut action = None;
    let nodes = if members.is_empty() { BTreeMap::new() } else { member::managing_nodes(view, members) };
    for node in nodes.into_values() {
        let member = members.iter().find(|member| member.node_id == node.id);
        match (node_status::desired_role(node), node.role(), member) {
            (NodeRole::Manager, NodeRole::Worker, _) => {
                planner.step([Write::UpdateNode(Node { role: NodeRole::Manager.into(), ..Node::clone(node) })]);
            }
            (NodeRole::Worker, NodeRole::Manager, None) => {
                let demoted = Node { role: NodeRole::Worker.into(), manager: None, ..Node::clone(node) };
                planner.step([Write::UpdateNode(demoted)]);
            }
            // A worker can be a member if it asked to join before its role was taken, and was admitted after that.
            (NodeRole::Worker, _, Some(member)) if action.is_none() => {
                action = departure(members, member);
            }
            // It was removed from Raft and the state was not updated. While it is up it may be just joining.
            (_, _, None) if node.manager.is_some() && node_status::state(node) == NodeState::Down => {
                planner.step([Write::UpdateNode(Node { manager: None, ..Node::clone(node) })]);
            }
            _ => {}
        }
    }
    // Members whose node was removed.
    let mut strangers = members.iter().filter(|member| view.node(&member.node_id).is_none());
    let action = action.or_else(|| strangers.find_map(|member| departure(members, member)));
    let raises = feature_level::plan(view, members, &mut planner);
    RolePlan { plan: planner.finish(), action, raises }
}

/// The next step of removing a member; `None` while the rest would have no quorum.
fn departure(members: &[Member], member: &Member) -> Option<RaftAction> {
    if !can_remove_member(members, member.raft_id) {
        return None;
    }
    Some(if member.leader { RaftAction::MoveLeadership } else { RaftAction::RemoveMember { raft_id: member.raft_id } })
}

/// Validates the role in a node's new spec.
///
/// # Errors
/// When it demotes the last manager, or one without which there is no quorum, or promotes a node whose release is too old.
pub fn check_spec(view: &View, members: &[Member], node_id: &str, spec: &NodeSpec) -> Result<(), RoleError> {
    let node = view.node(node_id).ok_or_else(|| RoleError::NotFound(node_id.to_owned()))?;
    match (node_status::desired_role(node), spec.desired_role()) {
        (NodeRole::Manager, NodeRole::Worker) => {}
        (NodeRole::Worker, NodeRole::Manager) => return check_level(view, node_id, feature_level::of(node)),
        _ => return Ok(()),
    }
    // By the desired role, so that of two demotions at once only the first is accepted.
    if view.managers().filter(|node| node_status::desired_role(node) == NodeRole::Manager).count() == 1 {
        return Err(RoleError::LastManager);
    }
    match members.iter().find(|member| member.node_id == node_id) {
        Some(member) if !can_remove_member(members, member.raft_id) => Err(RoleError::QuorumLoss),
        _ => Ok(()),
    }
}

/// Whether a node whose release knows that feature level may join Raft. Without this check a member being demoted could
/// join again before its role is taken.
///
/// # Errors
/// When there is no such node, or it is not to be a manager, or its release is too old.
pub fn check_join(view: &View, node_id: &str, knows: u32) -> Result<(), RoleError> {
    match view.node(node_id).map(|node| node_status::desired_role(node)) {
        None => Err(RoleError::NotFound(node_id.to_owned())),
        Some(NodeRole::Worker) => Err(RoleError::NotWanted(node_id.to_owned())),
        Some(NodeRole::Manager) => check_level(view, node_id, knows),
    }
}

fn check_level(view: &View, node_id: &str, knows: u32) -> Result<(), RoleError> {
    let level = view.feature_level();
    if knows >= level { Ok(()) } else { Err(RoleError::TooOld { id: node_id.to_owned(), knows, level }) }
}

/// Whether the other members have a quorum without this one, and there is a quorum to remove it.
pub fn can_remove_member(members: &[Member], raft_id: u64) -> bool {
    let has_quorum = |of: &dyn Fn(&Member) -> bool| {
        let voters = members.iter().filter(|member| member.voter && of(member));
        let (all, reachable) = voters.fold((0, 0), |(all, up), member| (all + 1, up + usize::from(member.reachable)));
        reachable > all / 2
    };
    has_quorum(&|_| true) && has_quorum(&|member| member.raft_id != raft_id)
}

/// The removal of a node; its tasks are moved by the orchestrator and given up by the reaper.
///
/// # Errors
/// When there is no such node, it is a manager, or it is up and `force` is not set.
pub fn remove_node(
    view: &View,
    members: &[Member],
    node_id: &str,
    force: bool,
    now: Timestamp,
) -> Result<Transaction, RoleError> {
    let node = view.node(node_id).ok_or_else(|| RoleError::NotFound(node_id.to_owned()))?;
    if members.iter().any(|member| member.node_id == node_id) {
        return Err(RoleError::IsManager(node_id.to_owned()));
    }
    if !force && node_status::state(node) == NodeState::Ready {
        return Err(RoleError::NotDown(node_id.to_owned()));
    }
    let mut tx = TxBuilder::new(view, now);
    tx.remove(ObjectKind::Node, node_id);
    Ok(tx.build())
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{Cluster, ManagerStatus, NodeDescription, NodeStatus};

    use super::*;

    const M: NodeRole = NodeRole::Manager;
    const W: NodeRole = NodeRole::Worker;

    fn member(raft_id: u64, reachable: bool, leader: bool) -> Member {
        Member { raft_id, node_id: format!("n{raft_id}"), voter: true, reachable, leader }
    }

    fn node(number: u64, desired: NodeRole, role: NodeRole) -> Node {
        Node {
            id: format!("n{number}"),
            spec: Some(NodeSpec { desired_role: desired.into(), ..NodeSpec::default() }),
            role: role.into(),
            manager: (role == M).then(|| ManagerStatus { raft_id: number, ..ManagerStatus::default() }),
            status: Some(NodeStatus { state: NodeState::Ready.into(), ..NodeStatus::default() }),
            ..Node::default()
        }
    }

    fn view(nodes: impl IntoIterator<Item = Node>) -> View {
        let empty = View::default();
        let mut tx = TxBuilder::new(&empty, Timestamp(1));
        for node in nodes {
            tx.create(node);
        }
        let tx = tx.build();
        empty.apply(1, &tx).unwrap().0
    }

    fn settle(view: &View, members: &[Member]) -> (View, Option<RaftAction>) {
        let RolePlan { plan, action, .. } = super::plan(view, members, Timestamp(2));
        let next =
            plan.transactions.iter().fold(view.clone(), |view, tx| view.apply(view.version() + 1, tx).unwrap().0);
        assert!(super::plan(&next, members, Timestamp(2)).plan.is_empty());
        (next, action)
    }

    #[test]
    fn promotion_gives_the_role_and_demotion_takes_it_last() {
        let before = view([node(1, M, M), node(2, W, M), node(3, M, W), node(4, M, M)]);
        let members = [member(1, true, true), member(2, true, false), member(4, true, false)];
        let (next, action) = settle(&before, &members);
        assert_eq!(next.node("n3").unwrap().role(), M);
        assert_eq!((next.node("n2").unwrap().role(), action), (M, Some(RaftAction::RemoveMember { raft_id: 2 })));

        let (next, action) = settle(&next, &[member(1, true, true), member(4, true, false)]);
        let demoted = next.node("n2").unwrap();
        assert_eq!((demoted.role(), demoted.manager.as_ref(), action), (W, None, None));
    }

    #[test]
    fn a_leader_hands_over_before_it_goes() {
        let view = view([node(1, W, M), node(2, M, M), node(3, M, M)]);
        let members = [member(1, true, true), member(2, true, false), member(3, true, false)];
        assert_eq!(settle(&view, &members).1, Some(RaftAction::MoveLeadership));
    }

    #[test]
    fn who_has_to_wait_holds_up_nobody_before_it() {
        let view = view([node(1, M, M), node(2, W, M), node(3, W, M)]);
        let members = [member(1, true, true), member(2, false, false), member(3, true, false)];
        assert_eq!(settle(&view, &members).1, Some(RaftAction::RemoveMember { raft_id: 2 }));
    }

    #[test]
    fn who_became_a_member_too_late_is_taken_out() {
        let members = [member(1, true, true), member(2, true, false), member(3, true, false)];
        let late = view([node(1, M, M), node(2, W, W), node(3, M, M)]);
        assert_eq!(settle(&late, &members).1, Some(RaftAction::RemoveMember { raft_id: 2 }));
        let removed = view([node(1, M, M), node(3, M, M)]);
        assert_eq!(settle(&removed, &members).1, Some(RaftAction::RemoveMember { raft_id: 2 }));
        let unknown = view([]);
        assert_eq!(settle(&unknown, &members[..1]).1, None, "nobody would be left");
    }

    #[test]
    fn who_is_being_demoted_does_not_come_back() {
        let nodes = view([node(1, M, M), node(2, W, M)]);
        assert_eq!(check_join(&nodes, "n1", 0), Ok(()));
        assert_eq!(check_join(&nodes, "n2", 0), Err(RoleError::NotWanted("n2".into())));
        assert_eq!(check_join(&nodes, "n3", 0), Err(RoleError::NotFound("n3".into())));
    }

    #[test]
    fn who_is_too_old_becomes_no_manager() {
        let describe = |feature_level| Some(NodeDescription { feature_level, ..NodeDescription::default() });
        let old = Node { description: describe(0), ..node(2, W, W) };
        let new = Node { description: describe(3), ..node(3, W, W) };
        let before = view([node(1, M, M), old, new, node(4, M, W)]);
        let mut tx = TxBuilder::new(&before, Timestamp(1));
        tx.create(Cluster { id: "c".into(), feature_level: 3, ..Cluster::default() });
        let tx = tx.build();
        let at_three = before.apply(2, &tx).unwrap().0;
        let too_old = |id: &str, knows| Err(RoleError::TooOld { id: id.into(), knows, level: 3 });
        let promote = NodeSpec { desired_role: M.into(), ..NodeSpec::default() };
        let check = |view: &View, id: &str| check_spec(view, &[], id, &promote);
        assert_eq!(
            (check(&before, "n2"), check(&at_three, "n2"), check(&at_three, "n3")),
            (Ok(()), too_old("n2", 0), Ok(()))
        );
        assert_eq!((check_join(&at_three, "n4", 2), check_join(&at_three, "n4", 3)), (too_old("n4", 2), Ok(())));
        assert_eq!(
            check(&at_three, "n2").unwrap_err().to_string(),
            "node n2 runs a release of skep that knows feature level 0, and the managers of this swarm use level 3: upgrade skep on that node first"
        );
    }

    #[test]
    fn what_is_refused_at_admission() {
        let check = |view: &View, members: &[Member], id: &str| {
            check_spec(view, members, id, &NodeSpec { desired_role: W.into(), ..NodeSpec::default() })
        };
        let three = view([node(1, M, M), node(2, M, M), node(3, M, M)]);
        let up = [member(1, true, true), member(2, true, false), member(3, true, false)];
        assert_eq!(check(&three, &up, "n2"), Ok(()));
        assert_eq!(check(&three, &up, "nx"), Err(RoleError::NotFound("nx".into())));
        let one_down = [member(1, true, true), member(2, true, false), member(3, false, false)];
        assert_eq!(check(&three, &one_down, "n2"), Err(RoleError::QuorumLoss));
        assert_eq!(check(&three, &one_down, "n3"), Ok(()));

        let last = view([node(1, M, M), node(2, W, M), node(3, W, W)]);
        assert_eq!(check(&last, &up, "n1"), Err(RoleError::LastManager));
        // Whoever is no manager has nothing to lose.
        assert_eq!(check(&last, &up, "n2"), Ok(()));
    }

    #[test]
    fn quorums_count_voters_only() {
        let mut members = [member(1, true, true), member(2, true, false), member(3, true, false)];
        assert!(can_remove_member(&members, 3));
        members[1].voter = false;
        members[2].reachable = false;
        assert!(!can_remove_member(&members, 3), "of two voters one cannot decide");
        assert!(!can_remove_member(&[member(1, true, true)], 1), "nobody would be left");
    }

    #[test]
    fn which_nodes_may_be_removed() {
        let mut down = node(3, W, W);
        down.status = Some(NodeStatus { state: NodeState::Down.into(), ..NodeStatus::default() });
        let view = view([node(1, M, M), node(2, W, W), down]);
        let members = [member(1, true, true)];
        let remove = |id: &str, force| remove_node(&view, &members, id, force, Timestamp(2)).map(|_| ());
        assert_eq!(remove("n1", true), Err(RoleError::IsManager("n1".into())));
        assert_eq!(remove("n2", false).unwrap_err().to_string(), "node n2 is not down and can't be removed");
        assert_eq!((remove("n2", true), remove("n3", false)), (Ok(()), Ok(())));
        assert_eq!(remove("n9", false), Err(RoleError::NotFound("n9".into())));
    }

    #[test]
    fn a_manager_that_left_by_itself_is_noted_once_it_is_down() {
        let mut gone = node(2, M, M);
        let up = view([node(1, M, M), gone.clone()]);
        let members = [member(1, true, true)];
        assert!(settle(&up, &members).0.node("n2").unwrap().manager.is_some(), "it may be just joining");
        gone.status = Some(NodeStatus { state: NodeState::Down.into(), ..NodeStatus::default() });
        let down = view([node(1, M, M), gone]);
        assert!(settle(&down, &members).0.node("n2").unwrap().manager.is_none());
        assert!(settle(&down, &[]).0.node("n2").unwrap().manager.is_some(), "without members nothing is decided");
    }
}
