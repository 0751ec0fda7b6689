//! Nodes becoming managers and ceasing to be: what the node and the leader do about it beside the plans.

use skep_common::feature_level::FEATURE_LEVEL;
use skep_core::roles::{self, RaftAction};
use skep_proto::v1::NodeRole;
use skep_store::{AnyObject, Change, ChangeSet, View};

use super::Simulation;
use crate::{context::Step, event::Event, tally::Kind};

impl Simulation {
    /// A node that got the role of a manager fetches its certificate, and asks to be a member.
    pub(super) fn notice_promotions(&mut self, changes: &ChangeSet) {
        for change in &changes.changes {
            if let Change::Update { old: AnyObject::Node(old), new: AnyObject::Node(new) } = change
                && new.role() == NodeRole::Manager
                && old.role() != NodeRole::Manager
            {
                self.context.soon(100, 2000, Event::Join { node: new.id.clone() });
            }
        }
    }

    /// A node asks the leader to make it a member, again and again until it is one or is no manager any more.
    pub(super) fn join_managers(&mut self, node: String) {
        let newest = self.raft.newest();
        let has_role = |view: &View| view.node(&node).is_some_and(|node| node.role() == NodeRole::Manager);
        if !has_role(&newest) || self.raft.member_on(&node).is_some() {
            return;
        }
        let side = self.leader.as_ref().map(|leader| leader.is_cut);
        let machine = self.nodes.get(&node).filter(|node| node.agent.is_some()).map(|node| &node.machine);
        let is_reached = machine.is_some_and(|machine| side.is_some_and(|side| machine.reach.reaches(side)));
        let may_join = |view: &View| has_role(view) && roles::check_join(view, &node, FEATURE_LEVEL).is_ok();
        if is_reached && let Some(view) = self.raft.leader_view().filter(may_join) {
            let now = self.context.wall();
            self.raft.admit(&mut self.context, &view, &node, now);
        }
        self.context.soon(1000, 4000, Event::Join { node });
    }

    /// A node has its Raft id.
    pub(super) fn admitted(&mut self, raft_id: u64, view: &View) {
        let is_it = |node: &&std::sync::Arc<skep_proto::v1::Node>| {
            node.manager.as_ref().is_some_and(|manager| manager.raft_id == raft_id)
        };
        if let Some(node) = view.nodes().find(is_it) {
            self.raft.add_learner(&mut self.context, raft_id, &node.id);
        }
    }

    /// What the role manager decided about a member is done.
    pub(super) fn change_members(&mut self, term: u64, action: &RaftAction) -> Step {
        if self.raft.term != term || self.raft.leader_view().is_none() {
            return Ok(());
        }
        match action {
            RaftAction::MoveLeadership => {
                self.context.tally.count(Kind::LeadMoved);
                self.raft.abdicate(&mut self.context);
                self.leader_is_gone();
                Ok(())
            }
            RaftAction::RemoveMember { raft_id } => self.raft.remove_member(&mut self.context, *raft_id),
        }
    }
}
