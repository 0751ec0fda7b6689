//! Authorization of Raft RPCs: only members may call, each under its own Raft id.
//!
//! The certificate says which node calls, and the membership which Raft id that node has. The role in the certificate does
//! not matter, nor whether there is a leader.
//!
//! The membership is the one in this member's log, or the one the leader has told it, whichever is newer. A member that is
//! new, or was away while others were replaced, does not have the members in its log yet that could bring it up to date; it
//! asks the managers it knows (they forward it to the leader), and trusts their answer.
//!
//! A removal counts once it is committed: until then the removed member may call as well, or a leader that removes itself
//! could not replicate the removal. A follower learns of that commit only from the removed leader itself, which needs nothing
//! more by then; what follows from the removal is done by the next leader.
//!
//! Owns the membership that was told last, and the one that was committed last.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::types::{Metrics, Raft};

/// The members as a leader tells another one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToldMembers {
    /// Index of the log entry with this membership.
    pub version: u64,
    /// Node ids by Raft id.
    pub nodes: BTreeMap<u64, String>,
}

/// Knows the members. Clones know the same.
#[derive(Clone)]
pub struct Roster {
    raft: Raft,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    told: ToldMembers,
    committed: ToldMembers,
}

impl Roster {
    pub(crate) fn new(raft: Raft) -> Self {
        Self { raft, state: Arc::default() }
    }

    /// Takes in what the leader says, in place of what one has said before.
    pub(crate) fn tell(&self, members: ToldMembers) {
        self.lock().told = members;
    }

    /// The members in this member's log.
    pub(crate) fn own(&self) -> ToldMembers {
        of(&self.raft.metrics().borrow())
    }

    /// Whether the node is a member.
    pub fn includes(&self, node_id: &str) -> bool {
        self.any(|_, member| member == node_id)
    }

    /// Whether the node is the member with this Raft id.
    pub(crate) fn is(&self, raft_id: u64, node_id: &str) -> bool {
        self.any(|id, member| id == raft_id && member == node_id)
    }

    fn any(&self, matches: impl Fn(u64, &str) -> bool) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let mut state = self.lock();
        // A joint one goes on until the change is complete, and does not name all who take part in it.
        let is_joint = metrics.membership_config.membership().get_joint_config().len() > 1;
        let is_committed = !is_joint && *metrics.membership_config.log_id() <= metrics.last_applied;
        if is_committed && state.committed.version != version(&metrics) {
            state.committed = of(&metrics);
        }
        let are = |members: &ToldMembers| members.nodes.iter().any(|(raft_id, node_id)| matches(*raft_id, node_id));
        if state.told.version > version(&metrics) {
            return are(&state.told);
        }
        let own = metrics.membership_config.nodes().any(|(raft_id, member)| matches(*raft_id, &member.node_id));
        own || (!is_committed && are(&state.committed))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn version(metrics: &Metrics) -> u64 {
    metrics.membership_config.log_id().map_or(0, |id| id.index)
}

fn of(metrics: &Metrics) -> ToldMembers {
    let nodes = metrics.membership_config.nodes();
    ToldMembers { version: version(metrics), nodes: nodes.map(|(id, member)| (*id, member.node_id.clone())).collect() }
}
