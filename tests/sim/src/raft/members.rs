//! Who is a member, and how that changes: one entry of the log at a time, a new member as a learner first.

use std::collections::BTreeMap;

use skep_common::clock::Timestamp;
use skep_core::roles;
use skep_store::{TxBuilder, View};

use super::{Content, LogEntry, Manager, Raft, copy};
use crate::{
    Mutant,
    context::{Context, Step, must},
    event::Event,
    leader::Origin,
    tally::Kind,
};

/// Where all managers are.
const ADDR: &str = "10.0.0.1:2377";

/// A learner that lacks no more entries than this has caught up.
const CLOSE: u64 = 100;

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// The node it is on.
    pub(crate) node: String,
    /// Whether it counts; if not, it is catching up.
    pub(crate) votes: bool,
}

/// All of them, by Raft id.
pub(super) type Members = BTreeMap<u64, Member>;

impl Raft {
    /// The members as the leader sees them now.
    pub(crate) fn members(&self) -> Vec<roles::Member> {
        let side = self.leader.and_then(|leader| self.managers.get(&leader)).map(|leader| leader.is_cut);
        let member = |(id, member): (&u64, &Member)| roles::Member {
            raft_id: *id,
            node_id: member.node.clone(),
            voter: member.votes,
            reachable: self.managers.get(id).is_some_and(|it| it.is_up && side.is_none_or(|side| it.is_cut == side)),
            leader: self.leader == Some(*id),
        };
        self.members.iter().map(member).collect()
    }

    /// The member on a node.
    pub(crate) fn member_on(&self, node: &str) -> Option<(u64, &Member)> {
        self.members.iter().map(|(id, member)| (*id, member)).find(|(_, member)| member.node == node)
    }

    /// The nodes whose members voted after this entry.
    pub(crate) fn voters_at(&self, index: u64) -> Vec<String> {
        let then = self.membership.iter().rev().find(|(from, _)| *from <= index);
        let voters = then.into_iter().flat_map(|(_, members)| members.values()).filter(|member| member.votes);
        voters.map(|member| member.node.clone()).collect()
    }

    pub(super) fn votes(&self, id: u64) -> bool {
        self.members.get(&id).is_some_and(|member| member.votes)
    }

    /// Whether a manager reaches a majority of those who vote.
    pub(crate) fn has_quorum(&self, id: u64) -> bool {
        let Some(own) = self.managers.get(&id) else { return false };
        let voters = || self.members.iter().filter(|(_, member)| member.votes).map(|(id, _)| *id);
        let reached = voters().filter_map(|id| self.managers.get(&id)).filter(|it| it.is_up && it.is_cut == own.is_cut);
        reached.count() > voters().count() / 2
    }

    /// A node's first step to being a member: the entry that gives it a Raft id.
    pub(crate) fn admit(&mut self, context: &mut Context, view: &View, node: &str, now: Timestamp) {
        let mut tx = TxBuilder::new(view, now);
        tx.assign_raft_id(node, ADDR);
        self.propose(context, Origin::Join, view, vec![tx.build()]);
    }

    /// The second: it is a member that catches up.
    pub(crate) fn add_learner(&mut self, context: &mut Context, id: u64, node: &str) {
        if self.is_changing() || self.member_on(node).is_some() {
            return;
        }
        let mut members = self.members.clone();
        members.insert(id, Member { node: node.to_owned(), votes: false });
        self.change(context, members);
    }

    /// Keeps things tidy while a leader leads: members that have caught up vote, and nodes have on record what they are.
    pub(crate) fn tidy(&mut self, context: &mut Context, term: u64) {
        let Some(leader) = self.leader.filter(|_| term == self.term) else { return };
        context.soon(400, 1000, Event::Tidy { term });
        if self.is_changing() || !self.has_quorum(leader) {
            return;
        }
        let view = self.managers[&leader].view.clone();
        let mut tx = TxBuilder::new(&view, context.wall());
        tx.record_members(self.members.iter().map(|(id, member)| (*id, member.node.as_str(), ADDR)));
        if !tx.is_empty() {
            let transaction = tx.build();
            self.propose(context, Origin::Raft, &view, vec![transaction]);
        }
        let side = self.managers[&leader].is_cut;
        let has_caught_up = |id: &u64| {
            let manager = self.managers.get(id);
            let manager = manager.filter(|manager| manager.is_up && manager.is_cut == side);
            manager.is_some_and(|manager| manager.view.version() + CLOSE > self.committed as u64)
        };
        let mut members = self.members.clone();
        for (_, member) in members.iter_mut().filter(|(id, _)| has_caught_up(id)) {
            member.votes = true;
        }
        if members != self.members {
            self.change(context, members);
        }
    }

    /// Takes a member out, unless things have changed since that was decided.
    pub(crate) fn remove_member(&mut self, context: &mut Context, id: u64) -> Step {
        let rest = roles::can_remove_member(&self.members(), id);
        if self.is_changing() || self.leader == Some(id) || !rest && !context.mutant.has(Mutant::BlindDemotion) {
            return Ok(());
        }
        must!(rest, "m{id} is taken out, and the others are no quorum: {:?}", self.members());
        let mut members = self.members.clone();
        members.remove(&id);
        self.change(context, members);
        Ok(())
    }

    fn is_changing(&self) -> bool {
        self.log[self.committed..].iter().any(|entry| matches!(entry.content, Content::Members(_)))
    }

    fn change(&mut self, context: &mut Context, members: Members) {
        self.log.push(LogEntry { content: Content::Members(members), origin: Origin::Raft, seen: None });
        self.commit_soon(context);
    }

    /// A change is committed.
    pub(super) fn become_members(&mut self, context: &mut Context, members: Members) {
        for (id, member) in &members {
            let known = self.members.get(id);
            if member.votes && known.is_none_or(|known| !known.votes) {
                context.tally.count(Kind::Promotion);
                context.log(format_args!("m{id} on {} votes", member.node));
            }
            if !self.managers.contains_key(id) {
                context.log(format_args!("m{id} on {} catches up", member.node));
                self.managers.insert(*id, Manager::new(&member.node, &mut context.rng));
            }
        }
        for (id, member) in self.members.iter().filter(|(id, _)| !members.contains_key(id)) {
            context.tally.count(Kind::Demotion);
            context.log(format_args!("m{id} on {} is a member no more", member.node));
            // The node hears of it, and joins anew should it still have the role.
            context.soon(50, 2000, Event::Join { node: member.node.clone() });
        }
        self.managers.retain(|id, _| members.contains_key(id));
        self.members = members;
    }

    /// A new member gets the leader's snapshot, as an alternative to the whole log.
    pub(crate) fn install_snapshot(&mut self, id: u64) -> Step {
        let Some(leader) = self.leader.and_then(|leader| self.managers.get(&leader)) else { return Ok(()) };
        let is_in_need = |it: &&Manager| it.view.version() == 0 && it.is_up && it.is_cut == leader.is_cut;
        if self.managers.get(&id).filter(is_in_need).is_none() {
            return Ok(());
        }
        let newest = copy(&leader.view)?;
        if let Some(manager) = self.managers.get_mut(&id) {
            manager.view = newest;
        }
        Ok(())
    }
}
