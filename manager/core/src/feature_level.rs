//! When the cluster's feature level rises: once every manager has reported that its release supports the next one. And which
//! level a node has to support to run a task.
//!
//! Owns `Cluster.feature_level` from the second entry of the log on. Every node counts that may have to read the log: Raft
//! members, nodes admitted as such, and nodes that are to be managers. One of them that is away holds the level down until
//! it comes back with a newer release or is no manager any more. The level never falls, so a node that supports less cannot
//! become a manager ([`crate::roles::check_join`]).

use std::sync::Arc;

use skep_common::feature_level::FEATURE_LEVEL;
use skep_proto::v1::{Cluster, ContainerSpec, Node, ObjectKind, TaskSpec};
use skep_store::View;

use crate::{
    plan::{Planner, Write},
    roles::member::{self, Member},
};

/// The level that the node's release supports, as its agent has reported.
pub fn of(node: &Node) -> u32 {
    node.description.as_ref().map_or(0, |description| description.feature_level)
}

/// The level a node has to support to run such a task: that of the newest field it uses. A node below it would silently
/// ignore that field.
pub(crate) fn of_task(spec: &TaskSpec) -> u32 {
    // All fields by name: one that is new has to name its level.
    let TaskSpec { container, resources: _, restart: _, placement: _, network: _, log_driver: _, force_update: _ } =
        spec;
    container.as_ref().map_or(0, of_container)
}

fn of_container(spec: &ContainerSpec) -> u32 {
    let ContainerSpec {
        image: _,
        labels: _,
        command: _,
        args: _,
        hostname: _,
        env: _,
        dir: _,
        user: _,
        groups: _,
        tty: _,
        open_stdin: _,
        read_only: _,
        stop_signal: _,
        stop_grace_period: _,
        init: _,
        capability_add: _,
        capability_drop: _,
        hosts: _,
        sysctls: _,
        ulimits: _,
        oom_score_adj: _,
        no_healthcheck: _,
    } = spec;
    // A field that came with level n asks for n where it is set; these are as old as the levels.
    0
}

/// Whether a node supports everything that a task of this level uses.
pub(crate) fn is_known_to(node: &Node, level: u32) -> bool {
    of(node) >= level
}

/// The level the cluster rises to now, if it does. `members`: the Raft members.
pub fn next(view: &View, members: &[Member]) -> Option<u32> {
    let is_known = |member: &Member| view.node(&member.node_id).is_some();
    if members.is_empty() || !members.iter().all(is_known) {
        return None;
    }
    let known = managers(view, members).map(|node| of(node)).min()?.min(FEATURE_LEVEL);
    Some(known).filter(|known| *known > view.feature_level())
}

/// Plans the rise, on condition that no manager changes meanwhile, and returns the new level.
pub(crate) fn plan(view: &View, members: &[Member], planner: &mut Planner<'_>) -> Option<u32> {
    let (cluster, level) = (view.cluster()?, next(view, members)?);
    let raised = Cluster { feature_level: level, ..Cluster::clone(cluster) };
    let managers = managers(view, members).map(|node| (ObjectKind::Node, node.id.as_str()));
    planner.step_while(managers, [Write::UpdateCluster(Box::new(raised))]);
    Some(level)
}

fn managers<'a>(view: &'a View, members: &'a [Member]) -> impl Iterator<Item = &'a Arc<Node>> {
    member::managing_nodes(view, members).into_values()
}

#[cfg(test)]
mod tests {
    use skep_common::clock::Timestamp;
    use skep_proto::v1::{ManagerStatus, NodeDescription, NodeRole, NodeSpec};
    use skep_store::TxBuilder;

    use super::*;

    /// What a node is to the managers, and what it knows.
    struct Case {
        desired: NodeRole,
        role: NodeRole,
        was_let_in: bool,
        is_member: bool,
        knows: Option<u32>,
    }

    const MANAGER: Case = Case {
        desired: NodeRole::Manager,
        role: NodeRole::Manager,
        was_let_in: true,
        is_member: true,
        knows: Some(FEATURE_LEVEL),
    };
    const WORKER: Case =
        Case { desired: NodeRole::Worker, role: NodeRole::Worker, was_let_in: false, is_member: false, knows: None };

