//! Batching of proposals into log entries.
//!
//! openraft makes every write durable before the next, so each entry costs an fsync. Proposals that arrive while earlier
//! entries are in flight therefore share the next entry. Few entries are in flight at a time, so batches grow with the load.
//!
//! Owns the entries in flight. Invariants: a proposal whose caller has given up is not proposed; an entry counts as in flight
//! from before its proposals are chosen until the group has decided on it or its term is over, so a proposal that was given up
//! is either in flight or never proposed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use openraft::error::ClientWriteError;
use skep_common::limits::MAX_TRANSACTION_BYTES;
use skep_proto::{
    Message as _,
    v1::{RaftBatch, RaftProposal, Transaction},
};
use skep_store::Store;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Applied, ProposeError,
    leadership::{Leader, Published},
    pack::Packer,
    types::{Batch, Member, Metrics, Outcome, Raft},
};

/// Proposals that wait to be put into an entry.
const QUEUE: usize = 1024;

/// Entries under way: one being written here, one on its way to the followers, one to be there when either is done.
const UNDER_WAY: usize = 3;

/// An entry takes no more proposals when it has grown this large.
const BATCH_BYTES: usize = 256 << 10;

/// Any term.
const ANY_TERM: u64 = 0;

type Answer = Result<Applied, ProposeError>;

struct Waiting {
    proposal: RaftProposal,
    size: usize,
    answer: oneshot::Sender<Answer>,
}

/// Takes proposals. Clones feed the same log.
#[derive(Clone)]
pub(crate) struct Proposer {
    queue: mpsc::Sender<Waiting>,
    entries: watch::Sender<Entries>,
    published: Arc<Published>,
    deadline: Duration,
}

/// The entries this member has made, by a number of their own.
#[derive(Debug, Default)]
struct Entries {
    begun: u64,
    under_way: BTreeSet<u64>,
}

impl Entries {
    fn are_decided_up_to(&self, number: u64) -> bool {
        self.under_way.first().is_none_or(|oldest| *oldest > number)
    }
}

/// One entry, from before its proposals are chosen until its fate is decided.
struct UnderWay {
    number: u64,
    entries: watch::Sender<Entries>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.entries.send_modify(|entries| {
            entries.under_way.remove(&self.number);
        });
    }
}

impl Proposer {
    /// A proposer, and the loop that must run for it.
    pub(crate) fn new(
        raft: Raft,
        store: Arc<Store>,
        published: Arc<Published>,
        deadline: Duration,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()>) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (entries, _) = watch::channel(Entries::default());
        let permits = Arc::new(Semaphore::new(UNDER_WAY));
        let packer = Packer::default();
        let submitter =
            Submitter { raft, store, packer, waiting, left_over: None, permits, entries: entries.clone(), deadline };
        let run = async move {
            stop.run_until_cancelled(submitter.run()).await;
        };
        (Self { queue, entries, published, deadline }, run)
    }

    /// Returns once every proposal that was given up before the call is applied here, or was never written, or was written in
    /// a term that is over: then the first entry of a later leader's term decides on it.
    pub(crate) async fn decided(&self) {
        let mut entries = self.entries.subscribe();
        let begun = entries.borrow().begun;
        // This proposer holds the other end, so the wait does not fail.
        let _ = entries.wait_for(|entries| entries.are_decided_up_to(begun)).await;
    }

    /// Whether the fate of everything that was put into the log is decided.
    pub(crate) fn is_idle(&self) -> bool {
        self.entries.borrow().under_way.is_empty()
    }

    /// Proposes, as the leader of `term` only if one is given.
    pub(crate) async fn propose(&self, transaction: Transaction, term: Option<u64>) -> Answer {
        let proposal = RaftProposal { transaction: Some(transaction), only_in_term: term.unwrap_or(ANY_TERM) };
        let size = proposal.encoded_len();
        if size > MAX_TRANSACTION_BYTES {
            return Err(ProposeError::TooLarge { size, limit: MAX_TRANSACTION_BYTES });
        }
        self.check_lead(term)?;
        let (answer, answered) = oneshot::channel();
        let done = async {
            let waiting = Waiting { proposal, size, answer };
            self.queue.send(waiting).await.map_err(|_| ProposeError::Stopped)?;
            // The task that would have answered is gone, perhaps after the entry was written.
            answered.await.unwrap_or(Err(ProposeError::Unknown))
        };
        timeout(self.deadline, done).await.unwrap_or(Err(ProposeError::Unknown))
    }

    fn check_lead(&self, term: Option<u64>) -> Result<(), ProposeError> {
        let leadership = self.published.leadership.borrow();
        if leadership.is_self && term.is_none_or(|term| term == leadership.term) {
            return Ok(());
        }
        Err(ProposeError::NotLeader { leader: leadership.leader.clone() })
    }
}

