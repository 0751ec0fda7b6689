//! Raft membership: adding and removing members, new addresses, and finishing changes that were interrupted.
//!
//! openraft leaves a change half done when its leader dies, and does not handle two changes at once. So changes are made one
//! at a time, and the leader reconciles the membership: it finishes a joint configuration, promotes a learner that has
//! caught up to a voter, drops one that cannot be reached, and keeps `Node.manager` in the store equal to the membership.
//!
//! Owns `Node.manager`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use openraft::{
    ChangeMembers,
    error::{ChangeMembershipError, ClientWriteError, RaftError},
};
use skep_common::clock::Clock;
use skep_proto::v1::Transaction;
use skep_store::{Store, TxBuilder, View};
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    MembershipError, ProposeError, Tuning,
    leadership::{Leader, Published},
    network::Contacts,
    proposer::Proposer,
    types::{LogId, Member, Membership, Metrics, Raft},
};

/// How often a leader looks whether there is something to tidy up.
const TIDY_PERIOD: Duration = Duration::from_millis(200);

/// Pause before a change is tried again that had to wait for the one before it.
const RETRY: Duration = Duration::from_millis(50);

/// How long to wait until a removed member has received its removal.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long an answer may take that openraft gave before it lost the lead.
const LAST_ANSWER: Duration = Duration::from_millis(500);

/// A learner that has what there was when it came, and lacks no more than this many entries of what came since, has caught up.
const CLOSE: u64 = 100;

type Change = ChangeMembers<u64, Member>;

/// A member as the one asked sees it. Only the leader knows who can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberHealth {
    /// Its Raft id.
    pub raft_id: u64,
    /// Its node id.
    pub node_id: String,
    /// host:port of its managers' service.
    pub addr: String,
    /// Whether it votes; if not, it is catching up.
    pub voter: bool,
    /// Whether it answered lately.
    pub reachable: bool,
    /// Whether it leads.
    pub leader: bool,
}

pub(crate) struct Members {
    pub(crate) raft: Raft,
    pub(crate) raft_id: u64,
    pub(crate) store: Arc<Store>,
    pub(crate) proposer: Proposer,
    pub(crate) published: Arc<Published>,
    pub(crate) contacts: Arc<Contacts>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tuning: Tuning,
    /// Held while the membership is changed.
    pub(crate) turn: Mutex<()>,
}

impl Members {
    pub(crate) async fn add(&self, node_id: &str, addr: &str) -> Result<u64, MembershipError> {
        let _turn = self.turn.lock().await;
        let term = self.check_lead()?;
        self.finish_joint_change().await?;
        for (old, _) in self.membership().nodes().filter(|(_, member)| member.node_id == node_id) {
            if *old == self.raft_id {
                return Err(MembershipError::Leads);
            }
            info!(node.id = node_id, raft_id = old, "the node joins anew, its former member goes");
            self.take_out(*old).await?;
        }
        let view = self.store.view();
        let mut transaction = TxBuilder::new(&view, self.clock.now());
        transaction.assign_raft_id(node_id, addr);
        let assigned = async { Ok(self.proposer.propose(signed(transaction), Some(term)).await?.version) };
        let raft_id = self.while_leading(assigned).await?;
        let member = Member { node_id: node_id.to_owned(), addr: addr.to_owned(), leaving: false };
        self.change(Change::AddNodes(BTreeMap::from([(raft_id, member)]))).await?;
        info!(node.id = node_id, raft_id, addr, "a new manager catches up");
        Ok(raft_id)
    }

    pub(crate) async fn remove(&self, raft_id: u64) -> Result<(), MembershipError> {
        let _turn = self.turn.lock().await;
        self.check_lead()?;
        self.finish_joint_change().await?;
        let membership = self.membership();
        if membership.get_node(&raft_id).is_none() {
            return Err(MembershipError::NotFound(raft_id));
        }
        self.check_quorum_without(raft_id)?;
        self.take_out(raft_id).await?;
        info!(raft_id, "a manager was removed");
        if raft_id == self.raft_id {
            // It is removed, and no member accepts its calls any more: the next leader records it.
            return Ok(());
        }
        self.record().await
    }