    fn swarm(level: u32, cases: &[Case]) -> (View, Vec<Member>) {
        let empty = View::default();
        let mut tx = TxBuilder::new(&empty, Timestamp(1));
        tx.create(Cluster { id: "c".into(), feature_level: level, ..Cluster::default() });
        let mut members = Vec::new();
        for (raft_id, case) in (1..).zip(cases) {
            let id = format!("n{raft_id}");
            let description = |feature_level| NodeDescription { feature_level, ..NodeDescription::default() };
            tx.create(Node {
                id: id.clone(),
                spec: Some(NodeSpec { desired_role: case.desired.into(), ..NodeSpec::default() }),
                role: case.role.into(),
                manager: case.was_let_in.then(|| ManagerStatus { raft_id, ..ManagerStatus::default() }),
                description: case.knows.map(description),
                ..Node::default()
            });
            if case.is_member {
                members.push(Member { raft_id, node_id: id, voter: true, reachable: true, leader: raft_id == 1 });
            }
        }
        let tx = tx.build();
        (empty.apply(1, &tx).unwrap().0, members)
    }

    fn rises(level: u32, cases: &[Case]) -> Option<u32> {
        let (view, members) = swarm(level, cases);
        next(&view, &members)
    }

    #[test]
    fn the_level_rises_once_whoever_may_read_the_log_knows_it() {
        let old = |case: Case| Case { knows: Some(0), ..case };
        let newer = Case { knows: Some(FEATURE_LEVEL + 1), ..MANAGER };
        let up = Some(FEATURE_LEVEL);
        for (case, cases, expected) in [
            ("alone", vec![MANAGER], up),
            ("all new", vec![MANAGER, MANAGER, MANAGER], up),
            ("one old", vec![MANAGER, MANAGER, old(MANAGER)], None),
            ("one was never heard", vec![MANAGER, Case { knows: None, ..MANAGER }], None),
            ("workers do not count", vec![MANAGER, WORKER, old(WORKER)], up),
            ("one is newer than this release", vec![MANAGER, newer], up),
            ("to be promoted", vec![MANAGER, old(Case { desired: NodeRole::Manager, ..WORKER })], None),
            ("not yet demoted", vec![MANAGER, old(Case { role: NodeRole::Manager, ..WORKER })], None),
            ("a member by the state alone", vec![MANAGER, old(Case { was_let_in: true, ..WORKER })], None),
            ("a member by Raft alone", vec![MANAGER, old(Case { is_member: true, ..WORKER })], None),
            ("nobody is a member", vec![Case { is_member: false, ..MANAGER }], None),
        ] {
            assert_eq!(rises(0, &cases), expected, "{case}");
        }
        assert_eq!(rises(FEATURE_LEVEL, &[MANAGER]), None, "it is there already");
        assert_eq!(rises(FEATURE_LEVEL + 1, &[MANAGER]), None, "it never sinks");
    }

    #[test]
    fn a_member_that_nobody_knows_holds_it_back() {
        let (view, mut members) = swarm(0, &[MANAGER]);
        members.push(Member { raft_id: 9, node_id: "gone".into(), ..members[0].clone() });
        assert_eq!(next(&view, &members), None);
    }

    #[test]
    fn it_is_written_once_and_only_while_the_managers_are_as_they_were_seen() {
        let (view, members) = swarm(0, &[MANAGER, MANAGER]);
        let mut planner = Planner::new(&view, Timestamp(2));
        assert_eq!(plan(&view, &members, &mut planner), Some(FEATURE_LEVEL));
        let raise = &planner.finish().transactions[0];
        let raised = view.apply(2, raise).unwrap().0;
        assert_eq!((raised.feature_level(), next(&raised, &members)), (FEATURE_LEVEL, None));

        let mut tx = TxBuilder::new(&view, Timestamp(2));
        tx.update(Node { description: None, ..Node::clone(view.node("n2").unwrap()) });
        let tx = tx.build();
        assert!(view.apply(2, &tx).unwrap().0.apply(3, raise).is_err());
    }
}
