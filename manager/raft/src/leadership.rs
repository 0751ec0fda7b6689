//! Who leads, and whether this manager is a member: published for the loops of the manager to watch.
//!
//! One task derives both from openraft's metrics and the member's [`Health`]. A leader, in openraft's view, that has lost its
//! quorum or its disk is not shown as the leader: leader-only work must stop.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use openraft::error::{Fatal, ForwardToLeader};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    OnFatal,
    health::Health,
    network::Contacts,
    proposer::Proposer,
    types::{Member, Metrics, Raft},
};

/// Who leads in which term, as this member knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The term of the member's vote.
    pub term: u64,
    /// The leader of that term, when known and ready.
    pub leader: Option<Leader>,
    /// Whether this member leads, and everything committed before its term is applied here.
    pub is_self: bool,
}

/// The leader as others reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// Its Raft id.
    pub raft_id: u64,
    /// Its node id.
    pub node_id: String,
    /// host:port of its managers' service.
    pub addr: String,
}

impl Leader {
    pub(crate) fn new(raft_id: u64, member: &Member) -> Self {
        Self { raft_id, node_id: member.node_id.clone(), addr: member.addr.clone() }
    }

    /// Whom openraft says to turn to.
    pub(crate) fn of(forward: &ForwardToLeader<u64, Member>) -> Option<Self> {
        Some(Self::new(forward.leader_id?, forward.leader_node.as_ref()?))
    }
}

/// Whether this manager votes in the Raft group, by the newest membership it has on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemberState {
    /// Not a voter yet: the leader has not reached it, or it is catching up.
    #[default]
    Pending,
    /// Votes and counts.
    Voter,
    /// Was a member and is one no more.
    Removed,
}

/// Both, as they change.
#[derive(Default)]
pub(crate) struct Published {
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) member_state: watch::Sender<MemberState>,
}

/// Keeps [`Published`] true until `stop`.
pub(crate) struct Observer {
    pub(crate) raft: Raft,
    pub(crate) health: Arc<Health>,
    pub(crate) contacts: Arc<Contacts>,
    pub(crate) proposer: Proposer,
    pub(crate) published: Arc<Published>,
    /// How often to look when openraft reports nothing.
    pub(crate) period: Duration,
    pub(crate) on_fatal: OnFatal,
}

impl Observer {
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut metrics = self.raft.metrics();
        let mut news = true;
        while self.observe(&metrics.borrow_and_update(), news).is_continue() {
            news = tokio::select! {
                () = stop.cancelled() => break,
                // It marks the report as seen, so only here can be told that there was one.
                changed = metrics.changed() => match changed {
                    Ok(()) => true,
                    Err(_) => break,
                },
                () = sleep(self.period) => false,
            };
        }
        // A member that has stopped leads nothing.
        self.published.leadership.send_modify(|leadership| (leadership.leader, leadership.is_self) = (None, false));
    }

    fn observe(&self, metrics: &Metrics, news: bool) -> ControlFlow<()> {
        if news {
            // What an old report says of "since" has grown since.
            match metrics.state.is_leader() {
                true => self.health.leads(metrics.millis_since_quorum_ack.map(Duration::from_millis)),
                false => self.health.follows(),
            }
        }
        let reason = self.health.why_not_lead().filter(|_| metrics.state.is_leader());
        if let Some(reason) = &reason
            && self.published.leadership.borrow().is_self
        {
            warn!(term = metrics.current_term, reason, "this manager gives up the lead");
        }
        // A leader that comes back in the term it had, after its disk stalled, plans anew: what its loops had proposed before
        // must not be written after that.
        let is_free = self.published.leadership.borrow().is_self || self.proposer.is_idle();
        let leadership = leadership(metrics, reason.is_none() && is_free);
        self.published.leadership.send_if_modified(|published| replace_if_other(published, leadership));
        let member_state = member_state(metrics, *self.published.member_state.borrow());
        self.published.member_state.send_if_modified(|published| replace_if_other(published, member_state));
        let members = metrics.membership_config.membership();
        self.contacts.keep(|raft_id| members.get_node(&raft_id).is_some());
        match &metrics.running_state {
            Ok(()) => ControlFlow::Continue(()),
            Err(Fatal::Stopped) => ControlFlow::Break(()),
            Err(fatal) => {
                self.on_fatal.call(&format!("Raft has stopped: {fatal}"));
                ControlFlow::Break(())
            }
        }
    }
}