struct Submitter {
    raft: Raft,
    /// Says what may be in the log.
    store: Arc<Store>,
    packer: Packer,
    waiting: mpsc::Receiver<Waiting>,
    /// What did not fit into the entry before.
    left_over: Option<Waiting>,
    permits: Arc<Semaphore>,
    entries: watch::Sender<Entries>,
    deadline: Duration,
}

impl Submitter {
    async fn run(mut self) {
        loop {
            // First a permit, then the proposals: what arrives while there is none goes into the same entry.
            let Ok(permit) = self.permits.clone().acquire_owned().await else { return };
            let Some(first) = (match self.left_over.take() {
                Some(waiting) => Some(waiting),
                None => self.waiting.recv().await,
            }) else {
                return;
            };
            let mut batch = self.gather(first);
            let under_way = self.begin(&mut batch, permit);
            if !batch.is_empty() {
                self.submit(batch, under_way).await;
            }
        }
    }

    /// What waits, as far as it fits into one entry.
    fn gather(&mut self, first: Waiting) -> Vec<Waiting> {
        let mut size = first.size;
        let mut batch = vec![first];
        while let Ok(next) = self.waiting.try_recv() {
            size += next.size;
            if size > BATCH_BYTES {
                self.left_over = Some(next);
                break;
            }
            batch.push(next);
        }
        batch
    }

    /// Makes an entry of the proposals whose callers still wait.
    fn begin(&self, batch: &mut Vec<Waiting>, permit: OwnedSemaphorePermit) -> UnderWay {
        let mut number = 0;
        // Both under the lock: who gives up before it is not proposed, who gives up after it and then looks finds the entry.
        self.entries.send_modify(|entries| {
            entries.begun += 1;
            number = entries.begun;
            entries.under_way.insert(number);
            batch.retain(|waiting| !waiting.answer.is_closed());
        });
        UnderWay { number, entries: self.entries.clone(), _permit: permit }
    }

    async fn submit(&mut self, waiting: Vec<Waiting>, under_way: UnderWay) {
        let (proposals, answers): (Vec<_>, Vec<_>) =
            waiting.into_iter().map(|waiting| (waiting.proposal, waiting.answer)).unzip();
        let batch = self.packer.pack(&RaftBatch { proposals }, self.store.view().feature_level());
        let written = self.raft.client_write_ff(batch.clone()).await;
        let (metrics, deadline) = (self.raft.metrics(), self.deadline);
        tokio::spawn(async move {
            let result = match written {
                Ok(mut written) => {
                    let decided = tokio::select! {
                        result = &mut written => Some(result),
                        () = outlived(&batch, metrics) => None,
                    };
                    drop(under_way);
                    match decided {
                        Some(result) => result.ok(),
                        // The next leader may have kept it. openraft never says so when it comes with a snapshot.
                        None => match timeout(deadline, written).await {
                            Ok(result) => result.ok(),
                            Err(_) => return fail(answers, &ProposeError::Unknown),
                        },
                    }
                }
                Err(_) => None,
            };
            match result {
                Some(Ok(response)) => {
                    for (answer, outcome) in answers.into_iter().zip(response.data) {
                        let _ = answer.send(answer_of(outcome));
                    }
                }
                Some(Err(error)) => fail(answers, &refused(&batch, &error)),
                None => fail(answers, &lost(&batch)),
            }
        });
    }
}

/// Waits until the term in which the batch was written is over.
async fn outlived(batch: &Batch, mut metrics: watch::Receiver<Metrics>) {
    let over = metrics.wait_for(|metrics| batch.term().is_some_and(|term| term < metrics.current_term));
    if over.await.is_err() {
        // openraft is gone, and says so to who waits for the entry.
        std::future::pending::<()>().await;
    }
}

fn fail(answers: Vec<oneshot::Sender<Answer>>, error: &ProposeError) {
    for answer in answers {
        let _ = answer.send(Err(error.clone()));
    }
}

fn answer_of(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Applied(changes) => Ok(Applied { version: changes.version, changes }),
        Outcome::Refused(refusal) => Err(ProposeError::Conflict(refusal)),
        Outcome::TermOver => Err(ProposeError::NotLeader { leader: None }),
    }
}

/// openraft says the same whether it never took the entry or had to drop it from the log; another member may still have it
/// then.
fn refused(batch: &Batch, error: &ClientWriteError<u64, Member>) -> ProposeError {
    match error {
        ClientWriteError::ForwardToLeader(forward) if !batch.was_appended() => {
            ProposeError::NotLeader { leader: Leader::of(forward) }
        }
        _ => ProposeError::Unknown,
    }
}

