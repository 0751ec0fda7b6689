//! What all loops of a leader have in common: wait, look, plan, propose, again.
//!
//! Owns nothing but the waiting. Invariants: a loop reacts to the first change at once and takes along what is queued
//! behind it; it looks at everything at its start, on its period and whenever it may have missed something, so no event
//! decides correctness; what it plans is proposed in its leader's term or not at all; it plans again only when the
//! fate of everything it proposed is known.

use std::{future::Future, sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, stream};
use skep_common::{
    clock::{Clock, Timestamp},
    net::backoff::Backoff,
};
use skep_core::Plan;
use skep_proto::v1::Transaction;
use skep_raft::{ProposeError, RaftNode};
use skep_store::{Change, Selector, Store, View, Watcher, kind_name};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::burst::burst;

/// How many transactions of one plan are on their way at a time.
const PIPELINE: usize = 16;

/// How often a loop looks at everything without being asked.
const PERIOD: Duration = Duration::from_secs(10);

/// One component of the leader: a pure decision and what may change it.
pub(crate) trait Reconciler: Send + 'static {
    /// For the log and the journal.
    const NAME: &'static str;

    /// The changes that may change the decision.
    fn watches(&self) -> Selector;

    /// How often to look at everything without being asked.
    fn period(&self) -> Duration {
        PERIOD
    }

    /// One of the watched changes; `view` is at least as new.
    fn note(&mut self, _change: &Change, _view: &View) {}

    /// Anything may have changed.
    fn reset(&mut self) {}

    /// Completes when there is a reason to plan that is not in the state. May be dropped and called again at any time.
    fn woken(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// What is to be written.
    fn plan(&mut self, view: &View, now: Timestamp) -> Plan;

    /// What was planned last has been written: it may be let go.
    fn done(&mut self) {}

    /// What has to happen outside the state, now that the plan is written. Says whether to plan again at once.
    fn act(&mut self) -> impl Future<Output = bool> + Send {
        std::future::ready(false)
    }
}

/// What leader-only code stands on.
#[derive(Clone)]
pub(crate) struct Term {
    pub(crate) number: u64,
    pub(crate) store: Arc<Store>,
    pub(crate) raft: RaftNode,
    pub(crate) clock: Arc<dyn Clock>,
    /// Cancelled when this manager no longer leads in this term.
    pub(crate) over: CancellationToken,
}

/// What became of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Written,
    /// The state had moved on.
    Refused,
    /// Some of it may be written later.
    Unknown,
    /// This manager no longer leads.
    Unled,
}

impl Term {
    /// Proposes all of a plan and reports the worst that became of a part of it.
    async fn carry_out(&self, name: &str, transactions: Vec<Transaction>) -> Outcome {
        let signed = transactions.into_iter().map(|transaction| Transaction { by: name.to_owned(), ..transaction });
        let proposals = signed.map(|transaction| self.raft.propose_in(self.number, transaction));
        let outcomes = stream::iter(proposals).buffered(PIPELINE).map(|result| match result {
            Ok(applied) => {
                for change in &applied.changes.changes {
                    let (kind, id) = (kind_name(change.kind()), change.object().id());
                    debug!(by = name, kind, id, version = applied.version, "written");
                }
                Outcome::Written
            }
            Err(ProposeError::Conflict(conflict)) => {
                debug!(by = name, %conflict, "the state moved on under a plan");
                Outcome::Refused
            }
            Err(ProposeError::Unknown) => Outcome::Unknown,
            Err(ProposeError::NotLeader { .. } | ProposeError::Stopped) => Outcome::Unled,
            Err(error @ ProposeError::TooLarge { .. }) => {
                warn!(by = name, %error, "a plan does not fit into the log; it is tried again, and will not fit again");
                Outcome::Refused
            }
        });
        outcomes.fold(Outcome::Written, |worst, next| std::future::ready(worst.max(next))).await
    }
}

/// Runs one component until the term is over.
pub(crate) async fn drive<R: Reconciler>(mut reconciler: R, term: Term) {
    let over = term.over.clone();
    over.run_until_cancelled(run(&mut reconciler, &term)).await;
}

async fn run<R: Reconciler>(reconciler: &mut R, term: &Term) {
    let mut retry = Backoff::new(Duration::from_millis(2), Duration::from_millis(500));
    let mut wake_at: Option<Timestamp> = None;
    let (mut view, mut watcher) = term.store.view_and_watch(reconciler.watches());
    reconciler.reset();
    loop {
        let now = term.clock.now();
        // It may have come while a plan was carried out, and a plan for a part of the state would pass it over.
        if wake_at.take_if(|at| *at <= now).is_some() {
            reconciler.reset();
        }
        let plan = reconciler.plan(&view, now);
        // As long as somebody holds a state, those after it cannot be made in its place.
        drop(view);
        // A plan for a part of the state says nothing of when the rest wants to be looked at.
        wake_at = wake_at.into_iter().chain(plan.wake_at).min();
        match term.carry_out(R::NAME, plan.transactions).await {
            Outcome::Written => {
                retry.reset();
                reconciler.done();
                if !reconciler.act().await {
                    wait(reconciler, term, &mut watcher, wake_at).await;
                }
            }
            Outcome::Refused => {
                tokio::select! {
                    () = retry.wait() => {}
                    () = wait(reconciler, term, &mut watcher, wake_at) => {}
                }
            }
            // Once a read is possible again, whatever of the plan is ever written is in the state.
            Outcome::Unknown => {
                while term.raft.read_barrier().await.is_err() {
                    retry.wait().await;
                }
                reconciler.reset();
            }
            Outcome::Unled => return term.over.cancelled().await,
        }
        view = catch_up(reconciler, term, &mut watcher);
    }
}

/// The state, once the reconciler was noted every watched change that led to it and none beyond.
fn catch_up<R: Reconciler>(reconciler: &mut R, term: &Term, watcher: &mut Watcher) -> View {
    let mut events = Vec::new();
    let mut view = term.store.told_view();
    while let Some(event) = watcher.next().now_or_never() {
        let Some(Ok(event)) = event else {
            let anew = term.store.view_and_watch(reconciler.watches());
            (view, *watcher) = anew;
            reconciler.reset();
            return view;
        };
        if event.version > view.version() {
            view = term.store.told_view();
        }
        events.push(event);
    }
    for change in events.iter().flat_map(|event| &event.changes) {
        reconciler.note(change, &view);
    }
    view
}

/// Waits for a reason to plan and lets the reconciler know all there are.
async fn wait<R: Reconciler>(reconciler: &mut R, term: &Term, watcher: &mut Watcher, wake_at: Option<Timestamp>) {
    let now = term.clock.now();
    let until_wake = wake_at.map_or(Duration::MAX, |at| at.since(now)).min(reconciler.period());
    let events = tokio::select! {
        events = burst(watcher) => events,
        () = reconciler.woken() => return,
        () = tokio::time::sleep(until_wake) => return reconciler.reset(),
    };
    let Some(events) = events else {
        *watcher = term.store.watch(reconciler.watches());
        return reconciler.reset();
    };
    let view = term.store.view();
    for change in events.iter().flat_map(|event| &event.changes) {
        reconciler.note(change, &view);
    }
}
