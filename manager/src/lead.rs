//! Becoming leader and stepping down.
//!
//! Owns the [`LeaderTerm`], the published [`ManagerStatus`] and the dispatcher's present term. Invariant: there is a
//! leader term exactly while this member leads, and never one for a term that is over.

use std::{sync::Arc, time::Duration};

use skep_proto::v1::ObjectKind;
use skep_raft::{Leadership, MemberState};
use skep_store::Selector;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    ManagerStatus, Membership, burst::burst, dispatcher::DispatcherTerm, drive::Term, leader_term::LeaderTerm, peers,
    swarm_state::SwarmState,
};

/// How often the status is refreshed when nothing changes.
const PERIOD: Duration = Duration::from_secs(5);

/// Follows this member's leadership and membership until `stop`.
pub(crate) struct Lead {
    pub(crate) swarm: SwarmState,
    pub(crate) status: watch::Sender<ManagerStatus>,
    pub(crate) dispatcher: watch::Sender<Option<Arc<DispatcherTerm>>>,
    /// The membership shown while this member is not known to vote: one that was a member before still counts as one.
    pub(crate) pending: Membership,
    /// Cancelled when the other managers say that this one was removed, which its own log may never tell it.
    pub(crate) disowned: CancellationToken,
    pub(crate) stop: CancellationToken,
}

impl Lead {
    pub(crate) async fn follow(self) {
        let mut leadership = self.swarm.raft.leadership();
        let mut member_state = self.swarm.raft.member_state();
        let mut nodes = self.watch_nodes();
        let mut term: Option<LeaderTerm> = None;
        loop {
            let now = leadership.borrow_and_update().clone();
            let state_now = *member_state.borrow_and_update();
            let disowned = self.disowned.is_cancelled();
            let membership = match state_now {
                _ if disowned => Membership::Removed,
                MemberState::Pending => self.pending,
                MemberState::Voter => Membership::Member,
                MemberState::Removed => Membership::Removed,
            };
            self.begin_or_end(&mut term, &now);
            let managers = peers::managers(&self.swarm.view(), &now);
            let status = ManagerStatus { membership, is_leader: term.is_some(), managers };
            self.status.send_if_modified(|known| {
                let news = *known != status;
                *known = status;
                news
            });
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = self.disowned.cancelled(), if !disowned => {}
                changed = leadership.changed() => if changed.is_err() { break },
                changed = member_state.changed() => if changed.is_err() { break },
                events = burst(&mut nodes) => if events.is_none() { nodes = self.watch_nodes() },
                fault = failed(&mut term) => {
                    error!(%fault, "a part of the leader has failed; another manager has to lead");
                    self.end(&mut term);
                    self.swarm.raft.step_down().await;
                }
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
        self.end(&mut term);
    }

    /// Begins or ends the term, if leadership asks for it.
    fn begin_or_end(&self, term: &mut Option<LeaderTerm>, now: &Leadership) {
        let held = term.as_ref().map(LeaderTerm::number);
        let due = now.is_self.then_some(now.term);
        if held == due {
            return;
        }
        self.end(term);
        if let Some(number) = due {
            info!(term = number, "this manager leads the swarm");
            let begun = LeaderTerm::begin(Term {
                number,
                store: self.swarm.store.clone(),
                raft: self.swarm.raft.clone(),
                clock: self.swarm.clock.clone(),
                over: self.stop.child_token(),
            });
            self.dispatcher.send_replace(Some(begun.dispatcher().clone()));
            *term = Some(begun);
        }
    }

    fn end(&self, term: &mut Option<LeaderTerm>) {
        if let Some(ended) = term.take() {
            info!(term = ended.number(), "this manager leads no more");
            self.dispatcher.send_replace(None);
        }
    }

    fn watch_nodes(&self) -> skep_store::Watcher {
        self.swarm.store.watch(Selector::Kinds(vec![ObjectKind::Node]))
    }
}

async fn failed(term: &mut Option<LeaderTerm>) -> tokio::task::JoinError {
    match term {
        Some(term) => term.failed().await,
        None => std::future::pending().await,
    }
}