/// openraft is gone.
fn lost(batch: &Batch) -> ProposeError {
    if batch.was_appended() { ProposeError::Unknown } else { ProposeError::Stopped }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures::{future::join_all, poll};
    use openraft::Config;
    use skep_ca::{RootCa, Subject};
    use skep_common::{
        clock::{Clock as _, SystemClock},
        feature_level::FEATURE_LEVEL,
        net::{
            dial::Dialer,
            identity::{Identity, IdentityHandle, new_key_and_csr},
        },
    };
    use skep_proto::v1::NodeRole;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::{
        Leadership, OnFatal, Tuning,
        log_store::{Disk, LogStore, Pulse},
        network::{Contacts, Network},
        seal::{Seal, new_key},
        snapshot::Snapshots,
        state_machine::StateMachine,
        testing::{FaultDisk, create_node},
    };

    fn nobody_to_call() -> Network {
        let clock = SystemClock::new();
        let ca = RootCa::generate(clock.now(), "swarm").unwrap();
        let (key, csr) = new_key_and_csr().unwrap();
        let subject = Subject { node_id: "n", cluster_id: "swarm", role: NodeRole::Manager };
        let issued = ca.issue(csr.as_bytes(), subject, clock.now(), Duration::from_secs(7200)).unwrap();
        let identity = Identity::from_pem(&issued.certificate_pem, key, ca.certificate_pem()).unwrap();
        let dialer = Dialer::new(IdentityHandle::new(identity));
        Network::new(dialer, Arc::new(Contacts::new(Arc::new(clock))), Duration::from_secs(1))
    }

    /// The only member of a group, with its log on `disk`.
    async fn leader(disk: &FaultDisk, dir: &std::path::Path) -> (Raft, Proposer) {
        let seal = Arc::new(Seal::new(&new_key()));
        let snapshots = Snapshots::open(dir.to_owned(), seal.clone()).unwrap();
        let log = Disk::open(disk.clone(), "log".into(), seal, &CancellationToken::new()).unwrap();
        let contents = log.contents(&CancellationToken::new()).unwrap();
        let pulse = Arc::new(Pulse::new(Arc::new(SystemClock::new())));
        let log = LogStore::new(log, contents, snapshots.clone(), pulse, OnFatal::default()).unwrap();
        let store = Arc::new(Store::default());
        let machine =
            StateMachine::new(store.clone(), snapshots, None, 1, FEATURE_LEVEL, TaskTracker::new(), OnFatal::default());
        let config = Config { enable_tick: false, ..Config::default() };
        let raft = Raft::new(1, Arc::new(config), nobody_to_call(), log, machine).await.unwrap();
        raft.initialize(BTreeMap::from([(1, Member::default())])).await.unwrap();
        let mut metrics = raft.metrics();
        metrics.wait_for(|metrics| metrics.state.is_leader() && metrics.last_applied.is_some()).await.unwrap();
        let published = Arc::new(Published::default());
        published.leadership.send_replace(Leadership { term: 1, leader: None, is_self: true });
        let (proposer, run) =
            Proposer::new(raft.clone(), store, published, Tuning::default().propose_deadline, CancellationToken::new());
        tokio::spawn(run);
        (raft, proposer)
    }

    /// openraft waits for each entry to be durable before it writes the next: what shares a sync is what shares an entry.
    #[tokio::test]
    async fn proposals_that_wait_share_an_entry_and_its_sync() {
        const PROPOSALS: usize = 200;
        let (disk, dir) = (FaultDisk::default(), tempfile::tempdir().unwrap());
        let (raft, proposer) = leader(&disk, dir.path()).await;
        let (before, syncs) = (raft.metrics().borrow().last_log_index, disk.syncs());
        let proposals = (0..PROPOSALS).map(|number| proposer.propose(create_node(&format!("n{number}")), None));
        let answers = join_all(proposals).await;
        assert!(answers.iter().all(Result::is_ok));
        let entries = raft.metrics().borrow().last_log_index.unwrap() - before.unwrap();
        // They were all there before the first was taken; tokio has a task look at its other work after every 128 or so.
        assert!(entries <= 4, "{entries} entries");
        assert!(disk.syncs() - syncs <= 3 * 4, "{} syncs", disk.syncs() - syncs);
        raft.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_never_written() {
        let (disk, dir) = (FaultDisk::default(), tempfile::tempdir().unwrap());
        let (raft, proposer) = leader(&disk, dir.path()).await;
        let before = raft.metrics().borrow().last_log_index;
        {
            let mut given_up = std::pin::pin!(proposer.propose(create_node("given-up"), None));
            assert!(poll!(given_up.as_mut()).is_pending());
        }
        proposer.decided().await;
        let applied = proposer.propose(create_node("wanted"), None).await.unwrap();
        assert_eq!(applied.changes.changes.len(), 1);
        assert_eq!(raft.metrics().borrow().last_log_index, before.map(|before| before + 1));
        raft.shutdown().await.unwrap();
    }
}