    /// Whether the others could decide without this member.
    fn check_quorum_without(&self, raft_id: u64) -> Result<(), MembershipError> {
        let voters: BTreeSet<u64> = self.membership().voter_ids().collect();
        if !voters.contains(&raft_id) {
            return Ok(());
        }
        let rest = || voters.iter().filter(|voter| **voter != raft_id);
        let (voters, reachable) = (rest().count(), rest().filter(|voter| self.is_reachable(**voter)).count());
        if reachable > voters / 2 { Ok(()) } else { Err(MembershipError::QuorumLoss { voters, reachable }) }
    }

    pub(crate) async fn update_addr(&self, raft_id: u64, addr: &str) -> Result<(), MembershipError> {
        let _turn = self.turn.lock().await;
        self.check_lead()?;
        self.finish_joint_change().await?;
        let mut member = self.membership().get_node(&raft_id).cloned().ok_or(MembershipError::NotFound(raft_id))?;
        if member.addr == addr {
            return Ok(());
        }
        addr.clone_into(&mut member.addr);
        self.change(Change::SetNodes(BTreeMap::from([(raft_id, member)]))).await?;
        self.record().await
    }

    pub(crate) fn list(&self) -> Vec<MemberHealth> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let leader = self.published.leadership.borrow().leader.as_ref().map(|leader| leader.raft_id);
        let health = |(raft_id, member): (&u64, &Member)| MemberHealth {
            raft_id: *raft_id,
            node_id: member.node_id.clone(),
            addr: member.addr.clone(),
            voter: voters.contains(raft_id),
            reachable: self.is_reachable(*raft_id) || leader == Some(*raft_id),
            leader: leader == Some(*raft_id),
        };
        membership.nodes().map(health).collect()
    }

    /// While this member leads, keeps things tidy.
    pub(crate) async fn keep(&self, stop: CancellationToken) {
        let mut learners = Learners::default();
        let mut unreachable = BTreeSet::new();
        let tidying = async {
            loop {
                sleep(TIDY_PERIOD).await;
                if self.published.leadership.borrow().is_self {
                    self.tell_who_is_unreachable(&mut unreachable);
                    if let Err(error) = Box::pin(self.tidy(&mut learners)).await {
                        debug!(%error, "tidying up the membership has to wait");
                    }
                } else {
                    learners = Learners::default();
                    unreachable.clear();
                }
            }
        };
        stop.run_until_cancelled(tidying).await;
    }

    fn tell_who_is_unreachable(&self, unreachable: &mut BTreeSet<u64>) {
        for (raft_id, member) in self.membership().nodes() {
            // One that was never reached yet may still be starting.
            let silent = *raft_id != self.raft_id
                && self.contacts.silence(*raft_id).is_some()
                && !self.contacts.is_reachable(*raft_id);
            if silent && unreachable.insert(*raft_id) {
                warn!(node.id = member.node_id, raft_id, member.addr, "a manager cannot be reached");
            } else if !silent && unreachable.remove(raft_id) {
                info!(node.id = member.node_id, raft_id, "the manager can be reached again");
            }
        }
    }

    async fn tidy(&self, learners: &mut Learners) -> Result<(), MembershipError> {
        // Another change is under way.
        let Ok(_turn) = self.turn.try_lock() else { return Ok(()) };
        self.finish_joint_change().await?;
        let membership = self.membership();
        for (raft_id, member) in membership.nodes().filter(|(_, member)| member.leaving) {
            if self.check_quorum_without(*raft_id).is_ok() {
                info!(node.id = member.node_id, raft_id, "the removal of a manager goes on");
                self.take_out(*raft_id).await?;
            }
        }
        let now = self.clock.monotonic();
        let (ready, lost) = learners.sort_out(
            &self.raft.metrics().borrow(),
            now,
            |raft_id| self.is_reachable(raft_id),
            |raft_id| self.contacts.silence(raft_id).unwrap_or(Duration::MAX) > self.tuning.catch_up,
            self.tuning.catch_up,
        );
        if !ready.is_empty() {
            self.change(Change::AddVoterIds(ready.clone())).await?;
            info!(?ready, "new managers have caught up and vote");
        }
        for raft_id in lost {
            warn!(raft_id, "a new manager could not be reached while it was to catch up; it is no member any more");
            self.take_out(raft_id).await?;
        }
        self.record().await
    }

    /// Finishes what a former leader began.
    async fn finish_joint_change(&self) -> Result<(), MembershipError> {
        match self.membership().get_joint_config().as_slice() {
            [_, .., goal] => self.change(Change::ReplaceAllVoters(goal.clone())).await,
            _ => Ok(()),
        }
    }

    /// A voter becomes a learner first, so that the removal is replicated to it; once it is out it receives nothing.
    async fn take_out(&self, raft_id: u64) -> Result<(), MembershipError> {
        let which = BTreeSet::from([raft_id]);
        let membership = self.membership();
        if membership.voter_ids().any(|voter| voter == raft_id) {
            if let Some(member) = membership.get_node(&raft_id).filter(|member| !member.leaving) {
                let leaving = Member { leaving: true, ..member.clone() };
                self.change(Change::SetNodes(BTreeMap::from([(raft_id, leaving)]))).await?;
            }
            // A leader that has taken its own vote can make no further change.
            let stays = raft_id != self.raft_id;
            let removed = self.change_and(Change::RemoveVoters(which.clone()), stays).await?;
            if !stays {
                return Ok(());
            }
            if self.is_reachable(raft_id) {
                self.wait_for_farewell(raft_id, removed).await;
            }
        }
        self.change(Change::RemoveNodes(which)).await
    }

    /// Waits, not for long, until the member has the entry that takes its vote.
    async fn wait_for_farewell(&self, raft_id: u64, entry: LogId) {
        let mut metrics = self.raft.metrics();
        let heard = metrics.wait_for(|metrics| {
            metrics.replication.as_ref().is_none_or(|progress| progress.get(&raft_id) >= Some(&Some(entry)))
        });
        let _ = timeout(FAREWELL, heard).await;
    }

    async fn change(&self, change: Change) -> Result<(), MembershipError> {
        self.change_and(change, false).await.map(|_| ())
    }

    /// Makes one change, with the old voters staying on as learners or not. The entry that completes it.
    async fn change_and(&self, change: Change, stays: bool) -> Result<LogId, MembershipError> {
        let changed = async {
            loop {
                match self.raft.change_membership(change.clone(), stays).await {
                    Ok(response) => return Ok(response.log_id),
                    Err(RaftError::Fatal(_)) => return Err(MembershipError::Stopped),
                    Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                        return Err(MembershipError::NotLeader { leader: Leader::of(&forward) });
                    }
                    Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => match error {
                        ChangeMembershipError::InProgress(_) => sleep(RETRY).await,
                        ChangeMembershipError::EmptyMembership(_) => {
                            return Err(MembershipError::QuorumLoss { voters: 0, reachable: 0 });
                        }
                        ChangeMembershipError::LearnerNotFound(missing) => {
                            return Err(MembershipError::NotFound(missing.node_id));
                        }
                    },
                }
            }
        };
        self.while_leading(async {
            timeout(self.tuning.propose_deadline, changed).await.unwrap_or(Err(MembershipError::Unknown))
        })
        .await
    }

    /// The outcome of `change`; unknown soon after the lead is lost: nobody is answered any more then.
    async fn while_leading<T>(
        &self,
        change: impl Future<Output = Result<T, MembershipError>>,
    ) -> Result<T, MembershipError> {
        let mut leadership = self.published.leadership.subscribe();
        let deposed = async {
            // Ends with the member itself.
            let _ = leadership.wait_for(|leadership| !leadership.is_self).await;
            // What has just been answered may still be on its way.
            sleep(LAST_ANSWER).await;
        };
        tokio::select! {
            biased;
            changed = change => changed,
            () = deposed => Err(MembershipError::Unknown),
        }
    }

    /// Brings `Node.manager` in line with the membership.
    async fn record(&self) -> Result<(), MembershipError> {
        let Some(transaction) = record(&self.store.view(), &self.membership(), &*self.clock) else { return Ok(()) };
        let recorded = async {
            match self.proposer.propose(transaction, None).await {
                // A node changed meanwhile: the next look at it sees how.
                Ok(_) | Err(ProposeError::Conflict(_)) => Ok(()),
                Err(error) => Err(error.into()),
            }
        };
        self.while_leading(recorded).await
    }

    fn check_lead(&self) -> Result<u64, MembershipError> {
        let leadership = self.published.leadership.borrow();
        match leadership.is_self {
            true => Ok(leadership.term),
            false => Err(MembershipError::NotLeader { leader: leadership.leader.clone() }),
        }
    }

    fn membership(&self) -> Membership {
        self.raft.metrics().borrow().membership_config.membership().clone()
    }

    fn is_reachable(&self, raft_id: u64) -> bool {
        raft_id == self.raft_id || self.contacts.is_reachable(raft_id)
    }
}

