//! What a leader keeps of its agents for one term.

use std::sync::Arc;

use tokio::{sync::watch, task::JoinSet};

use super::{
    facts::{Facts, spread},
    liveness::NodeStates,
    sessions::Sessions,
    statuses::{Inbox, Statuses},
};
use crate::drive::{Term, drive};

/// The dispatcher's state of one term.
pub(crate) struct DispatcherTerm {
    pub(super) term: Term,
    pub(super) sessions: Arc<Sessions>,
    pub(super) facts: watch::Receiver<Arc<Facts>>,
    pub(super) reports: Inbox,
}

impl DispatcherTerm {
    /// Starts the dispatcher's loops among those of the term.
    pub(crate) fn begin(term: &Term, loops: &mut JoinSet<()>) -> Arc<Self> {
        let view = term.store.view();
        let sessions = Arc::new(Sessions::new(term.over.clone(), &view, term.clock.monotonic()));
        let now = Facts::of(&view, &term.raft.leadership().borrow());
        let (sender, facts) = watch::channel(Arc::new(now));
        let (reports, statuses) = Statuses::new();
        loops.spawn(spread(term.clone(), sender, sessions.clone()));
        loops.spawn(drive(NodeStates::new(sessions.clone(), term.clock.clone()), term.clone()));
        loops.spawn(drive(statuses, term.clone()));
        Arc::new(Self { term: term.clone(), sessions, facts, reports })
    }
}
