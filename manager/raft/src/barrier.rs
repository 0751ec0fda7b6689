//! Linearizable reads (ReadIndex): a read waits until a quorum has confirmed, after the read arrived, that this member still
//! leads, and until everything committed by then is applied.
//!
//! The confirmation comes after the proposals under way: those of this term are applied by then, and those of an earlier
//! term are decided by the first entry of this one, which a read waits for.
//!
//! Reads that arrive while a quorum is being asked share the next round.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use openraft::error::{CheckIsLeaderError, RaftError};
use tokio::{sync::Mutex, time::timeout};

use crate::{ReadError, leadership::Leader, proposer::Proposer, types::Raft};

/// Pause between questions when a quorum did not answer.
const RETRY: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(crate) struct Barrier {
    /// Questions begun so far.
    begun: AtomicU64,
    /// The last question that was answered well. Held while one is asked.
    answered: Mutex<u64>,
}

impl Barrier {
    pub(crate) async fn pass(&self, raft: &Raft, proposer: &Proposer, deadline: Duration) -> Result<(), ReadError> {
        let pass = async {
            proposer.decided().await;
            self.ask(raft).await
        };
        timeout(deadline, pass).await.unwrap_or(Err(ReadError::NoQuorum))
    }

    async fn ask(&self, raft: &Raft) -> Result<(), ReadError> {
        let before = self.begun.load(Ordering::Acquire);
        let mut answered = self.answered.lock().await;
        if *answered > before {
            return Ok(());
        }
        loop {
            let question = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
            match raft.ensure_linearizable().await {
                Ok(_) => {
                    *answered = question;
                    return Ok(());
                }
                Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => tokio::time::sleep(RETRY).await,
                Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(forward))) => {
                    return Err(ReadError::NotLeader { leader: Leader::of(&forward) });
                }
                Err(RaftError::Fatal(_)) => return Err(ReadError::Stopped),
            }
        }
    }
}
