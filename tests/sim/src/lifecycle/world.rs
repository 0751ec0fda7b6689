//! The swarm the nodes belong to: its state, and its members as a list that one leader at a time changes.

use std::time::Duration;

use skep_common::{clock::Timestamp, feature_level::FEATURE_LEVEL};
use skep_core::roles::{self, RaftAction};
use skep_proto::v1::{Certificate, ManagerStatus, Node, NodeRole, NodeSpec, NodeState, NodeStatus, Transaction};
use skep_store::{TxBuilder, View};

const ADDR: &str = "10.0.0.1:2377";

/// How long a new member that does not come is waited for.
const CATCH_UP: Duration = Duration::from_secs(60);

/// How a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Failed,
    /// It took effect, and the caller does not know.
    Lost,
    Answered,
}

/// A member of consensus.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) raft_id: u64,
    pub(super) node: String,
    pub(super) votes: bool,
    leaving: bool,
    /// When it was last reached; at first, when it was added.
    reached: Duration,
}

/// The state and the members.
pub(super) struct World {
    view: View,
    members: Vec<Member>,
    leader: Option<String>,
    /// Who led last and does not want to.
    abdicated: Option<String>,
}

impl World {
    /// So many of these nodes are managers.
    pub(super) fn new(ids: &[String], managers: usize) -> Self {
        let empty = View::default();
        let mut tx = TxBuilder::new(&empty, Timestamp(1));
        let mut members = Vec::new();
        for (index, id) in ids.iter().enumerate() {
            let role = if index < managers { NodeRole::Manager } else { NodeRole::Worker };
            let raft_id = index as u64 + 1;
            tx.create(Node {
                id: id.clone(),
                spec: Some(NodeSpec { desired_role: role.into(), ..NodeSpec::default() }),
                role: role.into(),
                status: Some(NodeStatus { state: NodeState::Ready.into(), ..NodeStatus::default() }),
                manager: (index < managers).then(|| ManagerStatus {
                    raft_id,
                    addr: ADDR.into(),
                    ..ManagerStatus::default()
                }),
                ..Node::default()
            });
            if index < managers {
                let node = id.clone();
                members.push(Member { raft_id, node, votes: true, leaving: false, reached: Duration::ZERO });
            }
        }
        let view = empty.apply(100, &tx.build()).map_or_else(|_| View::default(), |(view, _)| view);
        Self { view, members, leader: None, abdicated: None }
    }

    fn apply(&mut self, transaction: &Transaction) {
        // Refusals are for who proposed it to see.
        if let Ok((view, _)) = self.view.apply(self.view.version() + 1, transaction) {
            self.view = view;
        }
    }