fn leadership(metrics: &Metrics, may_lead: bool) -> Leadership {
    let term = metrics.current_term;
    // The first entry of a term is the leader's own; once it is applied, so is everything committed before.
    let caught_up = metrics.last_applied.is_some_and(|applied| applied.leader_id == metrics.vote.leader_id);
    let is_self = metrics.state.is_leader() && caught_up && may_lead;
    let leader = metrics
        .current_leader
        .filter(|leader| *leader != metrics.id || is_self)
        .and_then(|raft_id| Some(Leader::new(raft_id, metrics.membership_config.membership().get_node(&raft_id)?)));
    Leadership { term, leader, is_self }
}

fn member_state(metrics: &Metrics, before: MemberState) -> MemberState {
    let membership = metrics.membership_config.membership();
    let votes = membership.voter_ids().any(|voter| voter == metrics.id);
    // Until the change is complete and committed the old members must all go on for it to count.
    let settled =
        membership.get_joint_config().len() == 1 && *metrics.membership_config.log_id() <= metrics.last_applied;
    match (votes, before) {
        (true, MemberState::Pending) if !settled => MemberState::Pending,
        (true, _) => MemberState::Voter,
        // A learner, or a membership from before this member.
        (false, MemberState::Pending) => MemberState::Pending,
        // A voter becomes a learner only on its way out.
        (false, MemberState::Voter | MemberState::Removed) => MemberState::Removed,
    }
}

fn replace_if_other<T: PartialEq>(published: &mut T, now: T) -> bool {
    let other = *published != now;
    if other {
        *published = now;
    }
    other
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use openraft::{ServerState, StoredMembership};

    use super::*;
    use crate::{
        testing::log_id,
        types::{Member, Membership, Vote},
    };

    fn metrics(state: ServerState, leader: Option<u64>, applied_term: u64) -> Metrics {
        let mut metrics = Metrics::new_initial(1);
        let member = |id: u64| {
            (id, Member { node_id: format!("node{id}"), addr: format!("192.0.2.{id}:2377"), ..Member::default() })
        };
        let membership =
            Membership::new(vec![BTreeSet::from([1, 2])], BTreeMap::from([member(1), member(2), member(3)]));
        metrics.membership_config = Arc::new(StoredMembership::new(Some(log_id(1, 0)), membership));
        (metrics.state, metrics.current_leader, metrics.current_term) = (state, leader, 4);
        metrics.vote = Vote::new_committed(4, leader.unwrap_or(1));
        metrics.last_applied = Some(log_id(applied_term, 9));
        metrics
    }

    #[test]
    fn a_leader_shows_when_its_own_first_entry_is_applied_and_it_may_lead() {
        let behind = leadership(&metrics(ServerState::Leader, Some(1), 3), true);
        assert_eq!(behind, Leadership { term: 4, leader: None, is_self: false });
        let unfit = leadership(&metrics(ServerState::Leader, Some(1), 4), false);
        assert_eq!(unfit, Leadership { term: 4, leader: None, is_self: false });
        let ready = leadership(&metrics(ServerState::Leader, Some(1), 4), true);
        assert!(ready.is_self);
        assert_eq!(ready.leader.unwrap().node_id, "node1");
    }

    #[test]
    fn a_follower_knows_where_the_leader_is() {
        let leader = leadership(&metrics(ServerState::Follower, Some(2), 4), true).leader.unwrap();
        assert_eq!((leader.raft_id, leader.addr.as_str()), (2, "192.0.2.2:2377"));
        assert_eq!(leadership(&metrics(ServerState::Candidate, None, 4), true).leader, None);
    }

    #[test]
    fn who_was_a_voter_and_is_unknown_was_removed() {
        let mut of = metrics(ServerState::Follower, Some(2), 4);
        assert_eq!(member_state(&of, MemberState::Pending), MemberState::Voter);
        let uncommitted = Metrics { last_applied: None, ..of.clone() };
        assert_eq!(member_state(&uncommitted, MemberState::Pending), MemberState::Pending);
        assert_eq!(member_state(&uncommitted, MemberState::Voter), MemberState::Voter);
        of.id = 3;
        assert_eq!(member_state(&of, MemberState::Pending), MemberState::Pending, "a learner");
        assert_eq!(member_state(&of, MemberState::Voter), MemberState::Removed, "a learner again");
        of.id = 4;
        assert_eq!(member_state(&of, MemberState::Pending), MemberState::Pending, "not told yet");
        assert_eq!(member_state(&of, MemberState::Voter), MemberState::Removed);
        assert_eq!(member_state(&of, MemberState::Removed), MemberState::Removed);
    }
}
