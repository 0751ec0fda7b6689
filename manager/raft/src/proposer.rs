//! Proposals on their way into the log.
//!
//! openraft makes every write durable before it looks at the next, so entries cost an fsync each. Proposals that arrive
//! while earlier entries are under way therefore share the next entry. Few entries are under way at a time; the more there
//! is to do, the more share one.

use std::{sync::Arc, time::Duration};

use openraft::error::ClientWriteError;
use skep_common::limits::MAX_TRANSACTION_BYTES;
use skep_proto::{
    Message as _,
    v1::{RaftBatch, RaftProposal, Transaction},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Applied, ProposeError,
    leadership::{Leader, Published},
    types::{Batch, Member, Outcome, Raft},
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
    published: Arc<Published>,
    deadline: Duration,
}

impl Proposer {
    /// A proposer, and the loop that must run for it.
    pub(crate) fn new(
        raft: Raft,
        published: Arc<Published>,
        deadline: Duration,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()>) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let submitter = Submitter { raft, waiting, under_way: Arc::new(Semaphore::new(UNDER_WAY)) };
        let run = async move {
            stop.run_until_cancelled(submitter.run()).await;
        };
        (Self { queue, published, deadline }, run)
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
            // Whoever would have answered is gone, perhaps after it was written.
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
    waiting: mpsc::Receiver<Waiting>,
    under_way: Arc<Semaphore>,
}

impl Submitter {
    async fn run(mut self) {
        let mut left_over = None;
        loop {
            // First a place, then the proposals: what arrives while there is none goes into the same entry.
            let Ok(permit) = self.under_way.clone().acquire_owned().await else { return };
            let Some(first) = (match left_over.take() {
                Some(waiting) => Some(waiting),
                None => self.waiting.recv().await,
            }) else {
                return;
            };
            let mut size = first.size;
            let mut batch = vec![first];
            while let Ok(next) = self.waiting.try_recv() {
                size += next.size;
                if size > BATCH_BYTES {
                    left_over = Some(next);
                    break;
                }
                batch.push(next);
            }
            self.submit(batch, permit).await;
        }
    }

    async fn submit(&self, waiting: Vec<Waiting>, permit: OwnedSemaphorePermit) {
        let (proposals, answers): (Vec<_>, Vec<_>) =
            waiting.into_iter().map(|waiting| (waiting.proposal, waiting.answer)).unzip();
        let batch = Batch::new(RaftBatch { proposals }.encode_to_vec().into());
        let written = self.raft.client_write_ff(batch.clone()).await;
        tokio::spawn(async move {
            let result = match written {
                Ok(written) => written.await.ok(),
                Err(_) => None,
            };
            drop(permit);
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