    fn update(&mut self, id: &str, change: impl FnOnce(&mut Node)) {
        let Some(mut node) = self.view.node(id).map(|node| Node::clone(node)) else { return };
        change(&mut node);
        let mut tx = TxBuilder::new(&self.view, Timestamp(1));
        tx.update(node);
        let transaction = tx.build();
        self.apply(&transaction);
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(super) fn nodes(&self) -> usize {
        self.view.node_count()
    }

    pub(super) fn leader(&self) -> Option<&str> {
        self.leader.as_deref()
    }

    /// The leader goes on while it can; else the first of those who can.
    pub(super) fn elect(&mut self, candidates: &[String]) {
        if !self.leader.as_ref().is_some_and(|leader| candidates.contains(leader)) {
            let others = candidates.iter().find(|id| self.abdicated.as_ref() != Some(id));
            self.leader = others.or(candidates.first()).cloned();
            self.abdicated = None;
        }
    }

    pub(super) fn role(&self, id: &str) -> NodeRole {
        self.view.node(id).map_or(NodeRole::Worker, |node| node.role())
    }

    pub(super) fn asked(&self, id: &str) -> NodeRole {
        let spec = self.view.node(id).and_then(|node| node.spec.as_ref());
        spec.map_or(NodeRole::Worker, |spec| spec.desired_role())
    }

    /// The certificate on record for the node is for this key.
    pub(super) fn certify(&mut self, id: &str, key: u64) {
        let certificate = Certificate { public_key: key.to_be_bytes().to_vec(), ..Certificate::default() };
        self.update(id, |node| node.certificate = Some(certificate));
    }

    pub(super) fn holds(&self, id: &str, key: u64) -> bool {
        let certificate = self.view.node(id).and_then(|node| node.certificate.as_ref());
        certificate.is_some_and(|certificate| certificate.public_key == key.to_be_bytes())
    }

    fn seen(&self, is_reached: impl Fn(&Member) -> bool) -> Vec<roles::Member> {
        let member = |it: &Member| roles::Member {
            raft_id: it.raft_id,
            node_id: it.node.clone(),
            voter: it.votes,
            reachable: is_reached(it),
            leader: self.leader.as_ref() == Some(&it.node),
        };
        self.members.iter().map(member).collect()
    }

    /// A user asks for the other role, where that is admitted.
    pub(super) fn change_role(&mut self, id: &str, is_up: impl Fn(&str) -> bool) {
        let Some(node) = self.view.node(id) else { return };
        let spec = node.spec.clone().unwrap_or_default();
        let other = if spec.desired_role() == NodeRole::Manager { NodeRole::Worker } else { NodeRole::Manager };
        let spec = NodeSpec { desired_role: other.into(), ..spec };
        let managers = self.view.nodes().filter(|node| self.asked(&node.id) == NodeRole::Manager).count();
        if self.leader.is_none()
            || other == NodeRole::Worker && managers <= 3
            || roles::check_spec(&self.view, &self.seen(|it| is_up(&it.node)), id, &spec).is_err()
        {
            return;
        }
        self.update(id, |node| node.spec = Some(spec));
    }

    /// A node asks to be a member: its new Raft id, or the refusal.
    pub(super) fn join(&mut self, id: &str, now: Duration) -> Option<u64> {
        roles::check_join(&self.view, id, FEATURE_LEVEL).ok()?;
        if self.role(id) != NodeRole::Manager || self.leader.as_deref() == Some(id) {
            return None;
        }
        self.members.retain(|member| member.node != id);
        let mut tx = TxBuilder::new(&self.view, Timestamp(1));
        tx.assign_raft_id(id, ADDR);
        let transaction = tx.build();
        self.apply(&transaction);
        let raft_id = self.view.version();
        self.members.push(Member { raft_id, node: id.to_owned(), votes: false, leaving: false, reached: now });
        Some(raft_id)
    }

    /// What a leader does in one go. The members that were told that they vote no more.
    pub(super) fn tidy(&mut self, reachable: &[u64], now: Duration, wall: Timestamp) -> Vec<u64> {
        for member in &mut self.members {
            if reachable.contains(&member.raft_id) {
                member.reached = now;
            }
        }
        let plan = roles::plan(&self.view, &self.seen(|it| reachable.contains(&it.raft_id)), wall);
        for transaction in &plan.plan.transactions {
            self.apply(transaction);
        }
        // A removal takes two goes, and a leader may end in between.
        self.members.retain(|member| member.votes || !member.leaving);
        let mut told = Vec::new();
        match plan.action {
            Some(RaftAction::MoveLeadership) => self.abdicated = self.leader.take(),
            Some(RaftAction::RemoveMember { raft_id }) => {
                for member in self.members.iter_mut().filter(|member| member.raft_id == raft_id) {
                    (member.votes, member.leaving) = (false, true);
                    told.extend(reachable.contains(&raft_id).then_some(raft_id));
                }
            }
            None => {
                for member in &mut self.members {
                    member.votes |= !member.leaving && reachable.contains(&member.raft_id);
                }
                self.members.retain(|member| member.votes || now.saturating_sub(member.reached) < CATCH_UP);
            }
        }
        let mut tx = TxBuilder::new(&self.view, wall);
        tx.record_members(self.members.iter().map(|member| (member.raft_id, member.node.as_str(), ADDR)));
        if !tx.is_empty() {
            let transaction = tx.build();
            self.apply(&transaction);
        }
        told
    }
}