/// What makes every node's `manager` as the membership has it, if anything has to change.
fn record(view: &View, membership: &Membership, clock: &dyn Clock) -> Option<Transaction> {
    let members = membership.nodes().map(|(raft_id, member)| (*raft_id, member.node_id.as_str(), member.addr.as_str()));
    let mut transaction = TxBuilder::new(view, clock.now());
    transaction.record_members(members);
    (!transaction.is_empty()).then(|| signed(transaction))
}

fn signed(transaction: TxBuilder<'_>) -> Transaction {
    Transaction { by: "membership".to_owned(), ..transaction.build() }
}

/// The members that catch up, as this leader has seen them.
#[derive(Default)]
struct Learners {
    /// Since when, and the last entry there was then: without all of these it would hold a quorum up for as long as they take,
    /// and few of them may be many bytes.
    seen: HashMap<u64, (Duration, u64)>,
}

impl Learners {
    /// Those that have caught up, and those that had `patience` and are lost.
    fn sort_out(
        &mut self,
        metrics: &Metrics,
        now: Duration,
        answers: impl Fn(u64) -> bool,
        is_silent: impl Fn(u64) -> bool,
        patience: Duration,
    ) -> (BTreeSet<u64>, Vec<u64>) {
        let membership = metrics.membership_config.membership();
        let is_joining = |raft_id: &u64| membership.get_node(raft_id).is_some_and(|member| !member.leaving);
        let learners: BTreeSet<u64> = membership.learner_ids().filter(is_joining).collect();
        self.seen.retain(|raft_id, _| learners.contains(raft_id));
        let (mut ready, mut lost) = (BTreeSet::new(), Vec::new());
        for raft_id in learners {
            let last = metrics.last_log_index.unwrap_or(0);
            let (since, goal) = *self.seen.entry(raft_id).or_insert((now, last));
            let matched = metrics.replication.as_ref().and_then(|progress| progress.get(&raft_id).copied().flatten());
            let is_close = |index: u64| index >= goal && index + CLOSE >= last;
            if matched.is_some_and(|matched| is_close(matched.index)) && answers(raft_id) {
                ready.insert(raft_id);
            } else if now.saturating_sub(since) >= patience && is_silent(raft_id) {
                lost.push(raft_id);
            }
        }
        (ready, lost)
    }
}

