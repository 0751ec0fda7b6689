//! Everything that runs only while this manager leads.
//!
//! Owns the leader's loops and the dispatcher's sessions. Dropping it is how a leader becomes a follower: the loops
//! stop, the sessions end, and what was planned for the term can no longer be proposed.

use std::sync::Arc;

use skep_common::id::RandomIds;
use skep_core::reconcile::{Allocator, Cron, Orchestrator, Reaper, Scheduler, Scoped};
use tokio::task::{JoinError, JoinSet};

use crate::{
    dispatcher::DispatcherTerm,
    drive::{Term, drive},
    loops::Roles,
};

/// One term of leading.
pub(crate) struct LeaderTerm {
    term: Term,
    loops: JoinSet<()>,
    dispatcher: Arc<DispatcherTerm>,
}

impl LeaderTerm {
    /// Starts the leader's loops. Everything committed before the term must be applied.
    pub(crate) fn begin(term: Term) -> Self {
        let mut loops = JoinSet::new();
        loops.spawn(drive(Scoped::new(Cron), term.clone()));
        loops.spawn(drive(Scoped::new(Orchestrator(RandomIds)), term.clone()));
        loops.spawn(drive(Allocator, term.clone()));
        loops.spawn(drive(Scheduler::default(), term.clone()));
        loops.spawn(drive(Scoped::new(Reaper), term.clone()));
        loops.spawn(drive(Roles::new(term.raft.clone()), term.clone()));
        let dispatcher = DispatcherTerm::begin(&term, &mut loops);
        Self { term, loops, dispatcher }
    }

    /// The term's number.
    pub(crate) fn number(&self) -> u64 {
        self.term.number
    }

    /// The sessions of the term.
    pub(crate) fn dispatcher(&self) -> &Arc<DispatcherTerm> {
        &self.dispatcher
    }

    /// Waits for a loop to fail. They do not end by themselves, so this is a fault of the program.
    pub(crate) async fn failed(&mut self) -> JoinError {
        loop {
            if let Some(Err(error)) = self.loops.join_next().await {
                return error;
            }
            if self.loops.is_empty() {
                return std::future::pending().await;
            }
        }
    }
}

impl Drop for LeaderTerm {
    fn drop(&mut self) {
        self.term.over.cancel();
    }
}
