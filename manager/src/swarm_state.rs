//! Reads and writes of the replicated state, for this manager's services: linearizable reads, and writes with retries on
//! conflict.
//!
//! Invariant: a write whose outcome is unknown is never reported as failed.

use std::sync::Arc;

use skep_common::{
    clock::{Clock, Timestamp},
    net::server::Caller,
};
use skep_proto::v1::Transaction;
use skep_raft::{Applied, ProposeError, RaftNode};
use skep_store::{ApplyError, Store, View};
use tonic::Status;

use crate::answer;

/// Retries of a write on conflict before the caller is told to try again.
const ATTEMPTS: usize = 8;

/// The state, and the way to change it.
#[derive(Clone)]
pub(crate) struct SwarmState {
    pub(crate) store: Arc<Store>,
    pub(crate) raft: RaftNode,
    pub(crate) clock: Arc<dyn Clock>,
    /// Who writes, for the journal.
    pub(crate) by: Arc<str>,
}

impl SwarmState {
    /// The same swarm, with another author in the journal.
    pub(crate) fn signed(&self, by: &str) -> Self {
        Self { by: by.into(), ..self.clone() }
    }

    /// The same swarm, with the caller of the control service as the author: a user at the node where the call came in.
    pub(crate) fn for_user(&self, caller: &Caller) -> Result<Self, Status> {
        let id = caller.node_id()?;
        let view = self.view();
        let hostname = view.node(id).and_then(|node| node.description.as_ref()).map(|known| known.hostname.as_str());
        // A name that several nodes share is ambiguous.
        let name = hostname.filter(|hostname| view.find_node(hostname).is_ok()).unwrap_or(id);
        Ok(self.signed(&format!("user via {name}")))
    }

    /// Wall time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The state as this manager has it, perhaps a little behind.
    pub(crate) fn view(&self) -> View {
        self.store.view()
    }

    /// The state with everything that was committed before this call. Only the leader has it.
    pub(crate) async fn read(&self) -> Result<View, Status> {
        self.raft.read_barrier().await.map_err(|error| answer::unread(&error))?;
        Ok(self.store.view())
    }

    /// Decides on the newest state and writes the decision; on a conflict decides again. An error of `decide` ends it.
    pub(crate) async fn write(
        &self,
        mut decide: impl FnMut(&View) -> Result<Transaction, Status>,
    ) -> Result<Applied, Status> {
        let mut view = self.read().await?;
        for _ in 0..ATTEMPTS {
            let transaction = Transaction { by: self.by.as_ref().to_owned(), ..decide(&view)? };
            match self.raft.propose(transaction).await {
                Ok(applied) => return Ok(applied),
                // Where a conflict was found, what it conflicts with is applied.
                Err(ProposeError::Conflict(ApplyError::Conflict { .. } | ApplyError::NotFound { .. })) => {
                    view = self.store.view()
                }
                Err(error) => return Err(answer::unwritten(&error)),
            }
        }
        Err(Status::aborted("the objects concerned are changing too quickly; try again"))
    }
}