impl From<ProposeError> for MembershipError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NotLeader { leader } => Self::NotLeader { leader },
            ProposeError::Conflict(refusal) => Self::Conflict(refusal),
            ProposeError::Stopped => Self::Stopped,
            ProposeError::Unknown | ProposeError::TooLarge { .. } => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::StoredMembership;
    use skep_common::clock::ManualClock;

    use super::*;
    use crate::testing::{log_id, view_of};

    fn member(node: &str, addr: &str) -> Member {
        Member { node_id: node.into(), addr: addr.into(), leaving: false }
    }

    fn of(voters: &[u64], members: &[(u64, &str)]) -> Membership {
        let members: BTreeMap<u64, Member> =
            members.iter().map(|(id, node)| (*id, member(node, &format!("192.0.2.{id}:2377")))).collect();
        Membership::new(vec![voters.iter().copied().collect()], members)
    }

    fn managers(view: &View) -> Vec<(String, Option<u64>)> {
        view.nodes().map(|node| (node.id.clone(), node.manager.as_ref().map(|manager| manager.raft_id))).collect()
    }

    #[test]
    fn nodes_record_what_the_membership_says_and_then_nothing_is_left_to_do() {
        let clock = ManualClock::default();
        let view = view_of(3);
        let membership = of(&[1, 7], &[(1, "node1"), (7, "node2"), (9, "node2"), (11, "elsewhere")]);
        let (view, _) = view.apply(10, &record(&view, &membership, &clock).unwrap()).unwrap();
        assert_eq!(
            managers(&view),
            [("node1".into(), Some(1)), ("node2".into(), Some(9)), ("node3".into(), None)],
            "the newer member of node2 counts"
        );
        assert_eq!(record(&view, &membership, &clock), None);

        let without = of(&[1], &[(1, "node1")]);
        let (view, _) = view.apply(11, &record(&view, &without, &clock).unwrap()).unwrap();
        assert_eq!(managers(&view)[1], ("node2".into(), None));
    }

    #[test]
    fn learners_become_voters_when_close_and_there_and_are_lost_only_when_silent_for_long() {
        let mut metrics = Metrics::new_initial(1);
        let members = [(1, "a"), (5, "b"), (6, "c"), (7, "d"), (8, "e"), (9, "f")]
            .map(|(id, node)| (id, Member { leaving: id == 9, ..member(node, "192.0.2.1:2377") }));
        let membership = Membership::new(vec![BTreeSet::from([1])], BTreeMap::from(members));
        metrics.membership_config = Arc::new(StoredMembership::new(Some(log_id(1, 0)), membership));
        metrics.last_log_index = Some(1000);
        let at = |index| Some(log_id(1, index));
        metrics.replication = Some(BTreeMap::from([(5, at(950)), (6, at(10)), (7, None), (8, at(950)), (9, at(1000))]));

        let mut learners = Learners::default();
        let patience = Duration::from_secs(60);
        let (answers, silent) = (|raft_id| !matches!(raft_id, 7 | 8), |raft_id| raft_id == 7);
        let early = learners.sort_out(&metrics, Duration::from_secs(1), answers, silent, patience);
        assert_eq!(early, (BTreeSet::new(), vec![]), "nobody has what there was");
        metrics.last_log_index = Some(1100);
        metrics.replication =
            Some(BTreeMap::from([(5, at(1000)), (6, at(10)), (7, None), (8, at(1000)), (9, at(1100))]));
        let close = learners.sort_out(&metrics, Duration::from_secs(2), answers, silent, patience);
        assert_eq!(close, (BTreeSet::from([5]), vec![]), "8 has gone quiet, 9 is on its way out");
        let late = learners.sort_out(&metrics, Duration::from_secs(61), answers, silent, patience);
        assert_eq!(late, (BTreeSet::from([5]), vec![7]), "6 is slow but there");
    }
}
